package triggers

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// Git is what is asked about repositories. internal/source does it.
type Git interface {
	// Refs lists those whose names begin with one of the prefixes. A
	// repository that is empty has none, which is no error. What its server
	// refuses is a *RefusedError.
	Refs(ctx context.Context, r Remote, prefixes []string) (*Listing, error)
	// Change tells what a commit is, and what it has changed since another,
	// if that is not empty.
	Change(ctx context.Context, r Remote, before, after string) (*Change, error)
}

// A Remote is a repository, and what opens it.
type Remote struct {
	URL, Token string
}

// A Listing is what a repository has.
type Listing struct {
	// Refs are commits by the full names of what points at them; HEAD is
	// there if it was asked for. Annotated tags are seen through.
	Refs map[string]string
	// Head is where HEAD points, if that is known.
	Head string
}

// A Change is a commit as seen from an earlier one.
type Change struct {
	Message string
	// Paths are those that differ. They are not Known if the server has the
	// earlier one no more.
	Paths []string
	Known bool
}

// A RefusedError is a server that does not answer what it was asked.
type RefusedError struct {
	Status     int
	RetryAfter time.Duration // when to come again; 0: it did not say
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the server answered %d %s", e.Status, http.StatusText(e.Status))
}

// lasting says that it will not get better by itself: the credential does not
// fit, or there is no such repository.
func (e *RefusedError) lasting() bool {
	return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden || e.Status == http.StatusNotFound
}
