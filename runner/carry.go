package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"acrd/eventing"
	"acrd/steps"
)

// A SourceError says that a run's source could not be had.
type SourceError struct{ Err error }

func (e *SourceError) Error() string { return e.Err.Error() }
func (e *SourceError) Unwrap() error { return e.Err }

// cleanUpTimeout bounds what happens after a run's end.
const cleanUpTimeout = 20 * time.Second

// carry takes a run from Started to its end. Whatever happens, the run has a
// final status afterwards, and its log an end; unless it is not ours any more.
func (r *Runner) carry(life context.Context, run *Run, unreadable error) {
	ctx, untrack := r.track(life, run)
	defer untrack()
	defer r.tidy(life, run.ID)
	ctx, stop := context.WithTimeoutCause(ctx, run.Request.Timeout, ErrTimeout)
	defer stop()
	t, log := r.openLog(run)
	err := unreadable
	if err == nil {
		err = r.obsolete(run)
	}
	if err == nil {
		err = r.begin(run)
	}
	ended := func(*Run) {}
	if err == nil {
		ctx, ended = r.Observe.run(ctx, run)
		err = r.perform(ctx, run, t)
	}
	if cause := context.Cause(ctx); err != nil && cause != nil && !run.decided {
		err = cause
	}
	end := time.Now()
	run.abandon(status(err), text(err), end)
	ended(run)
	r.ending(run)
	if errors.Is(err, ErrFenced) {
		t.notice("Run ID: %s was taken over, or ended, without this daemon, which stops here", run.ID)
		_ = log.Close() // it goes on elsewhere
		r.Observe.lease(LeaseLost)
		r.log().Warn("run was given up", "run", run.ID, "attempt", run.Attempt)
		return
	}
	t.end(run, err)
	// The record first: who has read the log to its end then finds it final.
	if err := r.finish(life, run, t); err != nil {
		_ = log.Close() // it goes on elsewhere, or with the next daemon
		return
	}
	if e := r.closeLog(context.WithoutCancel(life), run.ID, log); e != nil {
		r.log().Error("log could not be closed", "run", run.ID, "err", e)
	}
	r.log().Info("run ended", "run", run.ID, "status", run.Status, "took", run.took(), "err", run.Err)
}

// openLog goes on with the run's log. A run is carried out without one if it
// must be: the disk may have room for the result.
func (r *Runner) openLog(run *Run) (*transcript, Log) {
	w := r.takeWaiting(run.ID)
	run.Request.Agents = w.agents
	var err error
	if w.log == nil {
		if w.log, err = r.Logs.Reopen(run.ID); err != nil {
			r.log().Error("log could not be opened", "run", run.ID, "err", err)
			w.log = noLog{}
		}
	}
	t := newTranscript(w.log, run)
	if run.Request.Reason != "" {
		t.notice("Reason: %s", run.Request.Reason)
	}
	if run.Requeued > 0 {
		t.notice("This run has lost its daemon in progress; it starts again")
	}
	return t, w.log
}

// noLog discards.
type noLog struct{}

func (noLog) Write(string, []byte) error    { return nil }
func (noLog) End(string) error              { return nil }
func (noLog) Progress(string, []byte) error { return nil }
func (noLog) Close() error                  { return nil }

// An obsoleteError is a run that is not done, for a newer one is.
type obsoleteError struct{ why string }

func (e *obsoleteError) Error() string { return e.why }

func (r *Runner) obsolete(run *Run) error {
	if r.Obsolete == nil {
		return nil
	}
	if why := r.Obsolete(run); why != "" {
		return &obsoleteError{why}
	}
	return nil
}

// begin makes the run Running. The next save says so: that of its first steps,
// or else of its end.
func (r *Runner) begin(run *Run) error {
	run.Started, run.Status = time.Now(), Running
	run.Updated = run.Started
	run.untold = append(run.untold, NewRunEvent(eventing.RunStarted, run))
	if len(run.Request.AgentIDs) > 0 && run.Request.Agents == nil {
		return errors.New("the SSH agent that came with the request is gone, for the daemon was restarted: run it again")
	}
	return nil
}

// finish saves how the run has ended, and goes on trying until that is done
// or the daemon ends; then its successor settles the run. It is ErrFenced if
// the run is not ours any more.
func (r *Runner) finish(life context.Context, run *Run, t *transcript) error {
	if size, err := r.Logs.Size(context.WithoutCancel(life), run.ID); err == nil {
		run.LogBytes = size
	}
	run.hide(t)
	event := NewRunEvent(RunFinished, run)
	var pause pause
	for {
		err := r.tell(life, run, event)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrFenced), errors.Is(err, ErrNotFound):
			return ErrFenced
		}
		r.log().Error("run could not be saved", "run", run.ID, "err", err)
		if !pause.wait(life) {
			return err
		}
	}
}

// hide takes secrets out of what the record says about failures.
func (r *Run) hide(t *transcript) {
	r.Err = t.hide(r.Err)
	for i := range r.Steps {
		r.Steps[i].Err = t.hide(r.Steps[i].Err)
	}
}

func (t *transcript) hide(s string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.masker.Text([]byte(s)))
}

func text(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, syscall.ENOSPC):
		return ErrNoSpace.Error() // and not where
	}
	return err.Error()
}

// perform does the run in a folder of its own, which is gone afterwards.
func (r *Runner) perform(ctx context.Context, run *Run, t *transcript) (err error) {
	dir := filepath.Join(r.Dir, run.ID)
	// The parent keeps everybody else out; steps run as any user, so what
	// they share is open to all.
	if err := os.MkdirAll(filepath.Join(dir, "home"), 0o755); err != nil {
		return fmt.Errorf("folder of run: %w", err)
	}
	defer func() { _ = removeAll(dir) }() // see tidy
	if err := os.Chmod(filepath.Join(dir, "home"), 0o777); err != nil {
		return fmt.Errorf("folder of run: %w", err)
	}
	source, err := r.getSource(ctx, run, dir, t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.close()) }()
	root, err := os.OpenRoot(source.dir)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	defer root.Close()
	file, secrets, err := r.load(ctx, run, root, t)
	if err != nil {
		return err
	}
	credentials, err := r.credentials(ctx, run, t)
	if err != nil {
		t.notice("%s", err)
		return err
	}
	return r.inSession(ctx, run, file, &place{
		credentials: credentials,
		dir:         dir, workspace: source.dir, contextKey: source.key, secrets: secrets, transcript: t,
	})
}

// load makes the task that the run is to do, with its secrets, and tells the
// log why that is not possible.
func (r *Runner) load(ctx context.Context, run *Run, root *os.Root, t *transcript) (file *steps.File, secrets map[string][]byte, err error) {
	secrets = run.Request.secretValues()
	if run.Request.Build != nil {
		file, err = run.Request.Build.file(run)
	} else {
		file, err = r.reveal(ctx, run, root, secrets, t)
	}
	if err == nil {
		err = run.Request.permit(file)
	}
	if faults, ok := errors.AsType[steps.Errors](err); ok {
		t.notice("failed to unmarshal task before running: %s", faults)
	} else if err != nil {
		t.notice("%s", err)
	}
	return file, secrets, err
}

// secretValues are the values that the request brings, by id.
func (req *Request) secretValues() map[string][]byte {
	values := map[string][]byte{}
	for id, v := range req.SecretValues {
		values[id] = []byte(v)
	}
	maps.Copy(values, req.Secrets)
	return values
}

// inSession opens the engine's side of the run, and executes.
func (r *Runner) inSession(ctx context.Context, run *Run, file *steps.File, p *place) (err error) {
	p.transcript.arrange(file)
	volumes := file.Volumes
	if v := file.SecretVolume(p.secrets); v != nil {
		volumes = append(slices.Clip(volumes), *v)
	}
	p.session, err = r.Engine.Open(ctx, &steps.Place{
		Run: run.ID, Dir: p.dir, Workspace: p.workspace, Home: filepath.Join(p.dir, "home"),
		Volumes: volumes, Registry: run.Request.Registry, Credentials: p.credentials,
		Allow: run.Request.Allow, Untrusted: run.Request.Untrusted, KeepRegistry: run.Request.KeepRegistry, Agents: run.Request.Agents,
	})
	if err != nil {
		return err
	}
	if run.Request.Untrusted {
		p.session = quietSession{p.session, "untrusted/" + run.Request.Task}
	}
	defer func() {
		closing, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), cleanUpTimeout, errors.New("the engine does not let go of the run"))
		defer cancel()
		if e := p.session.Close(closing); e != nil {
			r.log().Warn("run left something behind", "run", run.ID, "err", e)
		}
	}()
	p.sources = &stepSources{r.sourcesOf(run), p.dir, p.workspace}
	p.transcript.setUp(run, file)
	err = r.execute(ctx, run, file, p)
	run.decided = context.Cause(ctx) == nil
	if err == nil {
		p.transcript.report(run)
	}
	return err
}

// A source is the folder that steps see as their workspace.
type source struct {
	dir, key string
	upload   Checkout
}

func (s *source) close() error {
	if s.upload == nil {
		return nil
	}
	return s.upload.Close()
}

// getSource puts the context where steps find it. What only builds read is
// not copied.
func (r *Runner) getSource(ctx context.Context, run *Run, dir string, t *transcript) (*source, error) {
	workspace := filepath.Join(dir, "workspace")
	if id, ok := strings.CutPrefix(run.Request.Source, UploadScheme); ok {
		up, err := r.Sources.Upload(ctx, id, workspace, run.Request.Build == nil)
		if err != nil {
			return nil, &SourceError{fmt.Errorf("source: %w", err)}
		}
		return &source{up.Dir(), up.Key(), up}, nil
	}
	s := &source{dir: workspace, key: run.Request.Source}
	if run.Request.Source != "" && run.Request.Source != "/dev/null" {
		if err := r.fetch(ctx, run, s, t); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(workspace, 0o755); err != nil {
		return nil, fmt.Errorf("workspace: %w", err)
	}
	return s, os.Chmod(s.dir, 0o777)
}

func (r *Runner) fetch(ctx context.Context, run *Run, s *source, t *transcript) error {
	t.notice("Downloading source code...")
	c, err := steps.ParseContext(run.Request.Source)
	if err != nil {
		return &SourceError{err}
	}
	if token := run.Request.SourceToken; token != "" && c.Kind == steps.ContextGit && strings.HasPrefix(c.URL, "http") {
		c.User = url.User(token)
	}
	fetched, err := r.sourcesOf(run).Fetch(ctx, c, s.dir, t.step(""))
	if err != nil {
		return &SourceError{fmt.Errorf("source: %w", err)}
	}
	s.dir, run.Commit, run.Branch = fetched.Dir, fetched.Commit, fetched.Branch
	t.notice("Finished downloading source code")
	return nil
}

// tidyTime bounds how long a run that has ended keeps its slot for its folder.
const tidyTime = time.Minute

// tidy removes the folder of a run if that was not possible before: where the
// engine has died, what it had mounted there goes when the next one starts.
func (r *Runner) tidy(life context.Context, id string) {
	ctx, cancel := context.WithTimeoutCause(life, tidyTime, errors.New("the folder stays"))
	defer cancel()
	var pause pause
	for {
		err := removeAll(filepath.Join(r.Dir, id))
		if err == nil {
			return
		}
		if !pause.wait(ctx) {
			r.log().Error("folder of run is left", "run", id, "err", err)
			return
		}
	}
}

// removeAll removes a run's folder, read-only folders in it as well: package
// caches of steps are full of those.
func removeAll(dir string) error {
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove folder of run: %w", err)
	}
	return nil
}
