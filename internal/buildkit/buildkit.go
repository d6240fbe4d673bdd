// Package buildkit is the engine as the daemon sees it. It keeps the engine
// child running, gives each run a Session on it, and does what steps ask for
// with BuildKit's client. With a remote BuildKit there is no child, and what
// needs one (cmd steps) is refused by name.
//
// The inside of the child is package engine below this one; what the two say
// to each other beside BuildKit's API is package control.
package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"syscall"
	"time"

	"acrd/internal/buildkit/control"
	"acrd/steps"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Options say how an Engine works.
type Options struct {
	// Config is the child's. Dir must be set and absolute.
	Config control.Config
	// Command starts the child; it is the path of a program and its
	// arguments. Empty means this program with the argument "engine".
	Command []string
	// RegistrySocket is where the daemon serves its registry and nothing
	// else, for runs that are allowed in.
	RegistrySocket string
	// Registries are what Config.PlainHTTP does not say.
	Registries Registries
	// Log gets the child's warnings; nil discards.
	Log *slog.Logger
}

// An Engine runs the engine child. It is safe for concurrent use.
type Engine struct {
	options Options
	child   *child
}

// New makes an engine that does nothing until Serve.
func New(o Options) *Engine {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Engine{options: o, child: newChild(o)}
}

// Serve starts the child and starts it again whenever it dies. It returns when
// ctx has ended and the child is gone, or with an error if the first child
// says that no other will do better.
func (e *Engine) Serve(ctx context.Context) error { return e.child.serve(ctx) }

// Ready waits until the child serves.
func (e *Engine) Ready(ctx context.Context) error {
	_, err := e.child.current(ctx)
	return err
}

// Health says how the child is.
func (e *Engine) Health() Health { return e.child.health() }

// PID is the child's process id, 0 while there is none.
func (e *Engine) PID() int { return e.child.health().PID }

// openTimeout bounds how long a run waits for a child that is starting.
const openTimeout = 15 * time.Second

// Open gives a run its session. The caller closes it.
func (e *Engine) Open(ctx context.Context, p *steps.Place) (steps.Session, error) {
	waiting, cancel := context.WithTimeoutCause(ctx, openTimeout, steps.ErrEngineStopped)
	defer cancel()
	g, err := e.child.current(waiting)
	if err != nil {
		return nil, err
	}
	s := newSession(g, p, &e.options.Registries)
	open := control.OpenRun{Dir: p.Dir, Secret: s.secretFiles(), Limits: control.Limits{}}
	if s.allowed(steps.AllowRegistry) && e.options.RegistrySocket != "" {
		open.Registry = &control.Door{Address: doorAddress(p.Registry), Socket: e.options.RegistrySocket}
	}
	if err := g.open(ctx, p.Run, open); err != nil {
		return nil, fmt.Errorf("open run in engine: %w", g.blame(ctx, err))
	}
	return s, nil
}

// A generation is one life of the child: its clients, and its death.
type generation struct {
	control *control.Client
	kit     *client.Client
	dead    chan struct{} // closed when the child has ended
	// next waits for the child that comes after this one.
	next func(context.Context) (*generation, error)
}

// open readies the place of a run. It does not stop half-way when ctx ends: the
// engine would open the run all the same, and nobody would close it.
func (g *generation) open(ctx context.Context, run string, o control.OpenRun) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	ctx, stop := g.bind(context.WithoutCancel(ctx))
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, openTimeout, errors.New("the engine does not open the run"))
	defer cancel()
	return g.control.OpenRun(ctx, run, o)
}

// bind makes a context that ends when the child does, with the reason.
func (g *generation) bind(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		select {
		case <-g.dead:
			cancel(steps.ErrEngineStopped)
		case <-done:
		}
	}()
	return ctx, func() { close(done); cancel(nil) }
}

// deathPatience bounds the wait for the news that the child has died: the
// connections break first.
const deathPatience = 3 * time.Second

// blame replaces an error by the death of the child, if that is behind it.
func (g *generation) blame(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); errors.Is(cause, steps.ErrEngineStopped) {
		return cause
	}
	if brokenConnection(err) {
		ctx, cancel := context.WithTimeoutCause(ctx, deathPatience, err)
		defer cancel()
		select {
		case <-g.dead:
		case <-ctx.Done():
		}
	}
	select {
	case <-g.dead:
		return steps.ErrEngineStopped
	default:
		return err
	}
}

// brokenConnection says that err may be all that one hears of a child that has
// died.
func brokenConnection(err error) bool {
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed} {
		if errors.Is(err, e) {
			return true
		}
	}
	return status.Code(err) == codes.Unavailable || errdefs.IsUnavailable(err)
}

// reaped waits until nothing is left of what a dead child had: the next one
// removes that before it serves.
func (g *generation) reaped(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(ctx, reapPatience, steps.ErrEngineStopped)
	defer cancel()
	_, _ = g.next(ctx)
}

// reapPatience is short of what a run that has lost its engine may take to
// say so.
const reapPatience = 3 * time.Second
