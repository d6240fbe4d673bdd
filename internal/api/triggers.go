package api

import (
	"context"
	"errors"
	"net/http"

	"acrd/runner"
	"acrd/triggers"
)

// Triggers say why tasks start. *triggers.Explainer does.
type Triggers interface {
	// Why is runner.ErrNotFound if there is no such task.
	Why(ctx context.Context, task string) (*triggers.Explanation, error)
	Graph(ctx context.Context) (*triggers.Picture, error)
	// Pins are what a run of the task resolves images to, whoever starts it.
	Pins(ctx context.Context, t *runner.Task) (map[string]string, error)
}

var errNoTriggers = &runner.InvalidError{Err: errors.New("this daemon has no triggers")}

func (s *Server) why(w http.ResponseWriter, r *http.Request) error {
	if s.Triggers == nil {
		return errNoTriggers
	}
	x, err := s.Triggers.Why(r.Context(), r.PathValue("task"))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, x)
}

func (s *Server) taskGraph(w http.ResponseWriter, r *http.Request) error {
	if s.Triggers == nil {
		return errNoTriggers
	}
	p, err := s.Triggers.Graph(r.Context())
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, p)
}
