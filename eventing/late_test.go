package eventing_test

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/internal/store"
)

// lateStore is a store where somebody subscribes, and something is published,
// while a dispatcher already knows the subscriptions.
type lateStore struct {
	eventing.Store
	before string // the call that it happens in
	happen func()
}

func (l *lateStore) Outbox(ctx context.Context, limit int) ([]eventing.Stored, error) {
	if l.before == "Outbox" {
		l.happen()
	}
	return l.Store.Outbox(ctx, limit)
}

func (l *lateStore) SettleAll(ctx context.Context, version string) error {
	if l.before == "SettleAll" {
		l.happen()
	}
	return l.Store.SettleAll(ctx, version)
}

// TestLateSubscriber has an event that was published after its subscription was
// made, however late a dispatcher hears of that.
func TestLateSubscriber(t *testing.T) {
	for _, row := range []struct {
		before string
		first  []string // subscriptions that there are already
	}{{"Outbox", []string{"early"}}, {"SettleAll", nil}} {
		t.Run(row.before, func(t *testing.T) {
			db := openStore(t, filepath.Join(t.TempDir(), "acrd.db"))
			defer db.Close()
			for _, name := range row.first {
				subscribeTo(t, db, eventing.Subscription{Name: name})
			}
			happen := sync.OnceFunc(func() {
				subscribeTo(t, db, eventing.Subscription{Name: "late"})
				if err := db.AddEvents(t.Context(), eventing.Event{ID: "e-0", Type: "x", Time: time.Now(), Data: []byte("{}")}); err != nil {
					t.Error(err)
				}
			})
			r := &receiver{}
			stop := serveWith(t, &lateStore{db, row.before, happen}, r, time.Minute)
			defer stop()
			want := slices.Repeat([]string{"e-0"}, 1+len(row.first))
			within(t, "all subscribers have the event", func() bool { return slices.Equal(r.ids(), want) })
		})
	}
}

// subscribeTo makes a subscription to all events of type x.
func subscribeTo(t *testing.T, db *store.DB, s eventing.Subscription) {
	t.Helper()
	s.Kind, s.State, s.Filter.Types = eventing.EventSubscription, eventing.Succeeded, []string{"x"}
	s.Destination = eventing.Destination{Type: eventing.ToWebHook, URL: "u"}
	err := db.ChangeSubscription(t.Context(), s.Kind, s.Name, func(*eventing.Subscription) (*eventing.Subscription, error) { return &s, nil })
	if err != nil {
		t.Error(err)
	}
}
