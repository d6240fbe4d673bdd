package eventing_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"acrd/eventing"
)

// TestStop stops a daemon while it delivers. What was not answered is delivered
// at once by the next one, as if it were new; what was answered is not new.
func TestStop(t *testing.T) {
	var hangs chan struct{}
	failed := status(500, eventing.Aborted)(eventing.Delivery{})
	for _, row := range []struct {
		name   string
		then   func(context.Context) error
		within time.Duration // the daemon stops
		counts []string      // of the attempts, until a second after the next daemon has begun
		later  []string      // 11 s after that
	}{
		{"no answer", func(ctx context.Context) error {
			<-ctx.Done()
			return &eventing.DeliveryError{Outcome: eventing.Canceled, Err: context.Cause(ctx)}
		}, 3 * time.Second, []string{"0", "0"}, nil},
		{"an error of its own", func(ctx context.Context) error { <-ctx.Done(); return errors.New("connection closed") }, 3 * time.Second, []string{"0", "0"}, nil},
		{"a failure in time", func(context.Context) error { time.Sleep(2 * time.Second); return failed }, 3 * time.Second, []string{"0"}, []string{"1"}},
		{"a failure as it is cut off", func(ctx context.Context) error { <-ctx.Done(); return failed }, 4 * time.Second, []string{"0"}, []string{"1"}},
		{"success in time", func(context.Context) error { time.Sleep(2 * time.Second); return nil }, 3 * time.Second, []string{"0"}, nil},
		{"success as it is cut off", func(ctx context.Context) error { <-ctx.Done(); return nil }, 4 * time.Second, []string{"0"}, nil},
		{"it heeds nothing", func(context.Context) error { <-hangs; return nil }, 6 * time.Second, []string{"0", "0"}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hangs = make(chan struct{})
				b := newBench(t)
				defer b.close()
				defer close(hangs)
				r := b.subscribe(eventing.Subscription{}, nil)
				r.then = row.then
				b.publish("e-0")
				rest(100 * time.Millisecond)
				start := time.Now()
				b.stop()
				if took := time.Since(start); took > row.within {
					t.Errorf("it has stopped after %v, want %v", took, row.within)
				}
				r.then = nil
				b.serve()
				rest(time.Second)
				counts := func() (all []string) {
					r.mu.Lock()
					defer r.mu.Unlock()
					for _, g := range r.got {
						all = append(all, g.counts)
					}
					return all
				}
				same(t, "attempts at once", counts(), row.counts)
				rest(11 * time.Second)
				same(t, "attempts later", counts(), slices.Concat(row.counts, row.later))
			})
		})
	}
}

// TestStopDeadLetters stops a daemon whose place for dead letters hangs.
func TestStopDeadLetters(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		hangs := make(chan struct{})
		defer close(hangs)
		b.receivers["file:///dead"] = &receiver{answer: func(eventing.Delivery) error { <-hangs; return nil }}
		b.subscribe(eventing.Subscription{DeadLetter: &eventing.Destination{Type: eventing.ToFolder, URL: "file:///dead"}}, status(400, eventing.BadRequest))
		b.publish("e-0")
		rest(eventing.DefaultDeadDelay + time.Second)
		start := time.Now()
		b.stop()
		if took := time.Since(start); took > 6*time.Second {
			t.Errorf("it has stopped after %v", took)
		}
		b.serve()
	})
}

// TestRateAndPatience has more to deliver than may be under way: that is waited
// for, and not asked for again and again.
func TestRateAndPatience(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		r := b.subscribe(eventing.Subscription{Rate: 600, InFlight: 1}, func(eventing.Delivery) error { time.Sleep(5 * time.Second); return nil })
		b.publish(numbered("e", 3)...)
		start := time.Now()
		rest(time.Minute)
		same(t, "attempts", r.since(start), []string{"0s", "5s", "10s"})
	})
}

// TestOrderGivenUp has an event wait for its time as its subscription ceases to
// keep an order.
func TestOrderGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		var on atomic.Bool
		on.Store(true)
		r := b.subscribe(eventing.Subscription{}, switched(&on))
		b.publish("e-0")
		rest(time.Second)
		b.subscribe(eventing.Subscription{Ordered: true}, nil)
		on.Store(false)
		b.publish("e-1")
		rest(time.Second)
		on.Store(true)
		b.subscribe(eventing.Subscription{}, nil)
		rest(time.Hour)
		depths, err := b.db.Depths(t.Context())
		if err != nil || len(depths) != 0 {
			t.Errorf("still waiting: %v (%v)", depths, err)
		}
		same(t, "attempts", r.ids(), []string{"e-0", "e-1", "e-1"})
	})
}

// TestOrderAskedForAgain has an event under way while its subscription ceases to
// keep an order, and does so again after it has arrived.
func TestOrderAskedForAgain(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		r := b.subscribe(eventing.Subscription{Ordered: true}, func(eventing.Delivery) error { time.Sleep(5 * time.Second); return nil })
		change := func(ordered bool) {
			t.Helper()
			err := b.db.ChangeSubscription(t.Context(), eventing.EventSubscription, "s", func(s *eventing.Subscription) (*eventing.Subscription, error) {
				s.Ordered = ordered
				return s, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			rest(time.Second)
		}
		b.publish("e-0")
		rest(time.Second)
		change(false)
		rest(10 * time.Second)
		change(true)
		b.publish("e-1")
		rest(time.Hour)
		same(t, "attempts", r.ids(), []string{"e-0", "e-1"})
	})
}

// TestOrderAskedForAsItFails has an order asked for between a failure and the
// moment in which it is written down.
func TestOrderAskedForAsItFails(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		var on atomic.Bool
		r := b.subscribe(eventing.Subscription{}, func(d eventing.Delivery) error { time.Sleep(time.Second); return switched(&on)(d) })
		b.publish("e-0")
		rest(time.Second + 5*time.Millisecond)
		on.Store(true)
		err := b.db.ChangeSubscription(t.Context(), eventing.EventSubscription, "s", func(s *eventing.Subscription) (*eventing.Subscription, error) {
			s.Ordered = true
			return s, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		rest(time.Hour)
		same(t, "attempts", r.ids(), []string{"e-0", "e-0"})
	})
}
