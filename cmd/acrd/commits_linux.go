package main

import (
	"context"
	"errors"
	"net/url"

	"acrd/internal/source"
	"acrd/steps"
	"acrd/triggers"
)

// gitRemotes lets triggers ask about repositories, with the connections, the
// limits and the mirrors that builds fetch with.
type gitRemotes struct{ fetcher *source.Fetcher }

// remoteContext is a repository as fetchers know it. The token goes with it the
// way that a task's own does, so that both have one mirror.
func remoteContext(r triggers.Remote) (steps.Context, error) {
	c, err := steps.ParseGit(r.URL)
	if err == nil && r.Token != "" && c.User == nil {
		c.User = url.User(r.Token)
	}
	return c, err
}

// Refs implements triggers.Git.
func (g gitRemotes) Refs(ctx context.Context, r triggers.Remote, prefixes []string) (*triggers.Listing, error) {
	c, err := remoteContext(r)
	if err != nil {
		return nil, err
	}
	refs, err := g.fetcher.Refs(ctx, c, prefixes)
	if refused := (*source.StatusError)(nil); errors.As(err, &refused) {
		return nil, &triggers.RefusedError{Status: refused.Status, RetryAfter: refused.RetryAfter}
	}
	if err != nil {
		return nil, err
	}
	return &triggers.Listing{Refs: refs.Commits, Head: refs.Head}, nil
}

// Change implements triggers.Git.
func (g gitRemotes) Change(ctx context.Context, r triggers.Remote, before, after string) (*triggers.Change, error) {
	c, err := remoteContext(r)
	if err != nil {
		return nil, err
	}
	change, err := g.fetcher.Change(ctx, c, before, after)
	if err != nil {
		return nil, err
	}
	return &triggers.Change{Message: change.Message, Paths: change.Paths, Known: change.Known}, nil
}
