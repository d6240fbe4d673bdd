package eventing_test

import (
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
