package api

import (
	"context"
	"time"

	"acrd/eventing"
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
