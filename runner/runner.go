// Package runner turns requests into runs and runs into results.
//
// A Run is queued by Submit, picked up by Serve, executed step by step, and
// ends in exactly one final Status. What a task file means is package steps';
// the runner gets the source, gives the run its place on the host, starts the
// steps in their order and writes the log.
package runner

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"acrd/steps"
)

// What callers test for.
var (
	ErrNotFound = errors.New("not found")
	ErrFinal    = errors.New("the run has ended already")
	// ErrDraining says that the daemon is going away and takes nothing new.
	ErrDraining = errors.New("the daemon is shutting down")
)

// Causes with which a run's context is cancelled.
var (
	ErrCanceled = errors.New("canceled by user")
	ErrTimeout  = errors.New("run timed out")
	ErrShutdown = errors.New("daemon shut down")
)

// Limits of a run's timeout: ACR's, but for the lower one, which is lower.
const (
	DefaultTimeout = time.Hour
	MaxTimeout     = 8 * time.Hour
	MinTimeout     = time.Second
)

// Logs keep what runs print.
type Logs interface {
	// Create begins the log of a run that has none.
	Create(run string) (Log, error)
	// Reopen goes on with the log of a run that another daemon has begun; if
	// there is none, it begins one.
	Reopen(run string) (Log, error)
	// Archive puts away the log of a run that has ended for good. It can be
	// read as before. To archive one again does nothing.
	Archive(ctx context.Context, run string) error
	// Remove removes a log, archived or not. One that is not there is no
	// error; one that is being written is.
	Remove(ctx context.Context, run string) error
	// Yield removes what is here of a log that another daemon writes: what
	// that one archives is the log then.
	Yield(run string) error
	// Size is what the log takes.
	Size(ctx context.Context, run string) (int64, error)
}

// A Log is what one run prints. It is safe for concurrent use.
type Log interface {
	// Write adds text of a step; the step "" is the daemon itself.
	Write(step string, b []byte) error
	// End says that a step will write no more. What was kept of the end of
	// a very long output is written now.
	End(step string) error
	// Progress adds one message of a build's progress, for displays.
	Progress(step string, b []byte) error
	// Close says that nothing more will come.
	Close() error
}

// Sources get build contexts.
type Sources interface {
	// Fetch puts the files of c into dir, which is empty or absent and which
	// nobody else writes to. What it does is told on out.
	Fetch(ctx context.Context, c steps.Context, dir string, out io.Writer) (*steps.Fetched, error)
	// Upload opens a folder that a client has sent. Writable asks for one
	// that may be changed without changing the original.
	Upload(ctx context.Context, id string, dir string, writable bool) (Checkout, error)
}

// A Checkout is an uploaded context on this host.
type Checkout interface {
	Dir() string
	// Key names where the files came from, the same for each upload of one
	// folder.
	Key() string
	io.Closer
}

// An Engine opens places for runs.
type Engine interface {
	Open(ctx context.Context, p *steps.Place) (steps.Session, error)
}

// A Runner executes runs. Set its fields, then call Serve.
type Runner struct {
	Store   Store
	Logs    Logs
	Sources Sources
	Engine  Engine
	// Secrets may be nil: then task files that name any are refused.
	Secrets Secrets
	// Observe is told what happens, for metrics and traces.
	Observe Observer
	// ImageAliases are added to those of ACR's agents, see steps.Values.
	ImageAliases map[string]string
	// FetchText gets a file of aliases by its URL; nil refuses them.
	FetchText func(ctx context.Context, url string) ([]byte, error)
	// Obsolete says why a run that a trigger has started need not be done any
	// more, when its turn has come; empty: it is. Nil: all are.
	Obsolete func(run *Run) string
	// Registry is the run registry of requests that name none.
	Registry string
	// LogURL is where the log of a run can be read. Events tell it to everybody
	// who listens, so the address alone must not open it. Nil: they do not.
	LogURL func(run string) string
	// Dir is where runs have their folders while they last.
	Dir string
	// Name is what daemons on the same state folder are called, one after
	// the other, and no others on the same store; empty means "daemon".
	Name string
	// Slots is how many runs execute at a time; 0 means 4. Global is the
	// same for all daemons on one store together; 0 is no limit.
	Slots, Global int
	// Lease is how long other daemons wait until they take this one for
	// dead; 0 means 15 s.
	Lease time.Duration
	// Alone says that no other daemon can have the same store, so that
	// nothing is lost to others while the store does not answer.
	Alone bool
	// DrainTimeout is how long runs may go on after Serve's context has
	// ended; 0 means that they are cancelled at once. Hurry, when closed,
	// ends it early.
	DrainTimeout time.Duration
	Hurry        <-chan struct{}
	// Log gets a record of each run's changes; nil discards.
	Log *slog.Logger

	mu       sync.Mutex // guards what follows
	daemon   string     // that Serve is
	active   map[string]holding
	waiting  map[string]waiting
	early    map[string]int // attempts that were cancelled as they were taken
	draining bool
}

// A holding is a run that executes here.
type holding struct {
	attempt int
	cancel  context.CancelCauseFunc
	// ending says that only its end has yet to be saved.
	ending bool
	gone   chan struct{} // closed when nothing of it goes on here
}

// A waiting run was submitted here and is in the queue. What cannot be stored
// waits with it: its log, so that it can be followed already, and the agents
// of whoever asked.
type waiting struct {
	log    Log
	agents map[string]steps.Dial
}

const (
	defaultSlots = 4
	defaultLease = 15 * time.Second
)

// Serve executes runs until ctx has ended, then lets those in progress go on
// for DrainTimeout, cancels what is left, and returns when nothing is. What is
// still in the queue stays there. A store that does not work for a while is
// waited for.
func (r *Runner) Serve(ctx context.Context) error {
	d := Daemon{Name: cmp.Or(r.Name, "daemon"), Lease: cmp.Or(r.Lease, defaultLease), Global: r.Global}
	d.ID = d.Name + "/" + rand.Text()
	r.mu.Lock()
	r.daemon = d.ID
	r.mu.Unlock()
	if err := r.join(ctx, d); err != nil {
		return nil //nolint:nilerr // ctx has ended
	}
	// Runs outlive ctx: they are cancelled by what happens after it.
	life, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	beating, stopBeating := context.WithCancelCause(life)
	var beat, running sync.WaitGroup
	beat.Go(func() { r.beat(beating, d) })
	slots := cmp.Or(max(r.Slots, 0), defaultSlots)
	free := make(chan struct{}, slots)
	r.take(ctx, d, free, func(run *Run, err error) {
		running.Go(func() {
			defer func() { <-free }()
			r.carry(life, run, err)
		})
	})
	r.mu.Lock()
	r.draining = true
	r.mu.Unlock()
	r.drain(&running, cancel)
	stopBeating(nil)
	beat.Wait()
	r.leave(context.WithoutCancel(life), d) // life may have been ended by the drain
	return nil
}

// take hands out queued runs as slots become free.
func (r *Runner) take(ctx context.Context, d Daemon, free chan struct{}, start func(*Run, error)) {
	var pause pause
	for {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return
		}
		run, err := r.Store.TakeRun(ctx, d)
		if unreadable, ok := errors.AsType[*UnreadableError](err); ok {
			run = unreadable.Run
		}
		if run != nil {
			pause.reset()
			r.Observe.lease(LeaseTaken)
			start(run, err)
			continue
		}
		<-free
		if ctx.Err() != nil {
			return
		}
		r.log().Warn("queue cannot be read", "err", err)
		pause.wait(ctx)
	}
}

func (r *Runner) drain(running *sync.WaitGroup, cancel context.CancelCauseFunc) {
	done := make(chan struct{})
	go func() {
		running.Wait()
		close(done)
	}()
	t := time.NewTimer(r.DrainTimeout)
	defer t.Stop()
	select {
	case <-done:
		return
	case <-t.C:
	case <-r.Hurry:
	}
	cancel(ErrShutdown)
	<-done
}

func (r *Runner) isDraining() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.draining
}

// takeWaiting hands over what waits with a run; its log is nil if somebody
// else has it, or an earlier process had.
func (r *Runner) takeWaiting(id string) waiting {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.waiting[id]
	delete(r.waiting, id)
	return w
}

// track makes a run's context one that Cancel can end. An earlier attempt that
// was lost, and that goes on here, is stopped before.
func (r *Runner) track(ctx context.Context, run *Run) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	h := holding{attempt: run.Attempt, cancel: cancel, gone: make(chan struct{})}
	for old, ok := r.hold(run.ID, h); !ok; old, ok = r.hold(run.ID, h) {
		old.cancel(ErrFenced)
		<-old.gone
	}
	return ctx, func() {
		r.mu.Lock()
		delete(r.active, run.ID)
		r.mu.Unlock()
		cancel(nil)
		close(h.gone)
	}
}

// hold makes h what executes of a run, unless something does already.
func (r *Runner) hold(id string, h holding) (old holding, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, is := r.active[id]; is {
		return old, false
	}
	if r.active == nil {
		r.active = map[string]holding{}
	}
	r.active[id] = h
	if r.early[id] == h.attempt {
		h.cancel(ErrCanceled)
	}
	delete(r.early, id)
	return h, true
}

// ending says that nothing can stop the run any more.
func (r *Runner) ending(run *Run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.active[run.ID]
	h.ending = true
	r.active[run.ID] = h
}

func (r *Runner) log() *slog.Logger {
	if r.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Log
}
