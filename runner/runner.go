// Package runner turns requests into runs and runs into results.
//
// A Run is queued by Submit, picked up by Serve, executed step by step, and
// ends in exactly one final Status. What a task file means is package steps';
// the runner gets the source, gives the run its place on the host, starts the
// steps in their order and writes the log.
package runner

import (
	"context"
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

// A Store keeps runs. Each method is one transaction. What it returns is the
// caller's own copy.
type Store interface {
	// AddRun gives the run an id, calls ready, and queues the run unless
	// that fails.
	AddRun(ctx context.Context, r *Run, ready func(*Run) error) error
	SaveRun(ctx context.Context, r *Run) error
	// TakeRun returns the oldest queued run as Started, or waits for one.
	TakeRun(ctx context.Context) (*Run, error)
	// Run is ErrNotFound if there is none.
	Run(ctx context.Context, id string) (*Run, error)
	// Runs are the newest first.
	Runs(ctx context.Context, limit int) ([]*Run, error)
}

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
	// Registry is the run registry of requests that name none.
	Registry string
	// Dir is where runs have their folders while they last.
	Dir string
	// Slots is how many runs execute at a time; 0 means 4.
	Slots int
	// DrainTimeout is how long runs may go on after Serve's context has
	// ended; 0 means that they are cancelled at once.
	DrainTimeout time.Duration
	// Log gets a record of each run's changes; nil discards.
	Log *slog.Logger

	mu       sync.Mutex // guards what follows
	active   map[string]context.CancelCauseFunc
	waiting  map[string]Log // of queued runs, so that they can be followed already
	draining bool
}

const defaultSlots = 4

// Serve executes runs until ctx has ended, then lets those in progress go on
// for DrainTimeout, cancels what is left, and returns when nothing is.
func (r *Runner) Serve(ctx context.Context) error {
	slots := r.Slots
	if slots <= 0 {
		slots = defaultSlots
	}
	// Runs outlive ctx: they are cancelled by what happens after it.
	life, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	var running sync.WaitGroup
	free := make(chan struct{}, slots)
	err := r.take(ctx, free, func(run *Run) {
		running.Go(func() {
			defer func() { <-free }()
			r.carry(life, run)
		})
	})
	r.mu.Lock()
	r.draining = true
	r.mu.Unlock()
	r.drain(&running, cancel)
	return err
}

// take hands out queued runs as slots become free.
func (r *Runner) take(ctx context.Context, free chan struct{}, start func(*Run)) error {
	for {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		run, err := r.Store.TakeRun(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		start(run)
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
	}
	cancel(ErrShutdown)
	<-done
}

// Cancel asks a run to stop and returns at once. A run that has ended is
// ErrFinal.
func (r *Runner) Cancel(ctx context.Context, id string) error {
	r.mu.Lock()
	cancel, ok := r.active[id]
	r.mu.Unlock()
	if ok {
		cancel(ErrCanceled)
		return nil
	}
	run, err := r.Store.Run(ctx, id)
	if err != nil {
		return err
	}
	if run.Status.Final() {
		return ErrFinal
	}
	run.end(Canceled, ErrCanceled.Error(), time.Now())
	if err := r.Store.SaveRun(ctx, run); err != nil {
		return err
	}
	if log := r.takeLog(id); log != nil {
		t := newTranscript(log, run)
		t.notice("Run ID: %s was canceled before it started", id)
		return r.closeLog(ctx, id, log)
	}
	return nil
}

// closeLog ends the log of a run that has ended for good, and puts it away.
func (r *Runner) closeLog(ctx context.Context, run string, log Log) error {
	if err := log.Close(); err != nil {
		return err
	}
	return r.Logs.Archive(ctx, run)
}

// takeLog hands over the log of a run that was queued; nil if somebody else
// has it.
func (r *Runner) takeLog(id string) Log {
	r.mu.Lock()
	defer r.mu.Unlock()
	log := r.waiting[id]
	delete(r.waiting, id)
	return log
}

// track makes a run's context one that Cancel can end.
func (r *Runner) track(ctx context.Context, id string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	r.mu.Lock()
	if r.active == nil {
		r.active = map[string]context.CancelCauseFunc{}
	}
	r.active[id] = cancel
	r.mu.Unlock()
	return ctx, func() {
		r.mu.Lock()
		delete(r.active, id)
		r.mu.Unlock()
		cancel(nil)
	}
}

func (r *Runner) log() *slog.Logger {
	if r.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Log
}
