package eventing

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Dispatcher copies events from the outbox to the queues of those who want
// them, and empties the queues.
//
//	outbox --pass--> event_queue --queue.load--> window --Sink--> settler --> event_queue
//
// A queue is emptied by one daemon at a time, and in it by one goroutine, which
// holds a lease on it. What that goroutine knows of events in delivery is in
// its memory alone; whoever takes a queue over delivers those again. What has
// become of deliveries is written down in batches, fenced by the lease.
type Dispatcher struct {
	Store Store
	// Open makes the sink of a subscription, or of its dead letters. It must
	// not connect.
	Open func(Destination) (Sink, error)
	// Registry is the resource id of the registry.
	Registry string
	// Alone says that no other daemon uses the store.
	Alone bool
	// Lease is how long others wait for a daemon that is gone.
	Lease time.Duration
	// DeadDelay is how long dead letters are collected before they are written.
	DeadDelay time.Duration
	// Backlog bounds each queue; 0 is DefaultBacklog.
	Backlog int
	// Jitter lengthens a delay; nil does so by up to a twentieth.
	Jitter func(time.Duration) time.Duration
	// Observe, if not nil, is told of each attempt.
	Observe func(DestinationType, error)
	Log     *slog.Logger

	depth, oldest atomic.Int64 // of all queues
	running       atomic.Pointer[serving]
}

const (
	// DefaultBacklog is how many events may wait for one subscription.
	DefaultBacklog = 100_000
	// DefaultDeadDelay is Event Grid's.
	DefaultDeadDelay = 5 * time.Minute

	// lookEvery is how often a dispatcher looks, whatever it has been told.
	lookEvery, lookAlone = time.Second, 10 * time.Second
	// idleEvery is how often the outbox is settled where nobody wants it.
	idleEvery = time.Minute
	// gaugeEvery is how often queues are counted, and old subscriptions removed.
	gaugeEvery = 10 * time.Second
	// keptDead is how many dead letters of a subscription are remembered, beside
	// those that are still to be written.
	keptDead = 10_000
	// farewell is what deliveries under way get when the daemon stops; then they
	// are cut off, and after leaveBehind nobody waits for those that go on.
	farewell, leaveBehind = 3 * time.Second, 2 * time.Second
)

// Waiting says how many events wait in all queues, and for how long the oldest
// has.
func (d *Dispatcher) Waiting() (int, time.Duration) {
	oldest := d.oldest.Load()
	if oldest == 0 {
		return 0, 0
	}
	return int(d.depth.Load()), time.Since(time.UnixMicro(oldest))
}

// Serve delivers until ctx has ended. Deliveries under way then get a moment.
// What has no answer by then, and what is left, is due for the next Serve as if
// it had not been tried.
func (d *Dispatcher) Serve(ctx context.Context) error {
	delivering, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	s := &serving{
		Dispatcher: d, owner: rand.Text(), queues: map[int64]*queue{}, delivering: delivering, poked: make(chan int64, 64), abandoned: make(chan struct{}),
		settler: &settler{bell: make(chan struct{}, 1)}, cache: &cache{limit: cacheBytes},
	}
	s.settler.write = func(ctx context.Context, all []Settlement) ([]int64, error) { return d.Store.Settle(ctx, s.owner, all) }
	settled := make(chan struct{})
	settling, stopSettling := context.WithCancelCause(context.WithoutCancel(ctx))
	go func() {
		defer close(settled)
		s.settler.serve(settling, d.Log)
	}()
	d.running.Store(s)
	s.loop(ctx)
	d.running.Store(nil)
	for _, q := range s.queues {
		q.end()
	}
	patience := time.AfterFunc(farewell, func() { stop(errShutdown) })
	defer patience.Stop()
	end := time.AfterFunc(farewell+leaveBehind, func() { close(s.abandoned) })
	defer end.Stop()
	s.all.Wait()
	stopSettling(errShutdown)
	<-settled
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if err := d.Store.LeaveQueues(leaving, s.owner); err != nil {
		d.Log.Warn("queues are not given back: their lease has to end", "err", err)
	}
	return nil
}

var errShutdown = errors.New("the daemon stops")

// serving is one Serve. Its loop owns it.
type serving struct {
	*Dispatcher
	owner       string
	version     string
	loaded      bool
	subscribers []subscriber
	queues      map[int64]*queue
	poked       chan int64     // queues that have rows from elsewhere
	all         sync.WaitGroup // of queues
	delivering  context.Context
	abandoned   chan struct{} // closed when nobody waits for deliveries any more
	settler     *settler
	cache       *cache

	idle, gauge, renew time.Time // when it is time
	renewed            time.Time
}

type subscriber struct {
	Subscriber
	matcher *Matcher // nil: it wants nothing
}

// active says whether events go to s.
func (s *Subscription) active() bool {
	return s.State == Succeeded && (s.Hook == nil || !s.Hook.Disabled)
}

func (s *serving) loop(ctx context.Context) {
	every := min(lookEvery, s.Lease/3)
	if s.Alone {
		every = lookAlone
	}
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		rung := s.Store.EventsChanged()
		more, err := s.leased(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.Log.Warn("events are not passed on", "err", err)
			rung, more = nil, false
		}
		if more {
			continue
		}
		wait := every
		if err != nil {
			wait = min(every, lookEvery)
		}
		if end := s.leaseEnd(); !end.IsZero() {
			wait = min(wait, max(0, time.Until(end)))
		}
		timer.Reset(wait)
		select {
		case <-rung:
			s.rest(ctx)
		case seq := <-s.poked:
			if q := s.queues[seq]; q != nil {
				q.ring()
			}
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// leased does what there is to do, as long as the leases last. Where they are
// over, others may have the queues.
func (s *serving) leased(ctx context.Context) (more bool, err error) {
	end := s.leaseEnd()
	if end.IsZero() {
		return s.once(ctx)
	}
	if !time.Now().Before(end) {
		s.keep(nil)
		return true, nil
	}
	ctx, cancel := context.WithDeadlineCause(ctx, end, ErrFenced)
	defer cancel()
	return s.once(ctx)
}

// leaseEnd is zero if there are no leases that can end.
func (s *serving) leaseEnd() time.Time {
	if s.Alone || len(s.queues) == 0 {
		return time.Time{}
	}
	return s.renewed.Add(s.Lease)
}

// rest lets a moment pass where nobody wants events, so that they cost nothing.
func (s *serving) rest(ctx context.Context) {
	if len(s.subscribers) > 0 {
		return
	}
	select {
	case <-time.After(50 * time.Millisecond):
	case <-ctx.Done():
	}
}

// once does what there is to do. More says that there is more.
func (s *serving) once(ctx context.Context) (more bool, err error) {
	if err := s.reload(ctx); err != nil {
		return false, err
	}
	if err := s.lease(ctx); err != nil {
		return false, err
	}
	now := time.Now()
	if s.anyActive() {
		more, err = s.pass(ctx)
	} else if now.After(s.idle) {
		s.idle = now.Add(idleEvery)
		err = s.Store.SettleAll(ctx, s.version)
	}
	if err == nil && !more && now.After(s.gauge) {
		s.gauge = now.Add(gaugeEvery)
		err = s.measure(ctx)
	}
	if err == nil && !more {
		err = s.wakeWaiting(ctx)
	}
	return more, err
}

func (s *serving) anyActive() bool {
	return slices.ContainsFunc(s.subscribers, func(r subscriber) bool { return r.active() })
}

// reload reads the subscriptions again if they have changed.
func (s *serving) reload(ctx context.Context) error {
	version, err := s.Store.SubscriptionsVersion(ctx)
	if err != nil || s.loaded && version == s.version {
		return err
	}
	all, err := s.Store.Subscribers(ctx)
	if err != nil {
		return err
	}
	s.subscribers = make([]subscriber, 0, len(all)) // queues have those of before
	for _, r := range all {
		m, err := r.Matcher()
		if err != nil {
			s.Log.Error("a subscription gets no events", "err", err)
		}
		s.subscribers = append(s.subscribers, subscriber{r, m})
	}
	s.version, s.loaded, s.renew = version, true, time.Time{}
	for seq, q := range s.queues {
		q.change(s.find(seq))
	}
	return nil
}

// find is nil if there is none.
func (s *serving) find(seq int64) *Subscriber {
	for i := range s.subscribers {
		if s.subscribers[i].Seq == seq {
			return &s.subscribers[i].Subscriber
		}
	}
	return nil
}

// lease takes and renews queues, and starts and ends what empties them.
func (s *serving) lease(ctx context.Context) error {
	now := time.Now()
	if err := s.giveBack(ctx); err != nil {
		return err
	}
	if now.Before(s.renew) || len(s.subscribers) == 0 && len(s.queues) == 0 {
		return nil
	}
	held, share, err := s.Store.TakeQueues(ctx, s.owner, s.Lease, s.Alone)
	if err != nil {
		return err
	}
	s.renewed, s.renew = now, now.Add(s.Lease/3)
	if s.Alone {
		s.renew = now.Add(365 * 24 * time.Hour) // or until there is a new one
	}
	s.keep(held)
	s.spread(len(held) - share)
	for _, seq := range held {
		if r := s.find(seq); r != nil && s.queues[seq] == nil {
			s.queues[seq] = s.start(r)
		}
	}
	return nil
}

// keep ends the queues that are not held any more.
func (s *serving) keep(held []int64) {
	for seq, q := range s.queues {
		if !slices.Contains(held, seq) || q.lost.Load() {
			q.lost.Store(true)
			q.cancel(ErrFenced)
			q.end()
			delete(s.queues, seq)
		}
	}
}

// spread ends so many queues, which others are to have.
func (s *serving) spread(over int) {
	for _, q := range s.queues {
		if q.ending {
			over--
		}
	}
	for _, q := range s.queues {
		if over > 0 && !q.ending {
			q.end()
			over--
		}
	}
}

// giveBack lets go of queues that have ended: what they have delivered is
// written down, and nothing is under way.
func (s *serving) giveBack(ctx context.Context) error {
	for seq, q := range s.queues {
		if !q.over.Load() {
			continue
		}
		if err := s.Store.LeaveQueue(ctx, s.owner, seq); err != nil {
			return err
		}
		delete(s.queues, seq)
	}
	return nil
}

func (s *serving) start(r *Subscriber) *queue {
	ctx, cancel := context.WithCancelCause(s.delivering)
	q := &queue{
		serving: s, sub: r, cancel: cancel, wake: make(chan struct{}, 1), changed: make(chan *Subscriber, 1), quit: make(chan struct{}),
		jobs: make(chan job), results: make(chan result, 1), settled: make(chan settled, 2*maxUnsettled), letters: make(chan struct{}, 1),
		offer: offer{bell: make(chan struct{}, 1)},
	}
	q.current.Store(r)
	s.all.Go(func() {
		var both sync.WaitGroup
		both.Go(func() { q.serve(ctx) })
		both.Go(func() { q.serveLetters(ctx) })
		both.Wait()
		q.over.Store(true)
		select {
		case s.poked <- r.Seq:
		default: // it is looked at soon
		}
	})
	return q
}

// wakeWaiting finds what other daemons have put into the queues of this one,
// and into those that nobody has.
func (s *serving) wakeWaiting(ctx context.Context) error {
	if s.Alone || len(s.subscribers) == 0 {
		return nil
	}
	waiting, err := s.Store.Waiting(ctx, s.owner, time.Now())
	for _, seq := range waiting {
		if q := s.queues[seq]; q != nil {
			q.ring()
		} else if soon := s.renewed.Add(lookEvery); soon.Before(s.renew) {
			s.renew = soon
		}
	}
	return err
}

// measure counts queues, bounds them, and removes subscriptions that have
// expired.
func (s *serving) measure(ctx context.Context) error {
	if len(s.subscribers) == 0 {
		s.depth.Store(0)
		s.oldest.Store(0)
		return nil
	}
	depths, err := s.Store.Depths(ctx)
	if err != nil {
		return err
	}
	total, oldest := 0, time.Time{}
	for seq, depth := range depths {
		total += depth.Events
		if oldest.IsZero() || depth.Oldest.Before(oldest) {
			oldest = depth.Oldest
		}
		if s.queues[seq] != nil && depth.Events > cmp.Or(s.Backlog, DefaultBacklog) {
			if err := s.overflow(ctx, seq); err != nil {
				return err
			}
		}
	}
	for seq, q := range s.queues {
		if q.died.Swap(false) {
			if err := s.Store.TrimDead(ctx, seq, keptDead); err != nil {
				return err
			}
		}
	}
	s.depth.Store(int64(total))
	s.oldest.Store(0)
	if !oldest.IsZero() {
		s.oldest.Store(oldest.UnixMicro())
	}
	return s.expire(ctx, time.Now())
}

func (s *serving) overflow(ctx context.Context, seq int64) error {
	r := s.find(seq)
	if r == nil {
		return nil
	}
	now := time.Now()
	n, err := s.Store.Overflow(ctx, s.owner, r.Seq, cmp.Or(s.Backlog, DefaultBacklog), DeadLetter{Reason: QueueFull, At: now, Due: s.deadDue(r, now)})
	if errors.Is(err, ErrFenced) {
		return nil
	}
	if n > 0 {
		s.Log.Error("a subscription's queue is too long: its oldest events are dead letters", "subscription", r.Name, "events", n)
	}
	return err
}

// deadDue is when what dies now is to be written.
func (d *Dispatcher) deadDue(r *Subscriber, now time.Time) time.Time {
	if r.DeadLetter == nil {
		return time.Time{}
	}
	return now.Add(d.DeadDelay)
}

func (s *serving) expire(ctx context.Context, now time.Time) error {
	over := func(r *Subscription) bool { return !r.Expires.IsZero() && now.After(r.Expires) }
	for _, r := range s.subscribers {
		if !over(&r.Subscription) {
			continue
		}
		err := s.Store.ChangeSubscription(ctx, r.Kind, r.Name, func(old *Subscription) (*Subscription, error) {
			if old != nil && over(old) {
				return nil, nil
			}
			return old, nil
		})
		if err != nil {
			return err
		}
		s.Log.Info("a subscription has expired", "subscription", r.Name)
	}
	return nil
}

func (d *Dispatcher) jitter(delay time.Duration) time.Duration {
	if d.Jitter != nil {
		return d.Jitter(delay)
	}
	return delay + mathrand.N(delay/20+1)
}
