// Package forge tells the servers that have repositories how the runs of their
// commits went: GitHub, GitLab, Gitea and Azure DevOps.
//
// A status is a courtesy: it is tried a few times and then let go. It keeps no
// run waiting.
package forge

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"acrd/runner"
)

// Tasks are where triggers are looked up, with their tokens.
type Tasks interface {
	Task(ctx context.Context, name string) (*runner.Task, error)
}

// Statuses posts the status of each run that a commit has started.
type Statuses struct {
	Tasks  Tasks
	Client *http.Client
	Log    *slog.Logger // nil discards
	// Wait is the first pause between two tries; 0 means 2 s.
	Wait time.Duration

	once  sync.Once
	queue chan note
}

// A note is a status to be posted.
type note struct {
	task   string
	cause  runner.SourceCause
	status Status
}

const (
	tries = 4
	// backlog is how many statuses wait; what is more is let go.
	backlog = 1000
)

func (s *Statuses) init() { s.once.Do(func() { s.queue = make(chan note, backlog) }) }

// Observer is told of runs.
func (s *Statuses) Observer() runner.Observer {
	return runner.Observer{
		Queued: func(r *runner.Run) { s.note(r, Pending) },
		Run: func(ctx context.Context, r *runner.Run) (context.Context, func(*runner.Run)) {
			s.note(r, Running)
			return ctx, func(r *runner.Run) { s.note(r, stateOf(r.Status)) }
		},
	}
}

func stateOf(s runner.Status) State {
	switch s {
	case runner.Succeeded:
		return Success
	case runner.Failed, runner.Timeout:
		return Failure
	case runner.Queued, runner.Started, runner.Running: // it goes on elsewhere
		return Pending
	}
	return Error
}

func (s *Statuses) note(r *runner.Run, state State) {
	if r.Request.Cause == nil || r.Request.Cause.Source == nil || r.Request.Cause.Source.CommitID == "" {
		return
	}
	s.init()
	n := note{r.Request.Task, *r.Request.Cause.Source, Status{
		State: state, Context: "acrd/" + r.Request.Task, Description: fmt.Sprintf("run %s: %s", r.ID, r.Status),
	}}
	select {
	case s.queue <- n:
	default:
		s.log().Warn("status of a commit let go", "task", n.task, "run", r.ID)
	}
}

// Serve posts statuses, in their order, until ctx has ended.
func (s *Statuses) Serve(ctx context.Context) error {
	s.init()
	for {
		select {
		case <-ctx.Done():
			return nil
		case n := <-s.queue:
			if err := s.post(ctx, n); err != nil && ctx.Err() == nil {
				s.log().Warn("status of a commit not posted", "task", n.task, "commit", n.cause.CommitID, "err", err)
			}
		}
	}
}

// post posts one status; where there is nobody to take it, it does nothing.
func (s *Statuses) post(ctx context.Context, n note) error {
	t, err := s.Tasks.Task(ctx, n.task)
	if err != nil {
		return err
	}
	kind, token := recipient(t, n.cause)
	if kind == "" || token == "" {
		return nil
	}
	pause := cmp.Or(s.Wait, 2*time.Second)
	for try := 1; ; try++ {
		again, err := s.try(ctx, kind, token, n)
		if err == nil || !again || try == tries {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		pause *= 2
	}
}

// recipient is who takes statuses of a trigger's commits, and what opens it.
func recipient(t *runner.Task, c runner.SourceCause) (kind, token string) {
	if t.Trigger == nil {
		return "", ""
	}
	i := slices.IndexFunc(t.Trigger.Sources, func(s runner.SourceTrigger) bool { return s.Name == c.ID && s.Repository.URL == c.RepositoryURL })
	if i < 0 {
		return "", "" // the trigger is another by now
	}
	s := t.Trigger.Sources[i]
	if s.Repository.Auth == nil {
		return "", ""
	}
	return cmp.Or(s.Provider, Kind(s.Repository.URL)), s.Repository.Auth.Token.Reveal()
}

func (s *Statuses) try(ctx context.Context, kind, token string, n note) (again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	req, err := request(ctx, kind, n.cause.RepositoryURL, token, n.cause.CommitID, n.status)
	if err != nil {
		return false, err
	}
	resp, err := s.Client.Do(req)
	if err != nil {
		return true, fmt.Errorf("post status to %s: %w", req.URL.Host, err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	if resp.StatusCode/100 == 2 {
		return false, nil
	}
	again = resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests
	return again, fmt.Errorf("post status to %s: it answered %d %s", req.URL.Host, resp.StatusCode, http.StatusText(resp.StatusCode))
}

func (s *Statuses) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}
