package eventing

import (
	"slices"
	"time"
)

const (
	// windowEvents and windowBytes bound what of a queue is in memory.
	windowEvents, windowBytes = 256, 1 << 20
	// maxUnsettled is how many deliveries may be over and not written down, or
	// under way.
	maxUnsettled = 512
	// Event Grid's defaults and bounds of a batch.
	defaultBatchKB, maxBatchEvents = 64, 5000
)

// A window is the part of a queue that is in memory: what is to be delivered
// next, and what is being delivered.
type window struct {
	ready   []*item
	bytes   int                 // of ready
	known   map[rowKey]*item    // all that is in the queue's rows and must not be read again
	lanes   map[int64]int       // how many events of a lane are being delivered
	blocked map[int64]time.Time // lanes that wait, for queues that keep an order
}

// An item is a row of the queue, with its event.
type item struct {
	Queued
	event *Stored
	early bool // a probe, before its time
}

type rowKey struct {
	event int64
	next  int64
}

func (q *Queued) key() rowKey { return rowKey{q.Event, unixMicro(q.Next)} }

func unixMicro(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func newWindow() *window {
	return &window{known: map[rowKey]*item{}, lanes: map[int64]int{}, blocked: map[int64]time.Time{}}
}

// add appends rows whose events have been read.
func (w *window) add(it *item) {
	w.known[it.key()] = it
	w.ready = append(w.ready, it)
	w.bytes += weight(&it.event.Event)
}

// full says that nothing more has to be read now.
func (w *window) full() bool { return len(w.ready) >= windowEvents || w.bytes >= windowBytes }

// forget makes a row be read again if it is there.
func (w *window) forget(it *item) { delete(w.known, it.key()) }

// drop forgets all that is not being delivered.
func (w *window) drop() {
	for _, it := range w.ready {
		w.forget(it)
	}
	w.ready, w.bytes = nil, 0
}

// sort restores the order of events, for queues that keep it.
func (w *window) sort() {
	slices.SortStableFunc(w.ready, func(a, b *item) int { return int(a.Event - b.Event) })
}

// cut removes from ready those for which take is true, and returns them.
// Order is kept.
func (w *window) cut(take func(*item) bool) []*item {
	var taken []*item
	kept := w.ready[:0]
	for _, it := range w.ready {
		if take(it) {
			taken = append(taken, it)
			w.bytes -= weight(&it.event.Event)
			continue
		}
		kept = append(kept, it)
	}
	clear(w.ready[len(kept):])
	w.ready = kept
	return taken
}

// batch takes what is delivered next, at most limit events and about so many
// bytes; an event that is larger goes alone.
func (w *window) batch(limit, bytes int, ordered bool) []*item {
	take := w.front
	if ordered {
		take = w.heads
	}
	batch := take(limit, bytes)
	for _, it := range batch { // whatever the order: it may be asked for meanwhile
		w.lanes[it.Lane]++
	}
	return batch
}

// heads are the first of their lanes.
func (w *window) heads(limit, bytes int) []*item {
	taken, closed, size := 0, map[int64]bool{}, 0
	return w.cut(func(it *item) bool {
		grown := size + weight(&it.event.Event)
		if closed[it.Lane] || w.lanes[it.Lane] > 0 || taken == limit || taken > 0 && grown > bytes {
			closed[it.Lane] = true // those behind it wait, too
			return false
		}
		taken, size = taken+1, grown
		return true
	})
}

func (w *window) front(limit, bytes int) []*item {
	n, size := 0, 0
	for n < len(w.ready) && n < limit {
		size += weight(&w.ready[n].event.Event)
		if n > 0 && size > bytes {
			break
		}
		n++
	}
	batch := slices.Clone(w.ready[:n])
	for _, it := range batch {
		w.bytes -= weight(&it.event.Event)
	}
	clear(w.ready[:n])
	w.ready = w.ready[n:]
	return batch
}

// returned says that a batch is not being delivered any more.
func (w *window) returned(batch []*item) {
	for _, it := range batch {
		if w.lanes[it.Lane]--; w.lanes[it.Lane] <= 0 {
			delete(w.lanes, it.Lane)
		}
	}
}
