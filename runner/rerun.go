package runner

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"acrd/steps"
)

// Rerun queues a run with the same inputs as an earlier one: the same request,
// secrets included, on the commit that its source was at. KeepRegistry is that
// of whoever asks.
func (r *Runner) Rerun(ctx context.Context, id string, keepRegistry bool) (*Run, error) {
	old, err := r.Store.Run(ctx, id)
	if err != nil {
		return nil, err
	}
	req, err := r.Store.Request(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("request of run %s: %w", id, err)
	}
	if len(req.AgentIDs) > 0 {
		return nil, &InvalidError{errors.New("run " + id + " used the SSH agent of whoever asked for it, which is gone: ask again with --ssh")}
	}
	if pinned, ok := atCommit(req.Source, old.Commit); ok {
		req.Source, req.Commit = pinned, old.Commit
		if req.Branch == "" {
			req.Branch = old.Branch
		}
	}
	req.KeepRegistry = keepRegistry
	req.Cause, req.Intents, req.Superseded, req.Reason, req.Lineage = nil, nil, nil, "", nil
	return r.Submit(ctx, *req)
}

// atCommit is a git source with the commit in the place of its branch.
func atCommit(source, commit string) (string, bool) {
	c, err := steps.ParseContext(source)
	if err != nil || c.Kind != steps.ContextGit || commit == "" {
		return "", false
	}
	s := c.URL
	if scheme, rest, ok := strings.Cut(s, "://"); ok && c.User != nil {
		s = scheme + "://" + c.User.String() + "@" + rest
	}
	s += "#" + commit
	if c.Dir != "" {
		s += ":" + c.Dir
	}
	again, err := steps.ParseContext(s)
	c.Ref = commit
	return s, err == nil && again.String() == c.String()
}
