package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"acrd/eventing"
	"acrd/steps"
)

// errSibling cancels the steps in progress when one of them has failed.
var errSibling = errors.New("another step failed")

// A place is everything that the steps of one run need.
type place struct {
	session    steps.Session
	sources    steps.Sources
	dir        string // the run's own folder
	workspace  string
	contextKey string
	// credentials are the request's, those from a vault among them.
	credentials []steps.Credential
	secrets     map[string][]byte // by id
	transcript  *transcript
}

// execute runs the steps of file and records what happens in run. It owns run
// and the graph: steps run in goroutines of their own and report back over one
// channel, so nothing here needs a lock. It returns when every step that it
// started has returned; the first failure is what it returns. That failure
// cancels the steps in progress, and from then on only those start that are
// for such a case.
func (r *Runner) execute(ctx context.Context, run *Run, file *steps.File, p *place) error {
	usual, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type outcome struct {
		step   *steps.Step
		result *steps.Result
		err    error
	}
	graph := file.Graph()
	outcomes := make(chan outcome)
	running := 0
	start := func(s *steps.Step) {
		running++
		env := p.env(s, file, run)
		life := usual
		if s.Always || s.OnFailure {
			life = ctx
		}
		in, ended := r.Observe.step(life, run, s)
		go func() {
			result, err := s.Run(in, env)
			ended(result, err)
			p.transcript.flush(s.ID)
			outcomes <- outcome{s, result, err}
		}()
	}
	var failure error
	lost := false // the record cannot be kept
	for {
		if !lost && context.Cause(ctx) == nil {
			ready := graph.Ready()
			for _, s := range ready {
				run.begin(s)
			}
			idempotent, once := splitReady(ready)
			for _, s := range idempotent {
				start(s)
			}
			// What a crash leaves must tell which steps had started that may not
			// be done twice. What has ended is saved with it; with the last step,
			// the run's end is.
			if err := r.save(ctx, run, p, running > 0 || len(once) > 0); err != nil {
				failure, lost, once = cmp.Or(failure, err), true, nil
				cancel(errSibling)
			}
			for _, s := range once {
				start(s)
			}
		}
		if running == 0 {
			if failure == nil && len(graph.Ready()) > 0 { // cancelled between two steps
				return context.Cause(ctx)
			}
			return failure
		}
		o := <-outcomes
		running--
		run.record(o.step, o.result, o.err)
		switch {
		case o.err == nil:
			graph.Done(o.step.ID)
		case o.step.IgnoreErrors && context.Cause(usual) == nil:
			p.transcript.notice("Step ID: %s encountered an error: %s, but is set to ignore errors. Continuing...", o.step.ID, o.err)
			graph.Done(o.step.ID)
		default:
			graph.Fail(o.step.ID)
			if failure == nil {
				failure = o.err
				r.blame(ctx, run, o.step, o.err, p.transcript)
			}
			cancel(errSibling)
		}
	}
}

// splitReady tells builds, which do no harm if they are done again, from the
// rest.
func splitReady(ready []*steps.Step) (idempotent, once []*steps.Step) {
	for _, s := range ready {
		if _, ok := s.Do.(*steps.Build); ok {
			idempotent = append(idempotent, s)
		} else {
			once = append(once, s)
		}
	}
	return idempotent, once
}

// blame says, in log and record, which step made the run fail.
func (r *Runner) blame(ctx context.Context, run *Run, s *steps.Step, err error, t *transcript) {
	if context.Cause(ctx) != nil {
		return
	}
	t.notice("failed to run step ID: %s: %s", s.ID, err)
	run.FailedStep, run.ExitCode = s.ID, exitCode(err)
}

// save saves the run if anything has changed. What others must do about it is
// for the run's end to tell.
func (r *Runner) save(ctx context.Context, run *Run, p *place, changed bool) error {
	if !changed {
		return nil
	}
	run.hide(p.transcript)
	return r.saveSoon(ctx, run)
}

// saveSoon saves the run as soon as the database answers: one that is restarted
// is no reason for a run to fail.
func (r *Runner) saveSoon(ctx context.Context, run *Run, events ...eventing.Event) error {
	var pause pause
	for start := time.Now(); ; {
		err := r.tell(ctx, run, events...)
		if err == nil {
			return nil
		}
		if !errors.Is(err, ErrUnavailable) || time.Since(start) > savePatience || !pause.wait(ctx) {
			return fmt.Errorf("save run: %w", err)
		}
	}
}

// tell saves the run with the events, and with those that have waited for it.
func (r *Runner) tell(ctx context.Context, run *Run, events ...eventing.Event) error {
	err := r.Store.SaveRun(context.WithoutCancel(ctx), run, append(slices.Clip(run.untold), events...)...)
	if err == nil {
		run.untold = nil
	}
	return err
}

// savePatience is how long a run that goes on waits for the database.
const savePatience = 10 * time.Second

func (p *place) env(s *steps.Step, file *steps.File, run *Run) *steps.Env {
	return &steps.Env{
		Engine: p.session, Sources: p.sources, Workspace: p.workspace, ContextKey: p.contextKey,
		Notice: p.transcript.notice, Output: p.transcript.step(s.ID), Progress: p.transcript.progress(s.ID),
		Registry: run.Request.Registry, Pushed: file.Pushes(), Secrets: p.secrets,
		Pins: run.Request.Pins,
	}
}

// record notes how a step ended. Images count as soon as they are built, even
// if a later part of the step failed.
func (r *Run) record(s *steps.Step, result *steps.Result, err error) {
	state := r.step(s.ID)
	state.Finished = time.Now()
	r.Updated = state.Finished
	switch {
	case err == nil:
		state.Status = Succeeded
	case errors.Is(err, errSibling), errors.Is(err, ErrCanceled), errors.Is(err, ErrTimeout), errors.Is(err, ErrShutdown):
		state.Status = Canceled
	default:
		state.Status, state.Err, state.ExitCode = Failed, err.Error(), exitCode(err)
	}
	if result == nil {
		return
	}
	r.Images = append(r.Images, result.Images...)
	r.Pushed = append(r.Pushed, result.Pushed...)
	if r.Commit == "" {
		r.Commit = result.Commit
	}
}

func exitCode(err error) *int {
	if exit, ok := errors.AsType[*steps.ExitError](err); ok {
		return &exit.Code
	}
	return nil
}

// status is the one place that turns how a run ended into a Status.
func status(ctx context.Context, err error) Status {
	if err == nil {
		return Succeeded
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, ErrCanceled), errors.Is(cause, ErrShutdown):
		return Canceled
	case errors.Is(cause, ErrTimeout):
		return Timeout
	}
	if obsolete := (*obsoleteError)(nil); errors.As(err, &obsolete) {
		return Canceled
	}
	var (
		exit    *steps.ExitError
		build   *steps.BuildError
		refused *steps.RefusedError
		faults  steps.Errors
		invalid *InvalidError
		source  *SourceError
	)
	switch {
	case errors.Is(err, steps.ErrEngineStopped):
		return Error
	case errors.As(err, &exit), errors.As(err, &build), errors.As(err, &refused),
		errors.As(err, &faults), errors.As(err, &invalid), errors.As(err, &source), errors.Is(err, steps.ErrTimeout):
		return Failed
	}
	return Error
}
