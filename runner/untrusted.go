package runner

import (
	"context"
	"errors"
	"io"

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

// A quiet session pushes nothing.
type quietSession struct{ steps.Session }

// Push refuses.
func (quietSession) Push(context.Context, string, io.Writer) (*steps.Pushed, error) {
	return nil, &steps.RefusedError{Reason: errUntrusted.Error()}
}
