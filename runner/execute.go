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

// execute runs the steps of file and records what happens in run. It returns
// when every step that it started has returned; the first failure is what it
// returns. That failure cancels the steps in progress, and from then on only
// those start that are for such a case.
func (r *Runner) execute(ctx context.Context, run *Run, file *steps.File, p *place) error {
	usual, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	x := &execution{
		Runner: r, run: run, file: file, place: p, graph: file.Graph(),
		cancel: cancel, outcomes: make(chan outcome),
	}
	for {
		x.startReady(ctx, usual)
		if x.running == 0 {
			return x.verdict(ctx)
		}
		x.settle(ctx, <-x.outcomes)
	}
}

// An execution owns its run and graph: steps run in goroutines of their own
// and report back over one channel, so nothing here needs a lock.
type execution struct {
	*Runner
	run   *Run
	file  *steps.File
	place *place
	graph *steps.Graph

	cancel   context.CancelCauseFunc // ends the steps that are not for a failure
	running  int
	outcomes chan outcome
	failure  error
	lost     bool // the record cannot be kept, so nothing more starts
}

type outcome struct {
	step   *steps.Step
	result *steps.Result
	err    error
}

// startReady starts what the graph lets start, and saves the run. What a crash
// leaves must tell which steps had started that may not be done twice, so
// those wait for the save. What has ended is saved with it; with the last
// step, the run's end is. Steps live as long as usual, and those that are for
// a failure, too, as long as ctx.
func (x *execution) startReady(ctx, usual context.Context) {
	if x.lost || context.Cause(ctx) != nil {
		return
	}
	ready := x.graph.Ready()
	for _, s := range ready {
		x.run.begin(s)
	}
	start := func(s *steps.Step) {
		life := usual
		if s.Always || s.OnFailure {
			life = ctx
		}
		x.start(life, s)
	}
	idempotent, once := splitReady(ready)
	for _, s := range idempotent {
		start(s)
	}
	if x.running == 0 && len(once) == 0 {
		return // the end
	}
	if err := x.save(ctx, x.run, x.place); err != nil {
		x.failure, x.lost = cmp.Or(x.failure, err), true
		x.cancel(errSibling)
		return
	}
	for _, s := range once {
		start(s)
	}
}

func (x *execution) start(life context.Context, s *steps.Step) {
	x.running++
	env := x.place.env(s, x.file, x.run)
	in, ended := x.Observe.step(life, x.run, s)
	go func() {
		result, err := s.Run(in, env)
		ended(result, err)
		x.place.transcript.flush(s.ID)
		x.outcomes <- outcome{s, result, err}
	}()
}

// settle takes a step's end.
func (x *execution) settle(ctx context.Context, o outcome) {
	x.running--
	x.run.record(o.step, o.result, o.err)
	switch {
	case o.err == nil:
		x.graph.Done(o.step.ID)
	case o.step.IgnoreErrors && x.failure == nil && context.Cause(ctx) == nil:
		x.place.transcript.notice("Step ID: %s encountered an error: %s, but is set to ignore errors. Continuing...", o.step.ID, o.err)
		x.graph.Done(o.step.ID)
	default:
		x.graph.Fail(o.step.ID)
		if x.failure == nil {
			x.failure = o.err
			x.blame(ctx, x.run, o.step, o.err, x.place.transcript)
		}
		x.cancel(errSibling)
	}
}

// verdict is how the steps went, once none runs any more.
func (x *execution) verdict(ctx context.Context) error {
	if x.failure == nil && len(x.graph.Ready()) > 0 { // cancelled between two steps
		return context.Cause(ctx)
	}
	return x.failure
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

// save saves the run. What others must do about it is for the run's end to
// tell.
func (r *Runner) save(ctx context.Context, run *Run, p *place) error {
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
func status(err error) Status {
	switch {
	case err == nil:
		return Succeeded
	case errors.Is(err, ErrCanceled), errors.Is(err, ErrShutdown):
		return Canceled
	case errors.Is(err, ErrTimeout):
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
