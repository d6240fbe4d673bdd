package runner

import (
	"context"
	"errors"
	"slices"
	"time"

	"acrd/eventing"
)

// errSettled says that somebody else was faster.
var errSettled = errors.New("the run is settled already")

// maxRequeues is how often a run is put back because its daemon has died: what
// has killed two daemons might kill each.
const maxRequeues = 1

// settleRun decides about a run whose daemon is gone, and tells its log.
func (r *Runner) settleRun(ctx context.Context, id string) error {
	seen, err := r.Store.Run(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	run, err := r.Store.ChangeRun(ctx, id, func(run *Run) ([]eventing.Event, error) {
		if run.Status != seen.Status || run.Owner != seen.Owner || run.Attempt != seen.Attempt {
			return nil, errSettled
		}
		return []eventing.Event{run.orphaned(time.Now())}, nil
	})
	if errors.Is(err, errSettled) || errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	r.Observe.lease(LeaseSettled)
	r.log().Warn("run of a daemon that is gone", "run", id, "attempt", run.Attempt, "status", run.Status, "err", run.Err)
	if run.Status == Queued {
		return nil // whoever takes it tells its log
	}
	r.endLog(ctx, run, "Run ID: %s ended as %s: %s", id, run.Status, run.Err)
	return nil
}

// orphaned is the crash policy (docs/decisions/0011): a run goes back to the
// queue once, unless a step has started that may not be done twice.
func (r *Run) orphaned(now time.Time) eventing.Event {
	done := slices.IndexFunc(r.Steps, func(s StepState) bool { return s.Kind != "build" })
	why := ""
	switch {
	case r.Cancel:
		r.abandon(Canceled, ErrCanceled.Error(), now)
		return NewRunEvent(RunFinished, r)
	case r.Status == Queued:
		why = "the daemon that holds its source is gone"
	case done >= 0:
		why = "the run lost its daemon in progress, and step " + r.Steps[done].ID + " may not be done twice: run it again"
	case r.Requeued >= maxRequeues:
		why = "the run lost its daemon in progress for the second time"
	default:
		r.requeue(now)
		return NewRunEvent(eventing.RunRequeued, r)
	}
	r.abandon(Error, why, now)
	return NewRunEvent(RunFinished, r)
}

// abandon ends a run that nobody executes, with those of its steps that were
// in progress.
func (r *Run) abandon(s Status, why string, now time.Time) {
	for i := range r.Steps {
		if step := &r.Steps[i]; !step.Status.Final() {
			step.Status, step.Finished = Canceled, now
		}
	}
	r.end(s, why, now)
}

// requeue makes the run as it was before it started. Images that it has built
// stay in the engine's cache, and are found again.
func (r *Run) requeue(now time.Time) {
	r.Status, r.Requeued, r.Updated = Queued, r.Requeued+1, now
	r.Started, r.Steps, r.Images, r.Pushed = time.Time{}, nil, nil, nil
	r.Commit, r.Branch, r.FailedStep, r.ExitCode = "", "", "", nil
}
