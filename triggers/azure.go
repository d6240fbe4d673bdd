package triggers

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
)

// ParseAzure reads a service hook of Azure DevOps. It is nil if it is of no
// interest.
func ParseAzure(_ http.Header, body []byte) (*Notice, error) {
	var p struct {
		ID       string `json:"id"`
		Event    string `json:"eventType"`
		Number   int64  `json:"notificationId"`
		Resource struct {
			RefUpdates []struct {
				Name string `json:"name"`
			} `json:"refUpdates"`
			PullRequestID int64  `json:"pullRequestId"`
			Status        string `json:"status"`
			Target        string `json:"targetRefName"`
			Source        struct {
				CommitID string `json:"commitId"`
			} `json:"lastMergeSourceCommit"`
			ForkSource *struct{} `json:"forkSource"`
			Repository struct {
				Name    string `json:"name"`
				Project struct {
					Name string `json:"name"`
				} `json:"project"`
			} `json:"repository"`
		} `json:"resource"`
	}
	if err := payload(body, &p); err != nil {
		return nil, err
	}
	delivery := p.ID
	if delivery != "" {
		delivery += "/" + strconv.FormatInt(p.Number, 10)
	}
	r := p.Resource
	switch p.Event {
	case "git.push":
		var refs []string
		for _, u := range r.RefUpdates {
			refs = append(refs, u.Name)
		}
		return notice(delivery, refs...), nil
	case "git.pullrequest.created", "git.pullrequest.updated":
	default:
		return nil, nil
	}
	if r.Status != "active" {
		return nil, nil
	}
	if r.PullRequestID <= 0 || !isCommit(r.Source.CommitID) {
		return nil, errors.New("body: the pull request has no number or commit: send all resource details")
	}
	return &Notice{Delivery: delivery, Pull: &Pull{
		ID: strconv.FormatInt(r.PullRequestID, 10), Repository: r.Repository.Project.Name + "/" + r.Repository.Name,
		Branch: strings.TrimPrefix(r.Target, "refs/heads/"), Commit: r.Source.CommitID,
		Ref: "refs/pull/" + strconv.FormatInt(r.PullRequestID, 10) + "/merge", Fork: r.ForkSource != nil,
	}}, nil
}

// ParseGeneric reads a webhook of anybody who signs it by the Standard Webhooks
// rules: {"ref": "refs/heads/main"}, where a name without refs/ is a branch's.
func ParseGeneric(h http.Header, body []byte) (*Notice, error) {
	delivery, err := header(h, "Webhook-Id")
	if err != nil {
		return nil, err
	}
	var p struct {
		Ref string `json:"ref"`
	}
	if err := payload(body, &p); err != nil {
		return nil, err
	}
	return notice(delivery, fullRef(p.Ref)), nil
}
