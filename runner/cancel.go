package runner

import (
	"context"
	"time"

	"acrd/eventing"
)

// Cancel asks a run to stop and returns once that is certain, which may be
// before it has. It may be asked again. A run that has ended is ErrFinal.
func (r *Runner) Cancel(ctx context.Context, id string) error {
	run, err := r.Store.ChangeRun(ctx, id, func(run *Run) ([]eventing.Event, error) {
		switch {
		case run.Status.Final():
			return nil, ErrFinal
		case run.Status == Queued:
			run.end(Canceled, ErrCanceled.Error(), time.Now())
			return []eventing.Event{NewRunEvent(RunFinished, run)}, nil
		}
		run.Cancel = true
		return nil, nil
	})
	if err != nil {
		return err
	}
	if run.Status == Canceled {
		r.log().Info("run canceled in the queue", "run", id)
		r.endLog(context.WithoutCancel(ctx), run, canceledInQueue, id)
		return nil
	}
	r.cancelHere(run)
	return nil
}

// cancelHere cancels a run that this daemon has taken. Others see with their
// next beat what is wanted.
func (r *Runner) cancelHere(run *Run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	held, ok := r.active[run.ID]
	switch {
	case ok && held.attempt == run.Attempt:
		held.cancel(ErrCanceled)
	case run.Owner == r.daemon: // it is about to begin
		if r.early == nil {
			r.early = map[string]int{}
		}
		r.early[run.ID] = run.Attempt
	}
}

const canceledInQueue = "Run ID: %s was canceled before it started"

// endLog adds the last line to the log of a run that does not execute here.
func (r *Runner) endLog(ctx context.Context, run *Run, format string, args ...any) {
	log := r.takeWaiting(run.ID).log
	var err error
	if log == nil {
		log, err = r.Logs.Reopen(run.ID)
	}
	if err != nil {
		r.log().Warn("log could not be ended", "run", run.ID, "err", err)
		return
	}
	newTranscript(log, run).notice(format, args...)
	if err := r.closeLog(ctx, run.ID, log); err != nil {
		r.log().Warn("log could not be closed", "run", run.ID, "err", err)
	}
}

// closeLog ends the log of a run that has ended for good, and puts it away.
func (r *Runner) closeLog(ctx context.Context, run string, log Log) error {
	if err := log.Close(); err != nil {
		return err
	}
	return r.Logs.Archive(ctx, run)
}
