package eventing

import "sync"

// cacheBytes bounds the events that are kept in memory beside those that are
// in a window.
const cacheBytes = 8 << 20

// A cache keeps the newest events, for most queues want them soon, and the
// same ones. It is safe for concurrent use.
type cache struct {
	limit int

	mu    sync.Mutex // guards what follows
	m     map[int64]*Stored
	order []int64
	bytes int
}

func (c *cache) add(events []Stored) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = map[int64]*Stored{}
	}
	for i := range events {
		e := events[i] // not a pointer into the slice, which would keep all of it
		if _, ok := c.m[e.Seq]; ok {
			continue
		}
		c.m[e.Seq] = &e
		c.order = append(c.order, e.Seq)
		c.bytes += weight(&e.Event)
	}
	drop := 0
	for ; c.bytes > c.limit && drop < len(c.order); drop++ {
		c.bytes -= weight(&c.m[c.order[drop]].Event)
		delete(c.m, c.order[drop])
	}
	if drop > 0 {
		c.order = append(c.order[:0:0], c.order[drop:]...)
	}
}

// get returns what there is, and the numbers of the rest.
func (c *cache) get(seqs []int64) (found map[int64]*Stored, missing []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found = make(map[int64]*Stored, len(seqs))
	for _, seq := range seqs {
		if e := c.m[seq]; e != nil {
			found[seq] = e
		} else {
			missing = append(missing, seq)
		}
	}
	return found, missing
}

// weight is about what an event takes in an envelope, and in memory.
func weight(e *Event) int {
	return 400 + len(e.ID) + len(e.Type) + len(e.Topic) + len(e.Subject) + len(e.Key) + len(e.Data)
}
