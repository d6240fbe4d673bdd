package runner

import (
	"context"

	"acrd/steps"
)

// An Observer is told what happens to runs, while it happens. A function that
// is nil is not called; one that is must not keep the run waiting, nor change
// it.
type Observer struct {
	// Queued is called once a run is in the queue.
	Queued func(r *Run)
	// Run is called when a run begins. The run goes on with the context that
	// is returned, and when it has its final status calls ended.
	Run func(ctx context.Context, r *Run) (in context.Context, ended func(r *Run))
	// Step is the same for a step. Ended may be called from another
	// goroutine, while other steps go on.
	Step func(ctx context.Context, r *Run, s *steps.Step) (in context.Context, ended func(result *steps.Result, err error))
	// Lease is called with LeaseTaken when this daemon takes a run, with
	// LeaseLost when another has it, and with LeaseSettled when this one has
	// decided about a run whose daemon is gone.
	Lease func(event string)
}

// What becomes of leases.
const (
	LeaseTaken   = "taken"
	LeaseLost    = "lost"
	LeaseSettled = "settled"
)

// Observers make one observer of several.
func Observers(all ...Observer) Observer {
	return Observer{
		Queued: func(r *Run) {
			for _, o := range all {
				o.queued(r)
			}
		},
		Lease: func(event string) {
			for _, o := range all {
				o.lease(event)
			}
		},
		Run: func(ctx context.Context, r *Run) (context.Context, func(*Run)) {
			ends := make([]func(*Run), len(all))
			for i, o := range all {
				ctx, ends[i] = o.run(ctx, r) //nolint:fatcontext // each is inside the one before
			}
			return ctx, func(r *Run) {
				for _, ended := range ends {
					ended(r)
				}
			}
		},
		Step: func(ctx context.Context, r *Run, s *steps.Step) (context.Context, func(*steps.Result, error)) {
			ends := make([]func(*steps.Result, error), len(all))
			for i, o := range all {
				ctx, ends[i] = o.step(ctx, r, s) //nolint:fatcontext // each is inside the one before
			}
			return ctx, func(result *steps.Result, err error) {
				for _, ended := range ends {
					ended(result, err)
				}
			}
		},
	}
}

func (o Observer) queued(r *Run) {
	if o.Queued != nil {
		o.Queued(r)
	}
}

func (o Observer) lease(event string) {
	if o.Lease != nil {
		o.Lease(event)
	}
}

func (o Observer) run(ctx context.Context, r *Run) (context.Context, func(*Run)) {
	if o.Run == nil {
		return ctx, func(*Run) {}
	}
	return o.Run(ctx, r)
}

func (o Observer) step(ctx context.Context, r *Run, s *steps.Step) (context.Context, func(*steps.Result, error)) {
	if o.Step == nil {
		return ctx, func(*steps.Result, error) {}
	}
	return o.Step(ctx, r, s)
}
