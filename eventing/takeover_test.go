package eventing_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"acrd/eventing"
)

// cutOff is a store that a daemon cannot reach any more to keep its leases.
type cutOff struct {
	eventing.Store
	off atomic.Bool
}

func (c *cutOff) TakeQueues(ctx context.Context, owner string, lease time.Duration, alone bool) ([]int64, error) {
	if c.off.Load() {
		return nil, errors.New("cut off")
	}
	return c.Store.TakeQueues(ctx, owner, lease, alone)
}

// TestTakeover has two daemons. The one that has the queue loses its lease
// while it delivers; what it says of that later does not count.
func TestTakeover(t *testing.T) {
	db := openStore(t, filepath.Join(t.TempDir(), "acrd.db"))
	defer db.Close()
	s := eventing.Subscription{
		Kind: eventing.EventSubscription, Name: "s", State: eventing.Succeeded, Filter: eventing.Filter{Types: []string{"x"}},
		Destination: eventing.Destination{Type: eventing.ToWebHook, URL: "u"},
	}
	err := db.ChangeSubscription(t.Context(), s.Kind, s.Name, func(*eventing.Subscription) (*eventing.Subscription, error) { return &s, nil })
	if err != nil {
		t.Fatal(err)
	}
	stuck, arrived := make(chan struct{}), make(chan struct{}, 100)
	first := &receiver{answer: func(eventing.Delivery) error { arrived <- struct{}{}; <-stuck; return nil }}
	second := &receiver{}
	cut := &cutOff{Store: db}
	stopFirst := serveWith(t, cut, first)
	if err := db.AddEvents(t.Context(), eventing.Event{ID: "e-0", Type: "x", Time: time.Now(), Data: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	<-arrived
	cut.off.Store(true)
	stopSecond := serveWith(t, db, second)
	defer stopSecond()
	within(t, "the second daemon has the event", func() bool { return slices.Equal(second.ids(), []string{"e-0"}) })
	close(stuck)
	if err := db.AddEvents(t.Context(), eventing.Event{ID: "e-1", Type: "x", Time: time.Now(), Data: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	within(t, "and the next", func() bool { return slices.Contains(second.ids(), "e-1") })
	within(t, "nothing is left", func() bool {
		depths, err := db.Depths(t.Context())
		return err == nil && len(depths) == 0
	})
	stopFirst()
	same(t, "the first daemon", first.ids(), []string{"e-0"})
	same(t, "the second daemon", second.ids(), []string{"e-0", "e-1"})
}

// serveWith has a lease that is over soon.
func serveWith(t *testing.T, s eventing.Store, r *receiver) (stop func()) {
	d := &eventing.Dispatcher{
		Store: s, Lease: time.Second, Log: slog.New(slog.DiscardHandler),
		Open: func(eventing.Destination) (eventing.Sink, error) { return r, nil },
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = d.Serve(ctx) }()
	return func() { cancel(); <-done }
}

// within waits. A delivery that a daemon has begun as it was stopped is made
// again after 10 s, and a busy machine adds to that.
func within(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 4500 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not within 45 s: %s", what)
}
