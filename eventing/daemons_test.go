package eventing_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/internal/store"
	"acrd/internal/store/storetest"
)

// TestDaemons has two daemons on one PostgreSQL publish and deliver. No event is
// passed on twice; when one daemon ends, the other goes on.
func TestDaemons(t *testing.T) {
	url := storetest.StartPostgres(t).Database(t)
	first, second := newDaemon(t, url), newDaemon(t, url)
	for i := range 3 {
		subscribeTo(t, first.db, eventing.Subscription{Name: fmt.Sprint("s", i)})
	}
	const n = 200
	for i := range n {
		d := []*daemon{first, second}[i%2]
		e := eventing.Event{ID: fmt.Sprint("e-", i), Type: "x", Time: time.Now(), Data: []byte("{}")}
		if err := d.db.AddEvents(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if i == n/2 {
			first.stop()
		}
	}
	within(t, "all are delivered", func() bool {
		return len(first.receiver.ids())+len(second.receiver.ids()) >= 3*n
	})
	time.Sleep(100 * time.Millisecond)
	times := map[string]int{}
	for _, id := range append(first.receiver.ids(), second.receiver.ids()...) {
		times[id]++
	}
	for id, got := range times {
		if got != 3 {
			t.Errorf("%s was delivered %d times to 3 subscriptions", id, got)
		}
	}
	if len(times) != n || len(second.receiver.ids()) == 0 {
		t.Errorf("%d events were delivered, %d deliveries by the second daemon", len(times), len(second.receiver.ids()))
	}
}

type daemon struct {
	db       *store.DB
	receiver *receiver
	stop     func()
}

func newDaemon(t *testing.T, url string) *daemon {
	t.Helper()
	d := &daemon{db: openStore(t, url), receiver: &receiver{}}
	stopDelivering := serveWith(t, d.db, d.receiver, time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() { defer close(served); _ = d.db.Serve(ctx) }()
	d.stop = stopDelivering
	t.Cleanup(func() {
		stopDelivering()
		cancel()
		<-served
		if err := d.db.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}
