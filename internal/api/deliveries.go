package api

import (
	"context"
	"net/http"
	"time"

	"acrd/eventing"
	"acrd/runner"
)

// Deliveries are what subscriptions and webhooks were sent, and may be sent
// again. All are eventing.ErrNotFound if there is no such subscription.
type Deliveries interface {
	// History is at most limit attempts, the newest first.
	History(ctx context.Context, kind eventing.Kind, name string, limit int) ([]eventing.Attempt, error)
	// Redeliver sends an event again that the history or the dead letters have;
	// eventing.ErrNotFound if they have not.
	Redeliver(ctx context.Context, kind eventing.Kind, name, eventID string) error
	// RedeliverSince sends all again that were published since, and says how
	// many those are.
	RedeliverSince(ctx context.Context, kind eventing.Kind, name string, since time.Time) (int, error)
	// Enqueue sends an event to one subscription, whatever its filter.
	Enqueue(ctx context.Context, kind eventing.Kind, name string, e eventing.Event) error
}

// A Redelivery says what to send again: one event, or all since a time.
type Redelivery struct {
	ID    string    `json:"id,omitempty"`
	Since time.Time `json:"since,omitzero"`
}

// Redelivered is how many events are sent again.
type Redelivered struct {
	Count int `json:"count"`
}

func (s *Server) redeliver(w http.ResponseWriter, r *http.Request, kind eventing.Kind, name string) error {
	var body Redelivery
	if err := read(w, r, &body); err != nil {
		return err
	}
	if (body.ID == "") == body.Since.IsZero() {
		return runner.Faults{{Code: "InvalidProperty", Target: "id", Message: "Give either the id of an event, or since when."}}
	}
	done := Redelivered{1}
	var err error
	if body.ID != "" {
		err = s.Deliveries.Redeliver(r.Context(), kind, name, body.ID)
	} else {
		done.Count, err = s.Deliveries.RedeliverSince(r.Context(), kind, name, body.Since)
	}
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, done)
}
