package triggers

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
)

// githubPayload has what GitHub and Gitea say alike.
type githubPayload struct {
	Ref         string `json:"ref"`
	Action      string `json:"action"`
	Number      int64  `json:"number"`
	PullRequest struct {
		Head githubSide `json:"head"`
		Base githubSide `json:"base"`
	} `json:"pull_request"`
}

type githubSide struct {
	Ref  string `json:"ref"`
	SHA  string `json:"sha"`
	Repo *struct {
		ID       int64  `json:"id"`
		FullName string `json:"full_name"`
	} `json:"repo"`
}

// ParseGitHub reads a webhook of GitHub. It is nil if it is of no interest.
func ParseGitHub(h http.Header, body []byte) (*Notice, error) {
	return parseGitHub(h, body, "X-GitHub-Event", "X-GitHub-Delivery")
}

// ParseGitea reads a webhook of Gitea or Forgejo. It is nil if it is of no
// interest.
func ParseGitea(h http.Header, body []byte) (*Notice, error) {
	if h.Get("X-Forgejo-Event") != "" {
		return parseGitHub(h, body, "X-Forgejo-Event", "X-Forgejo-Delivery")
	}
	return parseGitHub(h, body, "X-Gitea-Event", "X-Gitea-Delivery")
}

func parseGitHub(h http.Header, body []byte, eventHeader, deliveryHeader string) (*Notice, error) {
	event, err := header(h, eventHeader)
	if err != nil {
		return nil, err
	}
	delivery, err := header(h, deliveryHeader)
	if err != nil {
		return nil, err
	}
	var p githubPayload
	if err := payload(body, &p); err != nil {
		return nil, err
	}
	switch event {
	case "push":
		return notice(delivery, p.Ref), nil
	case "pull_request":
		return p.pull(delivery)
	}
	return nil, nil
}

// pullActions are those that bring new commits, or bring old ones back. ACR
// used to build at every label.
var pullActions = []string{"opened", "reopened", "synchronize", "synchronized", "ready_for_review"}

func (p *githubPayload) pull(delivery string) (*Notice, error) {
	if !slices.Contains(pullActions, p.Action) {
		return nil, nil
	}
	head, base := p.PullRequest.Head, p.PullRequest.Base
	if base.Repo == nil || !isCommit(head.SHA) || p.Number <= 0 {
		return nil, fmt.Errorf("body: the pull request has no number, head or base")
	}
	number := strconv.FormatInt(p.Number, 10)
	return &Notice{Delivery: delivery, Pull: &Pull{
		ID: number, Repository: base.Repo.FullName, Branch: base.Ref, Commit: head.SHA, Ref: "refs/pull/" + number + "/head",
		// The repository of a head may have been deleted: then it was a fork.
		Fork: head.Repo == nil || head.Repo.ID != base.Repo.ID,
	}}, nil
}
