package eventing

import (
	"context"
	"errors"
	"reflect"
	"time"
)

// finish decides what becomes of a batch whose delivery is over.
func (q *queue) finish(r result) {
	q.inFlight--
	q.window.returned(r.batch)
	if r.cut || r.err != nil && q.lost.Load() {
		for _, it := range r.batch { // it says nothing of the receiver, and is due as before
			q.window.forget(it)
		}
		return
	}
	now, failure := time.Now(), asDeliveryError(r.err)
	if q.Observe != nil {
		q.Observe(q.sub.Destination.Type, r.err)
	}
	st := Settlement{Subscription: q.sub.Seq}
	judged := failure
	if judged != nil && q.sub.Statuses[judged.Status] == AnswerDelivered && judged.Status != 0 {
		judged = nil
	}
	recovered := q.examine(&st, r.batch[0].Event, judged, now)
	next := time.Time{}
	for _, it := range r.batch {
		if t := q.decide(&st, it, judged, now); !t.IsZero() {
			next = t
		}
	}
	q.remember(&st, r, failure, next, now)
	if failure != nil && failure.Gone && r.sink == q.sink { // else another place was asked by now
		q.suspend()
	}
	if failure != nil && failure.Outcome == Unauthorized {
		q.replaceSink() // the secret may be another by now
	}
	if q.inFlight == 0 {
		q.closeReplaced()
		if len(q.window.ready) == 0 {
			q.dismiss()
		}
	}
	q.settle(st, r.batch, recovered)
}

// examine keeps the receiver's health. It says whether it is back.
func (q *queue) examine(st *Settlement, event int64, failure *DeliveryError, now time.Time) (recovered bool) {
	was := q.health
	q.health = was.after(failure, !q.failed[event], now)
	if q.health.Failures == 0 {
		clear(q.failed)
	} else if len(q.failed) < tooMany {
		q.failed[event] = true
	}
	if was != q.health && (was.sick() || q.health.sick()) {
		h := q.health
		st.Health = &h
	}
	switch {
	case was.sick() && !q.health.sick():
		q.Log.Info("a receiver of events is back", "subscription", q.sub.Name)
		st.Recovered = now
		for id := range q.window.blocked {
			q.window.blocked[id] = now
		}
		return true
	case !was.sick() && q.health.sick():
		q.Log.Warn("a receiver of events is on probation", "subscription", q.sub.Name, "outcome", string(q.health.Outcome), "until", q.health.Until)
	}
	return false
}

// decide adds to st what becomes of one event, and returns when it is tried
// again.
func (q *queue) decide(st *Settlement, it *item, failure *DeliveryError, now time.Time) time.Time {
	if it.early && failure != nil {
		return it.Next // it was tried for the receiver's sake, and does not count
	}
	st.Done = append(st.Done, it.Queued)
	if failure == nil {
		return time.Time{}
	}
	tried := it.Queued
	tried.Attempts++
	tried.Tried, tried.Outcome, tried.Status = now, failure.Outcome, failure.Status
	if it.event.Type == WebhookPing {
		return time.Time{} // it has said whether the receiver is there
	}
	v := q.sub.judge(&tried, failure, now, q.jitter)
	if v.answer == AnswerDead {
		st.Dead = append(st.Dead, q.dead(tried, v.reason, now))
		q.tellDead(v.reason, 1, now)
		return time.Time{}
	}
	tried.Next = now.Add(v.after).Truncate(time.Microsecond)
	st.Again = append(st.Again, tried)
	if q.sub.Ordered {
		q.block(st, tried.Lane, tried.Next)
	}
	return tried.Next
}

// block keeps a lane back behind its first event.
func (q *queue) block(st *Settlement, lane int64, until time.Time) {
	if was, ok := q.window.blocked[lane]; ok && was.After(until) {
		until = was
	}
	q.window.blocked[lane] = until
	for _, it := range q.window.cut(func(it *item) bool { return it.Lane == lane }) {
		q.window.forget(it)
	}
	st.Park = append(st.Park, Lane{lane, until})
}

func (q *queue) dead(tried Queued, reason Reason, now time.Time) DeadLetter {
	return DeadLetter{Queued: tried, Reason: reason, At: now, Due: q.deadDue(q.sub, now)}
}

// tellDead logs what has died, at most once in a while.
func (q *queue) tellDead(reason Reason, events int, now time.Time) {
	q.died.Store(true)
	q.untold += events
	if now.Sub(q.told) < tellEvery {
		return
	}
	q.Log.Warn("events could not be delivered", "subscription", q.sub.Name, "reason", string(reason), "events", q.untold, "dead-letter", q.sub.DeadLetter != nil)
	q.told, q.untold = now, 0
}

const tellEvery = 10 * time.Second

// remember adds the attempt to the history.
func (q *queue) remember(st *Settlement, r result, failure *DeliveryError, next, now time.Time) {
	if r.d.Quiet {
		return
	}
	a := Attempt{
		Event: r.batch[0].event.Event, Events: len(r.batch), Count: r.batch[0].Attempts,
		Time: r.began, Took: now.Sub(r.began), Outcome: Delivered, Next: next, Exchange: r.exchange,
	}
	if failure != nil {
		a.Outcome, a.Error = failure.Outcome, failure.Error()
	}
	st.History, st.Slot = append(st.History, a), q.sample.next()
}

// suspend ends deliveries to who wants none any more.
func (q *queue) suspend() {
	const why = "the receiver has answered that it is gone (410)"
	ctx, cancel := context.WithTimeout(context.Background(), settlePatience)
	defer cancel()
	err := q.Store.ChangeSubscription(ctx, q.sub.Kind, q.sub.Name, func(s *Subscription) (*Subscription, error) {
		if s == nil || !reflect.DeepEqual(s.Destination, q.sub.Destination) {
			return nil, ErrNotFound
		}
		changed := *s
		changed.suspend(why)
		return &changed, nil
	})
	if errors.Is(err, ErrNotFound) {
		return // it is told soon what there is in its place
	}
	if err != nil {
		q.Log.Warn("a subscription is not suspended", "subscription", q.sub.Name, "err", err)
		return
	}
	q.Log.Error("a subscription is suspended: update it to go on", "subscription", q.sub.Name, "why", why)
	r := *q.sub
	r.suspend(why)
	q.sub = &r
}

func (s *Subscription) suspend(why string) {
	s.Why = why
	if s.Hook == nil {
		s.State = Failed
		return
	}
	h := *s.Hook
	h.Disabled = true
	s.Hook = &h
}

// settle writes st down, soon. Its items are read again only after that.
func (q *queue) settle(st Settlement, items []*item, due bool) {
	q.unsettled++
	dead, next := len(st.Dead) > 0, time.Time{}
	for _, r := range st.Again {
		if next.IsZero() || r.Next.Before(next) {
			next = r.Next
		}
	}
	q.settler.add(st, func(lost bool) {
		if dead {
			q.tellLetters()
		}
		q.settled <- settled{items, next, lost, due}
	})
}

func (q *queue) written(st settled) {
	q.unsettled--
	for _, it := range st.items {
		q.window.forget(it)
	}
	if st.due {
		q.look()
		q.retries = true
	}
	if !st.next.IsZero() {
		q.waits(st)
	}
	if st.lost {
		q.lost.Store(true)
		q.cancel(ErrFenced)
		q.window.drop()
	}
}

// waits notes when what has failed is tried again.
func (q *queue) waits(st settled) {
	if !q.sub.Ordered {
		q.retries = true
		if q.next.IsZero() || st.next.Before(q.next) {
			q.next = st.next
		}
		return
	}
	for _, it := range st.items {
		if _, ok := q.window.blocked[it.Lane]; !ok { // the order was asked for since
			q.window.blocked[it.Lane] = st.next
		}
	}
}
