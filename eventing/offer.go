package eventing

import (
	"sync"
	"time"
)

// An offer hands rows that were just written to the queue that delivers them,
// so that it need not read them. It is safe for concurrent use.
type offer struct {
	bell chan struct{}

	mu     sync.Mutex // guards what follows
	items  []*item
	missed bool // there are more
	first  int64
}

// add takes rows in the order of their events. It keeps none if there is no
// room: those are read, then.
func (o *offer) add(items []*item) {
	o.mu.Lock()
	if first := items[0].Event; o.first == 0 || first < o.first {
		o.first = first
	}
	if o.missed = o.missed || len(o.items)+len(items) > windowEvents; !o.missed {
		o.items = append(o.items, items...)
	}
	o.mu.Unlock()
	select {
	case o.bell <- struct{}{}:
	default:
	}
}

// take returns the number of the first event of all that were offered, too.
func (o *offer) take() (items []*item, first int64, missed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	items, first, missed = o.items, o.first, o.missed
	o.items, o.first, o.missed = nil, 0, false
	return items, first, missed
}

// takeOffer fills the window with what was offered, if nothing is before it.
func (q *queue) takeOffer() {
	items, first, missed := q.offer.take()
	if first == 0 {
		return
	}
	if first <= q.newest {
		q.look() // it was read already, or its transaction was slower than that of a later one
	}
	if q.stale || q.window == nil || q.sub.Ordered || missed {
		q.stale = true
		return
	}
	for _, it := range items {
		if q.window.full() {
			q.stale = true
			return
		}
		if q.window.known[it.key()] == nil {
			q.window.add(it)
		}
		q.after, q.newest = it.Event, max(q.newest, it.Event)
	}
}

// hand offers rows to the queues that this daemon empties.
func (s *serving) hand(fans []Fan, events []Stored, at time.Time) {
	at = at.Truncate(time.Microsecond)
	bySeq := make(map[int64]*Stored, len(events))
	found, _ := s.cache.get(seqs(events))
	for i := range events {
		bySeq[events[i].Seq] = found[events[i].Seq]
	}
	for _, f := range fans {
		for _, subscription := range f.Subscriptions {
			q := s.queues[subscription]
			if q == nil {
				continue
			}
			items := make([]*item, 0, len(f.Events))
			for _, seq := range f.Events {
				if e := bySeq[seq]; e != nil {
					items = append(items, &item{Queued: Queued{Subscription: subscription, Event: seq, Queued: at}, event: e})
				}
			}
			if len(items) < len(f.Events) || f.Lanes != nil {
				q.ring()
				continue
			}
			q.offer.add(items)
		}
	}
}

func seqs(events []Stored) []int64 {
	all := make([]int64, len(events))
	for i := range events {
		all[i] = events[i].Seq
	}
	return all
}
