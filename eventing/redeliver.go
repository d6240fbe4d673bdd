package eventing

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Redeliver tries an event again, whatever has become of it before, as if it
// were new. It is ErrNotFound if there is no such subscription, or the event is
// forgotten. Serve need not run.
func (d *Dispatcher) Redeliver(ctx context.Context, kind Kind, name, eventID string) error {
	r, err := d.subscriber(ctx, kind, name)
	if err != nil {
		return err
	}
	e, err := d.Store.FindEvent(ctx, eventID)
	if err != nil {
		return fmt.Errorf("event %s: %w", eventID, err)
	}
	return d.requeue(ctx, r, []Stored{*e})
}

// RedeliverSince tries all events again that are of a time or later and that
// the subscription wants by now, and says how many there are.
func (d *Dispatcher) RedeliverSince(ctx context.Context, kind Kind, name string, since time.Time) (int, error) {
	r, err := d.subscriber(ctx, kind, name)
	if err != nil {
		return 0, err
	}
	m, err := r.Matcher()
	if err != nil {
		return 0, err
	}
	count := 0
	for after := int64(0); ; {
		page, err := d.Store.EventsSince(ctx, since, after, passEvents)
		if err != nil || len(page) == 0 {
			return count, err
		}
		after = page[len(page)-1].Seq
		var wanted []Stored
		for _, e := range page {
			if m.Match(e.Decode(d.Registry)) {
				wanted = append(wanted, e)
			}
		}
		if err := d.requeue(ctx, r, wanted); err != nil {
			return count, err
		}
		count += len(wanted)
	}
}

func (d *Dispatcher) subscriber(ctx context.Context, kind Kind, name string) (*Subscriber, error) {
	all, err := d.Store.Subscribers(ctx)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Kind == kind && strings.EqualFold(all[i].Name, name) {
			return &all[i], nil
		}
	}
	return nil, fmt.Errorf("subscription %s: %w", name, ErrNotFound)
}

func (d *Dispatcher) requeue(ctx context.Context, r *Subscriber, events []Stored) error {
	if len(events) == 0 {
		return nil
	}
	f := Fan{Subscriptions: []int64{r.Seq}}
	for i := range events {
		f.Events = append(f.Events, events[i].Seq)
		if r.Ordered {
			f.Lanes = append(f.Lanes, lane(&events[i].Event))
		}
	}
	if err := d.Store.Requeue(ctx, f, time.Now()); err != nil {
		return err
	}
	d.poke(ctx, r.Seq)
	return nil
}

// Enqueue sends an event, which is new, to one subscription alone, whatever its
// filter says. It is ErrNotFound if there is no such subscription.
func (d *Dispatcher) Enqueue(ctx context.Context, kind Kind, name string, e Event) error {
	subscription, err := d.Store.AddEventFor(ctx, kind, name, e)
	if err != nil {
		return err
	}
	d.poke(ctx, subscription)
	return nil
}

// poke tells a Serve of this process that there are rows in a queue that did
// not come from the outbox.
func (d *Dispatcher) poke(ctx context.Context, subscription int64) {
	s := d.running.Load()
	if s == nil {
		return
	}
	select {
	case s.poked <- subscription:
	case <-ctx.Done():
	}
}
