package eventing

import (
	"context"
	"slices"
	"time"
)

// half says that there is enough in the window not to read more yet.
func (w *window) half() bool { return len(w.ready) >= windowEvents/2 || w.bytes >= windowBytes/2 }

// load reads rows that are due: what waited for another attempt first, so that
// a stream of new events does not keep it back, then new ones by number.
func (q *queue) load(ctx context.Context, now time.Time) error {
	if !q.next.IsZero() && !now.Before(q.next) {
		q.stale, q.retries, q.next = true, true, time.Time{}
	}
	if !q.stale || q.window.half() || q.inFlight+q.unsettled >= maxUnsettled {
		return nil
	}
	all := true
	if q.retries && !q.sub.Ordered {
		var err error
		if all, err = q.loadRetries(ctx, now); err != nil {
			return err
		}
	}
	rows, err := q.Store.Due(ctx, Cursor{Subscription: q.sub.Seq, After: q.after}, now, windowEvents)
	if err != nil {
		return err
	}
	free := q.unblocked(rows)
	n, err := q.fill(ctx, free)
	if err != nil {
		return err
	}
	if q.sub.Ordered {
		q.window.sort()
	}
	if n < len(free) { // there was no room for the rest
		rows = free[:n]
	} else if len(rows) < windowEvents {
		q.stale = !all
	}
	if len(rows) > 0 {
		q.after = rows[len(rows)-1].Event
		q.newest = max(q.newest, q.after)
	}
	return nil
}

// loadRetries says whether it has read all that are due.
func (q *queue) loadRetries(ctx context.Context, now time.Time) (bool, error) {
	limit := windowEvents/2 + len(q.window.known)
	rows, err := q.Store.Due(ctx, Cursor{Subscription: q.sub.Seq, Retries: true}, now, limit)
	if err != nil {
		return false, err
	}
	n, err := q.fill(ctx, rows)
	if err != nil || n < len(rows) || n == limit {
		return false, err
	}
	q.next, err = q.Store.NextDue(ctx, q.sub.Seq, now)
	q.retries = !q.next.IsZero()
	return true, err
}

// unblocked leaves out rows whose lane waits, and keeps them back until it is
// its turn.
func (q *queue) unblocked(rows []Queued) []Queued {
	if !q.sub.Ordered || len(q.window.blocked) == 0 {
		return rows
	}
	var free []Queued
	st := Settlement{Subscription: q.sub.Seq}
	parked := map[int64]bool{}
	for _, r := range rows {
		until, ok := q.window.blocked[r.Lane]
		if !ok {
			free = append(free, r)
			continue
		}
		if !parked[r.Lane] {
			parked[r.Lane] = true
			st.Park = append(st.Park, Lane{r.Lane, until})
		}
	}
	if len(st.Park) > 0 {
		q.settle(st, nil, false)
	}
	return free
}

// fillChunk is how many events are read at a time. Each may have a megabyte.
const fillChunk = 32

// fill puts rows into the window, with their events, and says how many of the
// first are in it then.
func (q *queue) fill(ctx context.Context, rows []Queued) (int, error) {
	for n := 0; n < len(rows); {
		if q.window.full() {
			return n, nil
		}
		chunk := rows[n:min(n+fillChunk, len(rows))]
		if err := q.fillSome(ctx, chunk); err != nil {
			return n, err
		}
		n += len(chunk)
	}
	return len(rows), nil
}

func (q *queue) fillSome(ctx context.Context, rows []Queued) error {
	q.swept = time.Time{} // they may be too old
	rows = slices.DeleteFunc(slices.Clone(rows), func(r Queued) bool { return q.window.known[r.key()] != nil })
	if len(rows) == 0 {
		return nil
	}
	wanted := make([]int64, len(rows))
	for i := range rows {
		wanted[i] = rows[i].Event
	}
	found, missing := q.cache.get(wanted)
	if len(missing) > 0 {
		stored, err := q.Store.Stored(ctx, missing)
		if err != nil {
			return err
		}
		for i := range stored {
			found[stored[i].Seq] = &stored[i]
		}
	}
	st := Settlement{Subscription: q.sub.Seq}
	for _, r := range rows {
		if e := found[r.Event]; e != nil {
			q.window.add(&item{Queued: r, event: e})
			continue
		}
		st.Done = append(st.Done, r) // it was kept for a week
	}
	if len(st.Done) > 0 {
		q.Log.Error("events are gone before they were delivered", "subscription", q.sub.Name, "events", len(st.Done))
		q.settle(st, nil, false)
	}
	return nil
}

// expire makes dead letters of what has become too old by the time that it is
// due.
func (q *queue) expire(now time.Time) {
	if now.Sub(q.swept) < time.Second {
		return
	}
	q.swept = now
	old := q.window.cut(func(it *item) bool { return !it.early && q.sub.Retry.expired(&it.Queued, now) })
	if len(old) == 0 {
		return
	}
	st := Settlement{Subscription: q.sub.Seq}
	for _, it := range old {
		st.Done = append(st.Done, it.Queued)
		st.Dead = append(st.Dead, q.dead(it.Queued, TooOld, now))
	}
	q.settle(st, old, false)
	q.tellDead(TooOld, len(old), now)
}

// probe finds something to try an endpoint with whose probation is over, even
// if it is not due.
func (q *queue) probe(ctx context.Context, now time.Time) error {
	if !q.health.sick() || q.inFlight > 0 || len(q.window.ready) > 0 || q.sub.Ordered || !q.sub.delivers() {
		return nil
	}
	rows, err := q.Store.Due(ctx, Cursor{Subscription: q.sub.Seq, Retries: true}, now.Add(DefaultTTL), 1)
	if err != nil || len(rows) == 0 {
		return err
	}
	if _, err := q.fill(ctx, rows); err != nil {
		return err
	}
	for _, it := range q.window.ready {
		it.early = it.Next.After(now)
	}
	return nil
}

// release makes lanes due whose time has come.
func (q *queue) release(ctx context.Context, now time.Time) error {
	var due []int64
	for id, until := range q.window.blocked {
		if !now.Before(until) {
			due = append(due, id)
		}
	}
	if len(due) == 0 || q.unsettled > 0 { // what has parked them may not be written yet
		return nil
	}
	if err := q.Store.ReleaseLanes(ctx, q.owner, q.sub.Seq, due); err != nil {
		return err
	}
	for _, id := range due {
		delete(q.window.blocked, id)
	}
	q.window.drop()
	q.look()
	return nil
}
