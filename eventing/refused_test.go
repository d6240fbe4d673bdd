package eventing_test

import (
	"errors"
	"testing"
	"time"

	"acrd/eventing"
)

// TestRefused has a receiver that refuses the credential of all that are under
// way, as its probation begins and as the daemon stops.
func TestRefused(t *testing.T) {
	refuse := status(401, eventing.Unauthorized)
	for name, events := range map[string]int{"on probation": 13, "as the daemon stops": 2} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, b *bench) {
				r := b.subscribe(eventing.Subscription{}, func(d eventing.Delivery) error {
					time.Sleep(time.Second)
					return refuse(d)
				})
				b.publish(numbered("e", events)...)
				rest(100 * time.Millisecond)
				if name == "on probation" {
					rest(time.Hour)
				}
				b.stop()
				if n := len(r.ids()); n != events {
					t.Errorf("%d attempts, want %d", n, events)
				}
				b.serve()
			})
		})
	}
}

// TestGoneBefore has a receiver that says that it is gone when another has taken
// its place.
func TestGoneBefore(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.subscribe(eventing.Subscription{}, func(eventing.Delivery) error {
			time.Sleep(5 * time.Second)
			return &eventing.DeliveryError{Status: 410, Outcome: eventing.Disabled, Gone: true, Err: errors.New("answered 410")}
		})
		b.publish("e-0")
		rest(time.Second)
		next := &receiver{}
		b.receivers["http://next"] = next
		err := b.db.ChangeSubscription(t.Context(), eventing.EventSubscription, "s", func(s *eventing.Subscription) (*eventing.Subscription, error) {
			s.Destination.URL = "http://next"
			return s, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		rest(time.Minute)
		same(t, "delivered to the next", next.ids(), []string{"e-0"})
		if s, err := b.db.Subscription(t.Context(), eventing.EventSubscription, "s"); err != nil || s.State != eventing.Succeeded {
			t.Errorf("subscription is %+v (%v)", s, err)
		}
	})
}
