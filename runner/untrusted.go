package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"acrd/steps"
)

// distrust takes from a request all that a stranger must not have: a pull
// request from a fork runs what its author has written. It has no secret, no
// credential and no entitlement, and pushes nothing. What fetches the source is
// taken too, for the source could name other repositories that it opens.
func (req *Request) distrust() {
	req.SourceToken, req.Credentials, req.VaultCredentials = "", nil, nil
	req.SecretValues, req.Secrets, req.Agents, req.AgentIDs, req.Allow = nil, nil, nil, nil, nil
	if req.Build != nil {
		b := *req.Build
		b.Push, b.SecretArgs = false, nil
		req.Build = &b
	}
}

var errUntrusted = errors.New("this run is of a pull request from a fork: it has no secrets, and pushes nothing")

// A quiet session pushes nothing, and leaves nothing in a cache for the runs
// that are trusted: it has scope instead.
type quietSession struct {
	steps.Session
	scope string
}

// Build builds with a cache of its own, which stays here: to export it is a
// push, and what is imported the engine believes of every build.
func (s quietSession) Build(ctx context.Context, op *steps.BuildOp, out io.Writer) (*steps.Image, error) {
	alone := *op
	alone.CacheScope = s.scope
	if op.CacheRef != "" || len(op.CacheFrom)+len(op.CacheTo) > 0 {
		alone.CacheRef, alone.CacheFrom, alone.CacheTo = "", nil, nil
		fmt.Fprintln(out, "WARNING: no cache is imported or exported: this run is of a pull request from a fork")
	}
	return s.Session.Build(ctx, &alone, out)
}

// Push refuses.
func (quietSession) Push(context.Context, string, io.Writer) (*steps.Pushed, error) {
	return nil, &steps.RefusedError{Reason: errUntrusted.Error()}
}

// sourcesOf are those that a run may fetch from.
func (r *Runner) sourcesOf(run *Run) Sources {
	if run.Request.Untrusted {
		return keylessSources{r.Sources}
	}
	return r.Sources
}

// keylessSources do not offer the daemon's key to ssh servers.
type keylessSources struct{ Sources }

// Fetch refuses what only a key opens. A submodule behind ssh is fetched from
// the server of its parent alone, so that it is refused, too.
func (s keylessSources) Fetch(ctx context.Context, c steps.Context, dir string, out io.Writer) (*steps.Fetched, error) {
	scheme, _, ok := strings.Cut(c.URL, "://")
	if c.Kind == steps.ContextGit && (!ok || scheme == "ssh") {
		return nil, &steps.RefusedError{Reason: "this run is of a pull request from a fork: nothing is fetched over ssh for it"}
	}
	return s.Sources.Fetch(ctx, c, dir, out)
}
