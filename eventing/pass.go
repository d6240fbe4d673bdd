package eventing

import (
	"cmp"
	"context"
	"encoding/binary"
	"hash/fnv"
	"time"
)

const (
	// passEvents and passRows bound one transaction of the outbox.
	passEvents, passRows = 512, 20_000
)

// pass copies the next events of the outbox to the queues of those who want
// them. Who subscribed before an event was published gets it: so subscriptions
// are read after the events.
func (s *serving) pass(ctx context.Context) (more bool, err error) {
	limit := min(passEvents, max(8, passRows/max(1, len(s.subscribers))))
	events, err := s.Store.Outbox(ctx, limit)
	if err != nil || len(events) == 0 {
		return false, err
	}
	if err := s.reload(ctx); err != nil {
		return false, err
	}
	fans, now := s.fan(events), time.Now()
	s.cache.add(events)
	left, err := s.Store.Pass(ctx, seqs(events), fans, now)
	if err != nil {
		return false, err
	}
	if left == len(events) {
		s.hand(fans, events, now)
		return left == limit, nil
	}
	for _, f := range fans { // another daemon has passed some on
		for _, seq := range f.Subscriptions {
			if q := s.queues[seq]; q != nil {
				q.ring()
			}
		}
	}
	return len(events) == limit, nil
}

// fan says who wants which of the events. Those who want the same are one Fan,
// which is one statement.
func (s *serving) fan(events []Stored) []Fan {
	same := map[string]int{}
	var fans []Fan
	var key []byte
	decoded := make([]*Decoded, len(events))
	for i := range events {
		decoded[i] = events[i].Decode(s.Registry)
	}
	wanted := make([]int64, 0, len(events))
	for i := range s.subscribers {
		r := &s.subscribers[i]
		if !r.active() || r.matcher == nil {
			continue
		}
		wanted, key = wanted[:0], append(key[:0], ordered(r.Ordered))
		var lanes []int64
		for j := range events {
			if !r.matcher.Match(decoded[j]) {
				continue
			}
			wanted = append(wanted, events[j].Seq)
			key = binary.AppendVarint(key, int64(j))
			if r.Ordered {
				lanes = append(lanes, lane(&events[j].Event))
			}
		}
		if len(wanted) == 0 {
			continue
		}
		at, ok := same[string(key)]
		if !ok {
			at = len(fans)
			same[string(key)] = at
			fans = append(fans, Fan{Events: append([]int64(nil), wanted...), Lanes: lanes})
		}
		fans[at].Subscriptions = append(fans[at].Subscriptions, r.Seq)
	}
	return fans
}

func ordered(is bool) byte {
	if is {
		return 1
	}
	return 0
}

// lane is the same for events that must not overtake each other, and hardly
// ever for others.
func lane(e *Event) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(cmp.Or(e.Key, e.Subject)))
	return int64(h.Sum64())
}
