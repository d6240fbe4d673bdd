package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"acrd/eventing"
	"acrd/steps"
)

// An InvalidError says that a request is wrong, and how.
type InvalidError struct{ Err error }

func (e *InvalidError) Error() string { return e.Err.Error() }
func (e *InvalidError) Unwrap() error { return e.Err }

// Submit checks the request and queues it; what it has returned is not lost
// any more. A request that is wrong, a faulty inline file with all its faults
// among them, is an *InvalidError and leaves no run behind; a file that comes
// with the source is checked after it has been fetched, and then the run
// fails. A full disk is ErrNoSpace.
func (r *Runner) Submit(ctx context.Context, req Request) (*Run, error) {
	if r.isDraining() {
		return nil, ErrDraining
	}
	if req.Registry == "" {
		req.Registry = r.Registry
	}
	if req.Untrusted {
		req.distrust()
	}
	if req.Timeout == 0 {
		req.Timeout = DefaultTimeout
	}
	if err := req.check(); err != nil {
		return nil, &InvalidError{err}
	}
	if err := r.judge(ctx, &Run{ID: "run", Request: req}); err != nil {
		return nil, &InvalidError{err}
	}
	req.AgentIDs = slices.Sorted(maps.Keys(req.Agents))
	run := &Run{Type: req.kind(), Request: req, Status: Queued, Created: time.Now(), Archived: req.Archive, Pinned: r.pin(&req)}
	run.Updated = run.Created
	err := r.Store.AddRun(ctx, run, func(run *Run) ([]eventing.Event, error) {
		if r.LogURL != nil {
			run.LogURL = r.LogURL(run.ID)
		}
		return []eventing.Event{NewRunEvent(eventing.RunQueued, run)}, r.beginLog(run)
	})
	if err != nil {
		r.dropLog(context.WithoutCancel(ctx), run.ID)
		return nil, fmt.Errorf("queue run: %w", err)
	}
	r.Observe.queued(run)
	r.log().Info("run queued", "run", run.ID, "type", run.Type)
	return run, nil
}

// kind is the type of run that a request makes.
func (req *Request) kind() Type {
	switch {
	case req.Task != "" && req.Build != nil:
		return AutoBuild
	case req.Task != "":
		return AutoRun
	case req.Build != nil:
		return QuickBuild
	}
	return QuickRun
}

// pin names this daemon if no other can execute the request: uploads lie in
// its folder, and agents are connected to it.
func (r *Runner) pin(req *Request) string {
	if !r.Alone && (strings.HasPrefix(req.Source, UploadScheme) || len(req.Agents) > 0) {
		return r.Name
	}
	return ""
}

// beginLog opens the log of a run before anybody can take it.
func (r *Runner) beginLog(run *Run) error {
	log, err := r.Logs.Create(run.ID)
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("log of run: %w: %w", ErrNoSpace, err)
	}
	if err != nil {
		return fmt.Errorf("log of run: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == nil {
		r.waiting = map[string]waiting{}
	}
	r.waiting[run.ID] = waiting{log, run.Request.Agents}
	return nil
}

// dropLog forgets the log of a run that could not be queued.
func (r *Runner) dropLog(ctx context.Context, id string) {
	if id == "" {
		return
	}
	if log := r.takeWaiting(id).log; log != nil {
		_ = log.Close()
	}
	if err := r.Logs.Remove(ctx, id); err != nil {
		r.log().Warn("log could not be removed", "run", id, "err", err)
	}
}

func (req *Request) check() error {
	kinds := 0
	for _, given := range []bool{req.Build != nil, req.Inline != nil, req.File != ""} {
		if given {
			kinds++
		}
	}
	if kinds != 1 {
		return fmt.Errorf("a request is one of a build, a task file in the source, and an inline task file; this one is %d of them", kinds)
	}
	if req.Timeout < MinTimeout || req.Timeout > MaxTimeout {
		return fmt.Errorf("timeout %v is not between %v and %v", req.Timeout, MinTimeout, MaxTimeout)
	}
	for _, word := range req.Allow {
		if !slices.Contains(steps.Entitlements, word) {
			return fmt.Errorf("unknown entitlement %q: there are %s", word, strings.Join(steps.Entitlements, ", "))
		}
	}
	return req.checkSource()
}

// judge refuses a request whose task file is known, and wrong. What the source
// will say is not known yet, and cannot change whether the file is right.
func (r *Runner) judge(ctx context.Context, run *Run) error {
	if run.Request.File != "" {
		return nil // comes with the source
	}
	file, err := r.preview(ctx, run)
	if err != nil {
		return err
	}
	return run.Request.permit(file)
}

func (r *Runner) preview(ctx context.Context, run *Run) (*steps.File, error) {
	if run.Request.Build != nil {
		return run.Request.Build.file(run)
	}
	f, err := r.taskFile(ctx, run, nil)
	if err != nil {
		return nil, err
	}
	return f.trial()
}

// permit refuses a file that needs what the owner has not granted.
func (req *Request) permit(file *steps.File) error {
	for _, need := range file.Needs() {
		if !slices.Contains(req.Allow, need.Entitlement) {
			return need.Refusal()
		}
	}
	return nil
}

func (req *Request) checkSource() error {
	if req.Source == "" || strings.HasPrefix(req.Source, UploadScheme) {
		return nil
	}
	c, err := steps.ParseContext(req.Source)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if c.Kind == steps.ContextLocal {
		return fmt.Errorf("source %s is a folder: a client has to upload it", req.Source)
	}
	return nil
}
