package eventing_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"acrd/eventing"

	gocmp "github.com/google/go-cmp/cmp"
)

// deliveries are those of several daemons, by subscription, in their order.
type deliveries struct {
	mu     sync.Mutex // guards what follows
	events map[string][]string
	by     map[string][]string // the daemons, each once in a row
}

func (d *deliveries) add(daemon, subscription, event string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events[subscription] = append(d.events[subscription], event)
	if by := d.by[subscription]; len(by) == 0 || by[len(by)-1] != daemon {
		d.by[subscription] = append(by, daemon)
	}
}

// of are the subscriptions that a daemon was the last to deliver to.
func (d *deliveries) of(daemon string) (all []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for subscription, by := range d.by {
		if by[len(by)-1] == daemon {
			all = append(all, subscription)
		}
	}
	slices.Sort(all)
	return all
}

// told is the sink of one daemon.
type told struct {
	*deliveries
	daemon string
}

func (s told) Deliver(_ context.Context, d eventing.Delivery) (*eventing.Exchange, error) {
	s.add(s.daemon, d.Subscription, d.Events[0].ID)
	return nil, nil
}
func (told) Close() error { return nil }

// TestSpread has a daemon that holds all queues, and two more that come later.
// Each gets its share while events are published; none is delivered twice, or
// out of order.
func TestSpread(t *testing.T) {
	db := openStore(t, filepath.Join(t.TempDir(), "acrd.db"))
	defer db.Close()
	const queues = 6
	for i := range queues {
		subscribeTo(t, db, eventing.Subscription{Name: fmt.Sprint("s", i), Ordered: true})
	}
	got := &deliveries{events: map[string][]string{}, by: map[string][]string{}}
	var published []string
	publish := func() {
		id := fmt.Sprint("e-", len(published))
		published = append(published, id)
		if err := db.AddEvents(t.Context(), eventing.Event{ID: id, Type: "x", Key: "k", Time: time.Now(), Data: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
	}
	for i, daemon := range []string{"a", "b", "c"} {
		defer serveWith(t, db, told{got, daemon}, time.Minute)()
		within(t, "each daemon has its share", func() bool {
			publish()
			subscribeTo(t, db, eventing.Subscription{Name: "s0", Ordered: true}) // it is as it was, and daemons look at their shares
			for _, d := range []string{"a", "b", "c"}[:i+1] {
				if len(got.of(d)) != queues/(i+1) {
					return false
				}
			}
			return true
		})
	}
	within(t, "nothing is left", func() bool {
		depths, err := db.Depths(t.Context())
		open, err2 := db.Outbox(t.Context(), 1)
		return err == nil && err2 == nil && len(depths)+len(open) == 0
	})
	for subscription, events := range got.events {
		if diff := gocmp.Diff(published, events); diff != "" {
			t.Errorf("%s, by %s (-want +got):\n%s", subscription, strings.Join(got.by[subscription], ", "), diff)
		}
	}
}
