package api

import (
	"errors"
	"net/http"

	"acrd/runner"
)

// approve lets a task run for the commit of a stranger.
func (s *Server) approve(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Commit string `json:"commit"`
	}
	if err := read(w, r, &body); err != nil {
		return err
	}
	if body.Commit == "" {
		return &runner.InvalidError{Err: errors.New("give the full hash of the commit that is approved")}
	}
	if s.Approve == nil {
		return runner.ErrNotFound
	}
	if err := s.Approve(r.Context(), r.PathValue("task"), body.Commit); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}
