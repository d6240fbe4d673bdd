package inbound

import (
	"cmp"
	"net/http"
	"strings"
)

// parseGitea reads a hook of Gitea or Forgejo about a package. A version is a
// tag, or a digest for what has none. Charts in its Helm registry are no
// images, and not of interest.
func parseGitea(h http.Header, body []byte) ([]Notice, error) {
	if cmp.Or(h.Get("X-Forgejo-Event"), h.Get("X-Gitea-Event")) != "package" {
		return nil, nil
	}
	var hook struct {
		Action  string `json:"action"`
		Package struct {
			Type    string `json:"type"`
			Name    string `json:"name"`
			Version string `json:"version"`
			Owner   struct {
				Login    string `json:"login"`
				UserName string `json:"username"`
			} `json:"owner"`
			HTMLURL string `json:"html_url"`
		} `json:"package"`
	}
	if err := decode(body, &hook); err != nil {
		return nil, err
	}
	p := hook.Package
	action, ok := map[string]Action{"created": Push, "deleted": Untag}[hook.Action]
	if p.Type != "container" || !ok {
		return nil, nil
	}
	n := Notice{
		ID: cmp.Or(h.Get("X-Forgejo-Delivery"), h.Get("X-Gitea-Delivery")), Action: action, Host: hostOf(p.HTMLURL),
		Repository: strings.ToLower(cmp.Or(p.Owner.Login, p.Owner.UserName) + "/" + p.Name), Tag: p.Version,
	}
	if isDigest(p.Version) {
		n.Tag, n.Digest = "", p.Version
		if action == Untag {
			n.Action = Delete
		}
	}
	return []Notice{n}, nil
}

// hostOf is the host and port of an address.
func hostOf(address string) string {
	_, rest, ok := strings.Cut(address, "://")
	if !ok {
		return ""
	}
	host, _, _ := strings.Cut(rest, "/")
	return host
}
