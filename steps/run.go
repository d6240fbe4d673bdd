package steps

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"
)

// An Action is what a step does: a *Build, a *Cmd or a *Push.
type Action interface {
	// run does it once. A nil result is fine for what makes nothing.
	run(ctx context.Context, s *Step, env *Env) (*Result, error)
}

// Env is where a step runs.
type Env struct {
	Engine  Engine
	Sources Sources
	// Workspace is the folder of the host that steps see as WorkspaceDir.
	Workspace string
	// ContextKey names where the workspace's files came from.
	ContextKey string
	// Notice writes one line of acb's own log.
	Notice func(format string, args ...any)
	// Output is the step's own log.
	Output io.Writer
	// Progress, if not nil, gets a build's progress as JSON lines.
	Progress io.Writer
	// Registry is the run's, and Task the task's name if there is one: they
	// say where "cache: enabled" keeps its cache.
	Registry, Task string
	// Pushed lists the images that the task pushes, see BuildOp.Pushed.
	Pushed []string
	// Secrets are values for the secrets of steps and builds, by id.
	Secrets map[string][]byte
	// Pins are images that builds must resolve to these digests.
	Pins map[string]string
}

// Sources gets remote build contexts.
type Sources interface {
	// Fetch puts the files of c into the folder name of the workspace, in
	// place of what is there. What it does is told on out.
	Fetch(ctx context.Context, c Context, name string, out io.Writer) (*Fetched, error)
}

// Fetched says where the files of a remote context are, and what they are.
type Fetched struct {
	// Dir is the folder on the host that the context means: the one that was
	// fetched into, or one within.
	Dir string
	// Commit is the full hash and Branch the short name, of git contexts.
	// Branch is empty if another ref was asked for.
	Commit, Branch string
}

// A Result is what a step has made.
type Result struct {
	Images []*Image
	Pushed []*Pushed
	// Commit is what a git context was at.
	Commit string
}

// Run does the step: waits, then does its action once and again as repeat and
// retries say, all within one timeout. The order and the lines it logs are
// acb's.
//
// It returns an *ExitError or *BuildError if the step failed, ErrTimeout if it
// took too long, the cause of ctx if that ended first, and any other error if
// the step could not be run at all. IgnoreErrors is the caller's to heed.
func (s *Step) Run(ctx context.Context, env *Env) (*Result, error) {
	env.Notice("Executing step ID: %s. Timeout(sec): %d, Working directory: '%s', Network: '%s'",
		s.ID, int(s.Timeout.Seconds()), s.workingDirectoryAsWritten(), s.Network)
	if s.StartDelay > 0 {
		env.Notice("Waiting %d seconds before executing step ID: %s", int(s.StartDelay.Seconds()), s.ID)
		if err := sleep(ctx, s.StartDelay); err != nil {
			return nil, err
		}
	}
	s, err := s.withEnvFiles(env)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.Timeout, ErrTimeout)
	defer cancel()
	result, err := s.repeat(ctx, env)
	if err != nil && context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	return result, err
}

// workingDirectoryAsWritten is empty for the default, as acb logs it.
func (s *Step) workingDirectoryAsWritten() string {
	if s.WorkingDirectory == WorkspaceDir {
		return ""
	}
	return s.WorkingDirectory
}

// repeat goes on after a failure and reports all of them, as acb does.
func (s *Step) repeat(ctx context.Context, env *Env) (*Result, error) {
	all := &Result{}
	var failures []error
	for range s.Repeat + 1 {
		r, err := s.retry(ctx, env)
		if err != nil {
			failures = append(failures, err)
		}
		if r != nil {
			all.Images = append(all.Images, r.Images...)
			all.Pushed = append(all.Pushed, r.Pushed...)
			all.Commit = cmp.Or(r.Commit, all.Commit)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return all, together(failures)
}

func (s *Step) retry(ctx context.Context, env *Env) (*Result, error) {
	for attempt := 0; ; attempt++ {
		seen := &watcher{w: env.Output, texts: s.RetryOn}
		once := *env
		once.Output = seen
		r, err := s.Do.run(ctx, s, &once)
		if ctx.Err() == nil {
			err = s.judge(err)
		}
		if err == nil {
			return r, nil
		}
		if attempt >= s.Retries || !seen.worthIt() || !s.retryable(err) || ctx.Err() != nil {
			if cause := context.Cause(ctx); cause == nil || errors.Is(cause, ErrTimeout) {
				s.noticeFailure(env)
			}
			return r, err
		}
		env.Notice("Container failed during run: %s, waiting %d seconds before retrying...", s.ID, int(s.RetryDelay.Seconds()))
		if err := sleep(ctx, s.RetryDelay); err != nil {
			return nil, err
		}
	}
}

// retryable says whether the same again could end otherwise.
func (s *Step) retryable(err error) bool {
	var refused *RefusedError
	return !errors.As(err, &refused)
}

func (s *Step) noticeFailure(env *Env) {
	if _, ok := s.Do.(*Push); !ok {
		env.Notice("Container failed during run: %s. No retries remaining.", s.ID)
	}
}

// together joins the failures of a repeated step into one that still says
// what kind it is.
func together(failures []error) error {
	if len(failures) <= 1 {
		return errors.Join(failures...)
	}
	var texts []string
	for _, f := range failures {
		texts = append(texts, f.Error())
	}
	return &repeated{last: failures[len(failures)-1], text: strings.Join(texts, ", ")}
}

type repeated struct {
	last error
	text string
}

func (r *repeated) Error() string { return r.text }
func (r *repeated) Unwrap() error { return r.last }

// A watcher passes output on and looks for texts in it.
type watcher struct {
	w     io.Writer
	texts []string

	mu    sync.Mutex // two streams may write at a time
	tail  []byte
	found bool
}

func (w *watcher) Write(b []byte) (int, error) {
	if len(w.texts) > 0 {
		w.look(b)
	}
	return w.w.Write(b)
}

func (w *watcher) look(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.found {
		return
	}
	longest := 0
	w.tail = append(w.tail, b...)
	for _, t := range w.texts {
		w.found = w.found || bytes.Contains(w.tail, []byte(t))
		longest = max(longest, len(t))
	}
	if keep := longest - 1; len(w.tail) > keep {
		w.tail = append(w.tail[:0], w.tail[len(w.tail)-keep:]...)
	}
}

func (w *watcher) worthIt() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.texts) == 0 || w.found
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
