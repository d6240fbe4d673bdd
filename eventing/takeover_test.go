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

func (c *cutOff) TakeQueues(ctx context.Context, owner string, lease time.Duration, alone bool) ([]int64, int, error) {
	if c.off.Load() {
		return nil, 0, errors.New("cut off")
	}
	return c.Store.TakeQueues(ctx, owner, lease, alone)
}

// TestTakeover has two daemons. The one that has the queue loses its lease
// while it delivers; what it says of that later does not count.
func TestTakeover(t *testing.T) {
	db := openStore(t, filepath.Join(t.TempDir(), "acrd.db"))
	defer db.Close()
	subscribeTo(t, db, eventing.Subscription{Name: "s"})
	stuck, arrived := make(chan struct{}), make(chan struct{}, 100)
	first := &receiver{answer: func(eventing.Delivery) error { arrived <- struct{}{}; <-stuck; return nil }}
	second := &receiver{}
	cut := &cutOff{Store: db}
	stopFirst := serveWith(t, cut, first, time.Second)
	if err := db.AddEvents(t.Context(), eventing.Event{ID: "e-0", Type: "x", Time: time.Now(), Data: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	<-arrived
	cut.off.Store(true)
	stopSecond := serveWith(t, db, second, time.Minute)
	defer stopSecond()
	within(t, "the second daemon has the event", func() bool { return slices.Contains(second.ids(), "e-0") })
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
	same(t, "the first daemon", slices.Compact(first.ids()), []string{"e-0"}) // a busy machine may take its lease before
	same(t, "the second daemon", second.ids(), []string{"e-0", "e-1"})
}

// serveWith is a daemon that delivers all to r, and may share s with others.
func serveWith(t *testing.T, s eventing.Store, r eventing.Sink, lease time.Duration) (stop func()) {
	d := &eventing.Dispatcher{
		Store: s, Lease: lease, Log: slog.New(slog.DiscardHandler),
		Open: func(eventing.Destination) (eventing.Sink, error) { return r, nil },
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = d.Serve(ctx) }()
	return func() { cancel(); <-done }
}

// within waits until it is so. The minute is for a test that fails.
func within(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("not within a minute: %s", what)
}
