package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"acrd/runner"
	"acrd/triggers"
)

// Timers is where timers are looked up.
type Timers interface {
	// TimersOf lists those of a task that may run.
	TimersOf(ctx context.Context, task string) ([]triggers.TimerState, error)
}

// A TaskTimer is a timer of a task, and when it fires.
type TaskTimer struct {
	runner.TimerTrigger
	// Next and Last are the times of its schedule. There is no Next if it
	// is disabled, or says no day that comes.
	Next time.Time `json:"nextFire,omitzero"`
	Last time.Time `json:"lastFire,omitzero"`
	// Waits says that Next has come, and waits for the timer's last run.
	Waits bool `json:"waitsForRun,omitempty"`
}

func (s *Server) listTimers(w http.ResponseWriter, r *http.Request) error {
	t, err := s.Tasks.Task(r.Context(), r.PathValue("task"))
	if err != nil {
		return err
	}
	states := map[string]triggers.TimerState{}
	if s.Timers != nil {
		all, err := s.Timers.TimersOf(r.Context(), t.Name)
		if err != nil {
			return err
		}
		for _, state := range all {
			states[state.Timer.Name] = state
		}
	}
	p := page[TaskTimer]{Value: []TaskTimer{}}
	if t.Trigger != nil {
		for _, timer := range t.Trigger.Timers {
			state := states[timer.Name]
			p.Value = append(p.Value, TaskTimer{timer, state.Next, state.Fired, state.Held})
		}
	}
	return reply(w, http.StatusOK, p)
}

// TaskTimers lists the timers of a task, and when they fire.
func (c *Client) TaskTimers(ctx context.Context, task string) ([]TaskTimer, error) {
	return pages[TaskTimer](ctx, c, "/tasks/"+url.PathEscape(task)+"/timers")
}
