package triggers

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
)

// ParseGitLab reads a webhook of GitLab. It is nil if it is of no interest.
func ParseGitLab(h http.Header, body []byte) (*Notice, error) {
	delivery, err := header(h, "Webhook-Id", "Idempotency-Key", "X-Gitlab-Event-UUID")
	if err != nil {
		return nil, err
	}
	var p struct {
		Kind    string `json:"object_kind"`
		Ref     string `json:"ref"`
		Project struct {
			Path string `json:"path_with_namespace"`
		} `json:"project"`
		Merge struct {
			IID        int64  `json:"iid"`
			Action     string `json:"action"`
			OldRev     string `json:"oldrev"`
			Target     string `json:"target_branch"`
			SourceID   int64  `json:"source_project_id"`
			TargetID   int64  `json:"target_project_id"`
			LastCommit struct {
				ID string `json:"id"`
			} `json:"last_commit"`
		} `json:"object_attributes"`
	}
	if err := payload(body, &p); err != nil {
		return nil, err
	}
	switch p.Kind {
	case "push", "tag_push":
		return notice(delivery, p.Ref), nil
	case "merge_request":
	default:
		return nil, nil
	}
	m := p.Merge
	// An update without oldrev is one of the title or the like.
	if !slices.Contains([]string{"open", "reopen"}, m.Action) && (m.Action != "update" || m.OldRev == "") {
		return nil, nil
	}
	if m.IID <= 0 || !isCommit(m.LastCommit.ID) {
		return nil, errors.New("body: the merge request has no number or commit")
	}
	number := strconv.FormatInt(m.IID, 10)
	return &Notice{Delivery: delivery, Pull: &Pull{
		ID: number, Repository: p.Project.Path, Branch: m.Target, Commit: m.LastCommit.ID,
		Ref: "refs/merge-requests/" + number + "/head", Fork: m.SourceID != m.TargetID || m.TargetID == 0,
	}}, nil
}
