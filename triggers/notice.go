package triggers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// A Notice is what a webhook tells: that a repository may have changed. What
// it says of commits is not believed, but looked at; only of a pull request it
// is the one who knows.
type Notice struct {
	// Delivery is its id. A repetition has the same.
	Delivery string
	// Refs have moved, in the words of git: refs/heads/main.
	Refs []string
	Pull *Pull
}

// A Pull is a request to merge a commit into a branch.
type Pull struct {
	ID string `json:"id"` // its number
	// Repository is the one that it is to be merged into, as owner/name.
	Repository string `json:"repository"`
	Branch     string `json:"branch"` // the one to merge into
	Commit     string `json:"commit"` // the head of what is to be merged
	// Ref is where that repository has the head, if there is such a place.
	Ref string `json:"ref,omitempty"`
	// Fork says that whoever asks could not push to the repository.
	Fork bool `json:"fork"`
}

// A provider is a kind of sender of webhooks. It is told by the URL, for
// headers lie: Gitea sends GitHub's too.
type provider struct {
	verify func(h http.Header, body []byte, secret string) bool
	// parse returns nil for what is of no interest.
	parse func(h http.Header, body []byte) (*Notice, error)
}

// providers are all there are, by their names in URLs.
func providers() map[string]provider {
	return map[string]provider{
		"github":           {signedBy("X-Hub-Signature-256", "sha256="), ParseGitHub},
		"gitea":            {signedGitea, ParseGitea},
		"forgejo":          {signedGitea, ParseGitea},
		"gitlab":           {signedGitLab, ParseGitLab},
		"bitbucket":        {signedBy("X-Hub-Signature", "sha256="), ParseBitbucket},
		"bitbucket-server": {signedBy("X-Hub-Signature", "sha256="), ParseBitbucketServer},
		"azure":            {signedAzure, ParseAzure},
		"generic":          {signedStandard, ParseGeneric},
	}
}

var errTwice = errors.New("a header is there more than once")

// header is the only value of a header, or empty. That it is there twice is
// an error: two readers could take different ones.
func header(h http.Header, names ...string) (string, error) {
	for _, name := range names {
		switch values := h.Values(name); {
		case len(values) > 1:
			return "", fmt.Errorf("%s: %w", name, errTwice)
		case len(values) == 1 && values[0] != "":
			return values[0], nil
		}
	}
	return "", nil
}

// payload reads a JSON object, or one in the form that some senders wrap it in.
func payload(body []byte, into any) error {
	if b := bytes.TrimSpace(body); len(b) == 0 || b[0] != '{' {
		return errors.New("the body is not a JSON object: choose application/json where the webhook is configured")
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	return nil
}

// notice is one about refs, nil if there are none.
func notice(delivery string, refs ...string) *Notice {
	n := &Notice{Delivery: delivery}
	for _, ref := range refs {
		if strings.HasPrefix(ref, "refs/") {
			n.Refs = append(n.Refs, ref)
		}
	}
	if n.Refs == nil {
		return nil
	}
	return n
}

// fullRef is a ref by its full name: a name without refs/ is a branch's.
func fullRef(name string) string {
	if name == "" || strings.HasPrefix(name, "refs/") {
		return name
	}
	return "refs/heads/" + name
}
