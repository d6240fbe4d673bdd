package eventing

import (
	"cmp"
	"context"
	"reflect"
	"sync/atomic"
	"time"
)

// A queue delivers what one subscription is to be told. One goroutine, serve,
// owns it; what others may touch is said.
type queue struct {
	*serving
	cancel  context.CancelCauseFunc // of deliveries under way; anybody
	wake    chan struct{}           // anybody
	changed chan *Subscriber        // the dispatcher
	quit    chan struct{}           // closed by end
	ending  bool                    // the dispatcher's: quit is closed
	over    atomic.Bool             // nothing is under way any more
	jobs    chan job                // to those who deliver
	results chan result             // of those
	settled chan settled            // the settler
	current atomic.Pointer[Subscriber]
	lost    atomic.Bool // somebody else has the queue
	died    atomic.Bool // there are new dead letters
	letters chan struct{}
	offer   offer

	sub       *Subscriber
	sink      Sink
	replaced  []Sink // until what they deliver is over
	health    Health
	failed    map[int64]bool // events, since one was delivered
	sample    sampler
	window    *window
	inFlight  int
	hands     int // goroutines that read jobs
	unsettled int
	lanesRead bool
	stale     bool      // there may be rows that were not read
	retries   bool      // there may be rows that wait for their time
	after     int64     // the number up to which the others were read
	newest    int64     // the highest that it was
	next      time.Time // when the first row that waits is due; zero: not known, or none
	broken    time.Time // the store fails: when to ask again
	swept     time.Time // when expire has looked at all
	told      time.Time // when the log was told of dead letters
	untold    int       // how many have come since
	pace      pace
}

type settled struct {
	items     []*item
	next      time.Time // when the first of what failed is tried again
	lost, due bool      // due: rows have become due
}

// end begins no more deliveries. The dispatcher calls it.
func (q *queue) end() {
	if !q.ending {
		q.ending = true
		close(q.quit)
	}
}

// ring says that there may be something new.
func (q *queue) ring() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// change replaces the subscription; nil ends the queue.
func (q *queue) change(r *Subscriber) {
	select {
	case <-q.changed: // not seen yet, and old by now
	default:
	}
	q.changed <- r
}

// serve ends when quit is closed, and what is under way is over and written
// down.
func (q *queue) serve(ctx context.Context) {
	defer q.cancel(nil)
	defer q.closeSinks()
	defer q.dismiss()
	quit, timer := q.quit, time.NewTimer(0)
	defer timer.Stop()
	for quit != nil || q.inFlight+q.unsettled > 0 {
		wait := longest
		if quit != nil {
			q.work(ctx)
			wait = q.wait(time.Now())
		}
		timer.Reset(wait)
		select {
		case <-quit:
			quit = nil
		case <-q.abandoned:
			q.Log.Warn("deliveries are left behind", "subscription", q.sub.Name, "under way", q.inFlight)
			return
		case <-q.wake:
			q.look()
		case <-q.offer.bell:
			q.takeOffer()
		case r := <-q.changed:
			q.become(r)
		case r := <-q.results:
			q.finish(r)
		case st := <-q.settled:
			q.written(st)
		case <-timer.C:
		}
	}
}

// longest is how long a queue sleeps.
const longest = time.Hour

// open reads what the last one to empty this queue knew.
func (q *queue) open(ctx context.Context) error {
	slot, err := q.Store.LastSlot(ctx, q.sub.Seq)
	if err != nil {
		return err
	}
	q.window, q.health, q.failed, q.stale, q.retries = newWindow(), q.sub.Health, map[int64]bool{}, true, true
	q.sample = sampler{tokens: HistorySlots, last: time.Now(), slot: slot}
	return nil
}

// readLanes finds what waits, where order is kept.
func (q *queue) readLanes(ctx context.Context) error {
	clear(q.window.blocked)
	q.lanesRead = true
	if !q.sub.Ordered {
		return nil
	}
	lanes, err := q.Store.Lanes(ctx, q.sub.Seq)
	q.lanesRead = err == nil
	for _, l := range lanes {
		q.window.blocked[l.ID] = l.Until
	}
	return err
}

func (q *queue) become(r *Subscriber) {
	if r == nil {
		q.lost.Store(true)
		return
	}
	was := q.sub
	q.sub = r
	q.current.Store(r)
	if !reflect.DeepEqual(was.Subscription, r.Subscription) {
		clear(q.failed)
		q.health = Health{} // somebody has seen to it
	}
	if !reflect.DeepEqual(was.Destination, r.Destination) {
		q.replaceSink()
	}
	if was.Ordered != r.Ordered && q.window != nil {
		q.window.drop()
		q.lanesRead, q.retries = false, true
	}
	q.look()
	q.tellLetters()
}

// look makes the queue be read from its beginning: something may have come that
// is older than what was read.
func (q *queue) look() { q.stale, q.after = true, 0 }

// replaceSink has what comes next open a sink of its own. There need be none to
// replace.
func (q *queue) replaceSink() {
	if q.sink != nil {
		q.replaced, q.sink = append(q.replaced, q.sink), nil
	}
}

func (q *queue) closeSinks() {
	q.replaceSink()
	q.closeReplaced()
}

func (q *queue) closeReplaced() {
	for _, s := range q.replaced {
		if err := s.Close(); err != nil {
			q.Log.Warn("a sink is not closed", "subscription", q.sub.Name, "err", err)
		}
	}
	q.replaced = nil
}

// delivers says whether what waits for s is tried. A webhook that its owner has
// disabled gets nothing new, and what it has been sent by hand.
func (s *Subscription) delivers() bool {
	if s.Hook != nil {
		return !s.Hook.Disabled || s.Why == ""
	}
	return s.State == Succeeded
}

// sweepEvery is how often a queue that delivers nothing looks for what has
// become too old.
const sweepEvery = time.Minute

// work begins what can begin.
func (q *queue) work(ctx context.Context) {
	now := time.Now()
	if q.lost.Load() || now.Before(q.broken) || q.health.sick() && now.Before(q.health.Until) {
		return
	}
	q.broken = time.Time{}
	if err := q.prepare(ctx, now); err != nil {
		if ctx.Err() == nil {
			q.Log.Warn("a queue is not read", "subscription", q.sub.Name, "err", err)
		}
		q.broken = now.Add(time.Second)
		return
	}
	limit, bytes := min(max(1, q.sub.Destination.MaxEvents), maxBatchEvents), cmp.Or(q.sub.Destination.PreferredKB, defaultBatchKB)<<10
	for q.mayStart(now) {
		batch := q.window.batch(limit, bytes, q.sub.Ordered)
		if len(batch) == 0 {
			return
		}
		q.deliver(ctx, batch)
	}
}

func (q *queue) prepare(ctx context.Context, now time.Time) error {
	if q.window == nil {
		if err := q.open(ctx); err != nil {
			return err
		}
	}
	if !q.lanesRead {
		if err := q.readLanes(ctx); err != nil {
			return err
		}
	}
	if err := q.release(ctx, now); err != nil {
		return err
	}
	if err := q.load(ctx, now); err != nil {
		return err
	}
	q.expire(now)
	q.openSink()
	return q.probe(ctx, now)
}

// openSink leaves a sink that cannot be opened to deliver, which says why.
func (q *queue) openSink() {
	if q.sink != nil {
		return
	}
	sink, err := q.Open(q.sub.Destination)
	if err != nil {
		sink = unopened{err}
	}
	q.sink = sink
}

// unopened is the sink of a destination that cannot be used as it is.
type unopened struct{ err error }

func (u unopened) Deliver(context.Context, Delivery) (*Exchange, error) {
	return nil, &DeliveryError{Outcome: InvalidConfigure, Err: u.err}
}
func (unopened) Close() error { return nil }

func (q *queue) mayStart(now time.Time) bool {
	if !q.sub.delivers() || q.inFlight+q.unsettled >= maxUnsettled || len(q.window.ready) == 0 {
		return false
	}
	return q.inFlight < q.most() && q.pace.take(q.sub.Rate, now)
}

// most is how many deliveries may be under way.
func (q *queue) most() int {
	if q.health.sick() {
		return 1
	}
	return cmp.Or(q.sub.InFlight, DefaultInFlight)
}

// wait is how long nothing can begin, unless something happens.
func (q *queue) wait(now time.Time) time.Duration {
	wait := longest
	until := func(t time.Time) {
		if !t.IsZero() {
			wait = min(wait, max(0, t.Sub(now)))
		}
	}
	switch {
	case q.lost.Load():
		return wait
	case q.window == nil || now.Before(q.broken):
		until(q.broken)
		return wait
	case q.health.sick() && now.Before(q.health.Until):
		until(q.health.Until)
		return wait
	case q.health.sick() && q.inFlight > 0: // the probe
		return wait
	}
	until(q.next)
	if q.unsettled == 0 {
		for _, t := range q.window.blocked {
			until(t)
		}
	}
	if q.stale && !q.window.half() && q.inFlight+q.unsettled < maxUnsettled {
		return 0
	}
	if len(q.window.ready) > 0 {
		if q.inFlight < q.most() { // else they wait for those under way
			until(q.pace.next)
		}
		if !q.sub.delivers() {
			wait = min(wait, sweepEvery)
		}
	}
	return wait
}
