package triggers

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
)

// ParseBitbucket reads a webhook of Bitbucket Cloud. It is nil if it is of no
// interest.
func ParseBitbucket(h http.Header, body []byte) (*Notice, error) {
	event, err := header(h, "X-Event-Key")
	if err != nil {
		return nil, err
	}
	delivery, err := header(h, "X-Request-UUID")
	if err != nil {
		return nil, err
	}
	type side struct {
		Branch struct {
			Name string `json:"name"`
		} `json:"branch"`
		Commit struct {
			Hash string `json:"hash"`
		} `json:"commit"`
		Repository struct {
			UUID     string `json:"uuid"`
			FullName string `json:"full_name"`
		} `json:"repository"`
	}
	type ref struct {
		Type string `json:"type"`
		Name string `json:"name"`
	}
	var p struct {
		Push struct {
			Changes []struct {
				New *ref `json:"new"`
				Old *ref `json:"old"`
			} `json:"changes"`
		} `json:"push"`
		Pull struct {
			ID          int64 `json:"id"`
			Source      side  `json:"source"`
			Destination side  `json:"destination"`
		} `json:"pullrequest"`
	}
	if err := payload(body, &p); err != nil {
		return nil, err
	}
	switch event {
	case "repo:push":
		var refs []string
		for _, c := range p.Push.Changes {
			r := c.New
			if r == nil {
				r = c.Old
			}
			if r != nil && r.Type == "tag" {
				refs = append(refs, "refs/tags/"+r.Name)
			} else if r != nil {
				refs = append(refs, "refs/heads/"+r.Name)
			}
		}
		return notice(delivery, refs...), nil
	case "pullrequest:created", "pullrequest:updated":
	default:
		return nil, nil
	}
	source, destination := p.Pull.Source, p.Pull.Destination
	if p.Pull.ID <= 0 || !isHex(source.Commit.Hash) { // it is abbreviated
		return nil, errors.New("body: the pull request has no number or commit")
	}
	return &Notice{Delivery: delivery, Pull: &Pull{
		ID: strconv.FormatInt(p.Pull.ID, 10), Repository: destination.Repository.FullName, Branch: destination.Branch.Name,
		Commit: source.Commit.Hash, Fork: source.Repository.UUID == "" || source.Repository.UUID != destination.Repository.UUID,
	}}, nil
}

// ParseBitbucketServer reads a webhook of Bitbucket Data Center. It is nil if
// it is of no interest.
func ParseBitbucketServer(h http.Header, body []byte) (*Notice, error) {
	event, err := header(h, "X-Event-Key")
	if err != nil {
		return nil, err
	}
	delivery, err := header(h, "X-Request-Id")
	if err != nil {
		return nil, err
	}
	type side struct {
		ID         string `json:"displayId"`
		Commit     string `json:"latestCommit"`
		Repository struct {
			ID      int64  `json:"id"`
			Slug    string `json:"slug"`
			Project struct {
				Key string `json:"key"`
			} `json:"project"`
		} `json:"repository"`
	}
	var p struct {
		Changes []struct {
			RefID string `json:"refId"`
		} `json:"changes"`
		Pull struct {
			ID   int64 `json:"id"`
			From side  `json:"fromRef"`
			To   side  `json:"toRef"`
		} `json:"pullRequest"`
	}
	if err := payload(body, &p); err != nil {
		return nil, err
	}
	if event == "repo:refs_changed" {
		var refs []string
		for _, c := range p.Changes {
			refs = append(refs, c.RefID)
		}
		return notice(delivery, refs...), nil
	}
	if !slices.Contains([]string{"pr:opened", "pr:from_ref_updated"}, event) {
		return nil, nil
	}
	from, to := p.Pull.From, p.Pull.To
	if p.Pull.ID <= 0 || !isCommit(from.Commit) {
		return nil, errors.New("body: the pull request has no number or commit")
	}
	number := strconv.FormatInt(p.Pull.ID, 10)
	return &Notice{Delivery: delivery, Pull: &Pull{
		ID: number, Repository: to.Repository.Project.Key + "/" + to.Repository.Slug, Branch: to.ID, Commit: from.Commit,
		Ref: "refs/pull-requests/" + number + "/from", Fork: from.Repository.ID != to.Repository.ID || to.Repository.ID == 0,
	}}, nil
}
