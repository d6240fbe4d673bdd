package inbound

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"acrd/eventing"
)

// A Login opens a registry.
type Login struct{ User, Password string }

// A Description is what a registry says that a reference is.
type Description struct {
	Digest, MediaType string
	Size              int64
	Chart             *Chart
}

// Registries look at images.
type Registries interface {
	// Describe is nil if the registry says that there is none. Only if charts
	// are asked for, it looks whether it is one. It is ErrRefused if the
	// registry lets nobody in who has no other login.
	Describe(ctx context.Context, ref string, as *Login, charts bool) (*Description, error)
}

// ErrRefused says that a registry does not let us look.
var ErrRefused = errors.New("the registry refuses")

// A Verifier asks registries whether it is true what notices say, and passes
// on what is. Set the fields before Serve.
type Verifier struct {
	Sources    Sources
	Queue      Queue
	Registries Registries
	// Secret is the value of a secret of acrd.
	Secret func(ctx context.Context, name string) (string, error)
	// Pushed is told of each push that is true: an image, named with its
	// registry, and what has told of it. If it fails, it is told again.
	Pushed func(ctx context.Context, ref, how string, at time.Time) error
	// Location is told in events.
	Location string
	// Alone says that nobody else looks at notices: what was claimed when the
	// last daemon died is free.
	Alone bool
	// Observe, if not nil, is told of each notice that has ended.
	Observe func(Kind, Outcome)
	// Settling is how long a registry may take until it shows what it has
	// told, and how often it is asked meanwhile: it may tell of a tag before
	// it has set it. Nil is 300 ms, 1 s, 3 s and 10 s.
	Settling []time.Duration
	Log      *slog.Logger // nil discards

	once sync.Once
	bell chan struct{}
}

const (
	// lookTimeout is how long a registry may take to answer.
	lookTimeout = 10 * time.Second
	// turn is how long one source is looked at before others may be, and
	// claimLease how long nobody else may if we die.
	turn       = 10 * time.Second
	claimLease = 30 * time.Second
	// inTurn is how many sources are looked at at a time.
	inTurn = 8
	// lookEvery is for notices that another daemon has taken in.
	lookEvery = 5 * time.Second
	// patience is how long an answer of the registry is waited for.
	patience = 6 * time.Hour
	// mostTold is how often a push is told to who cannot deal with it.
	mostTold = 6
)

// Wake tells that there is something new. It does not wait.
func (v *Verifier) Wake() {
	select {
	case v.ring() <- struct{}{}:
	default:
	}
}

func (v *Verifier) ring() chan struct{} {
	v.once.Do(func() { v.bell = make(chan struct{}, 1) })
	return v.bell
}

func (v *Verifier) settling() []time.Duration {
	if v.Settling != nil {
		return v.Settling
	}
	return []time.Duration{300 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second}
}

func (v *Verifier) log() *slog.Logger { return cmp.Or(v.Log, slog.New(slog.DiscardHandler)) }

// Serve looks at notices until ctx has ended.
func (v *Verifier) Serve(ctx context.Context) error {
	if v.Alone {
		if err := v.Queue.FreeSources(ctx); err != nil {
			v.log().Warn("event sources are not freed", "err", err)
		}
	}
	var turns sync.WaitGroup
	defer turns.Wait()
	seats := make(chan struct{}, inTurn)
	for ctx.Err() == nil {
		select {
		case seats <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		c, ok, err := v.Queue.ClaimSource(ctx, time.Now(), claimLease)
		if err != nil && ctx.Err() == nil {
			v.log().Warn("notices cannot be read", "err", err)
		}
		if err == nil && ok {
			turns.Go(func() {
				defer func() { <-seats; v.Wake() }()
				v.serve(ctx, c)
			})
			continue
		}
		<-seats
		v.rest(ctx)
	}
	return nil
}

// rest waits until there may be something to do.
func (v *Verifier) rest(ctx context.Context) {
	pause := lookEvery
	if next, ok, err := v.Queue.NextNotice(ctx); err == nil && ok {
		pause = min(pause, max(time.Until(next), 50*time.Millisecond))
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-v.ring():
	}
}

// serve looks at what is due of one source, for a turn.
func (v *Verifier) serve(ctx context.Context, c Claim) {
	defer func() {
		if err := v.Queue.ReleaseSource(context.WithoutCancel(ctx), c); err != nil {
			v.log().Warn("event source is not released", "source", c.Source, "err", err)
		}
	}()
	s, err := v.Sources.Source(ctx, c.Source)
	if err != nil {
		return // it was deleted
	}
	due, err := v.Queue.DueNotices(ctx, c.Source, time.Now(), 100)
	if err != nil {
		v.log().Warn("notices cannot be read", "source", c.Source, "err", err)
		return
	}
	for end := time.Now().Add(turn); len(due) > 0 && time.Now().Before(end) && ctx.Err() == nil; due = due[1:] {
		if err := v.settle(ctx, s, c, due[0]); err != nil && ctx.Err() == nil {
			v.log().Warn("notice could not be settled", "source", s.Name, "image", due[0].Ref(), "err", err)
			return
		}
	}
}

// settle looks at one notice, and ends it or puts it off.
func (v *Verifier) settle(ctx context.Context, s *Source, c Claim, r Received) error {
	looking, cancel := context.WithTimeoutCause(ctx, lookTimeout, errors.New("the registry does not answer"))
	defer cancel()
	r.Tries++
	d, doubt, err := v.look(looking, s, r)
	if err == nil && doubt == "" && r.Action == Push {
		return v.pushed(ctx, s, c, r, d)
	}
	if ctx.Err() != nil {
		return ctx.Err() // the next daemon looks
	}
	pause, again := 10*time.Second<<min(r.Tries-1, 6), time.Since(r.At) < patience
	switch {
	case err == nil && doubt == "":
		return v.end(ctx, s, c, r, Confirmed, v.event(s, r, d)...)
	case err == nil:
		r.Why = doubt
		if again = r.Tries <= len(v.settling()); again {
			pause = v.settling()[r.Tries-1]
		}
	case errors.Is(err, ErrRefused):
		r.Why, again = err.Error(), r.Tries < 3
	default:
		r.Why = err.Error()
	}
	if again {
		return v.Queue.PutOffNotice(ctx, c, r, time.Now().Add(pause))
	}
	if d != nil && r.Action == Push { // the tag has moved on
		return v.pushed(ctx, s, c, r, d)
	}
	v.log().Warn("notice is not confirmed and dropped", "source", s.Name, "action", string(r.Action), "image", r.Ref(), "err", r.Why)
	return v.end(ctx, s, c, r, Unconfirmed)
}

// end keeps what became of a notice. What is told with it is of the same
// transaction.
func (v *Verifier) end(ctx context.Context, s *Source, c Claim, r Received, outcome Outcome, events ...eventing.Event) error {
	r.Outcome = outcome
	if outcome != Unconfirmed {
		r.Why = ""
	}
	err := v.Queue.EndNotice(ctx, c, r, events...)
	if err == nil && v.Observe != nil {
		v.Observe(s.Kind, outcome)
	}
	return err
}

// look asks the registry. Doubt is what speaks against the notice: nothing if
// it is true.
func (v *Verifier) look(ctx context.Context, s *Source, r Received) (d *Description, doubt string, err error) {
	if s.Trusted {
		return &Description{r.Digest, r.MediaType, r.Size, r.Chart}, "", nil
	}
	as, err := v.login(ctx, s)
	if err != nil {
		return nil, "", err
	}
	d, err = v.Registries.Describe(ctx, s.Registry+"/"+r.Ref(), as, s.ConnectedRegistry != "" && r.Action == Push)
	switch {
	case err != nil:
		return nil, "", err
	case r.Action == Push && d == nil:
		return nil, "the registry does not have it", nil
	case r.Action == Push && r.Digest != "" && d.Digest != r.Digest:
		return d, "in the registry it is " + d.Digest, nil
	case r.Action != Push && d != nil:
		return d, "the registry still has it", nil
	}
	return d, "", nil
}

// login is what the source's registry is opened with.
func (v *Verifier) login(ctx context.Context, s *Source) (*Login, error) {
	if s.Credential == "" {
		return nil, nil
	}
	value, err := v.Secret(ctx, s.Credential)
	if err != nil {
		return nil, err
	}
	user, password, ok := strings.Cut(value, ":")
	if !ok {
		return nil, fmt.Errorf("the secret %s is not USER:PASSWORD: %w", s.Credential, ErrRefused)
	}
	return &Login{user, password}, nil
}

// pushed passes on a push that is true, if that was not done before.
func (v *Verifier) pushed(ctx context.Context, s *Source, c Claim, r Received, d *Description) error {
	r.Digest = cmp.Or(d.Digest, r.Digest)
	last, err := v.Queue.LastPush(ctx, s.Name, r.Repository, r.Tag)
	if err != nil {
		return err
	}
	if last != "" && last == r.Digest {
		return v.end(ctx, s, c, r, Known)
	}
	if err := v.Pushed(ctx, s.Registry+"/"+r.Ref(), "notice of "+s.Name, r.At); err != nil {
		if r.Tries < mostTold {
			r.Why = err.Error()
			return v.Queue.PutOffNotice(ctx, c, r, time.Now().Add(5*time.Second))
		}
		v.log().Warn("tasks that are based on an image could not be looked at", "image", r.Ref(), "err", err)
	}
	return v.end(ctx, s, c, r, Confirmed, v.event(s, r, d)...)
}

// event is what subscribers are told; nothing unless the owner wants it. It is
// told under the name of the source, whatever it calls itself: none speaks for
// another.
func (v *Verifier) event(s *Source, r Received, d *Description) []eventing.Event {
	if s.ConnectedRegistry == "" {
		return nil
	}
	t := eventing.Target{Repository: r.Repository, Tag: r.Tag, Digest: r.Digest, MediaType: r.MediaType, Size: r.Size}
	chart := r.Chart
	if d != nil {
		t.MediaType, t.Size = cmp.Or(d.MediaType, t.MediaType), cmp.Or(d.Size, t.Size)
		if d.Chart != nil {
			chart = d.Chart
		}
	}
	of := eventing.ImagePushed
	switch {
	case chart != nil && chart.Name != "":
		of = eventing.ChartPushed
		if r.Action != Push {
			of = eventing.ChartDeleted
		}
		t.Name, t.Version, t.Digest, t.Size = chart.Name, chart.Version, chart.Digest, chart.Size
	case r.Action == Delete:
		of = eventing.ImageDeleted
	case r.Action == Untag:
		of = eventing.ImageUntagged
	}
	from := eventing.Origin{Location: v.Location, Connected: s.ConnectedRegistry}
	if s.Kind.keepsID() { // what comes back in a circle has it still, and the outbox takes no id twice
		from.ID = r.ID
	}
	at := r.Time
	if at.IsZero() || at.After(r.At) { // nothing is told before it happens
		at = r.At
	}
	return []eventing.Event{eventing.NewRegistryEvent(of, at, t, from)}
}
