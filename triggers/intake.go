package triggers

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"acrd/runner"
)

// An Intake takes what people make of tasks, and fixes in the same transaction
// what was there before: a trigger starts runs for what comes after that
// moment, and for nothing else.
type Intake struct {
	Definitions
	Store interface {
		// ChangeTaskWith saves what change makes of a task, nil if there is
		// none, and the watches that follow from it, in one transaction; or
		// nothing, if change fails. Both functions may be called again.
		ChangeTaskWith(ctx context.Context, name string, change func(old *runner.Task) (*runner.Task, error), follow func(old, t *runner.Task) []NewWatch) (*runner.Task, error)
		// RemoveTask is runner.ErrNotFound if there is none.
		RemoveTask(ctx context.Context, name string) error
	}
	Git Git
	// Scans, if not nil, look into sources for base images.
	Scans *Scans
	// Patience is how long a repository may take to say what it has; 0 means
	// 5 s. Then the first look of [Commits] finds out.
	Patience time.Duration

	mu    sync.Mutex           // guards what follows
	quiet map[string]time.Time // until when hosts that did not answer are left alone
}

// quietHost is how long a host that did not answer keeps nobody waiting.
const quietHost = time.Minute

// ChangeTask saves what change makes of a task, which is nil if there is none;
// or nothing, if change fails. Change may be called again.
func (i *Intake) ChangeTask(ctx context.Context, name string, change func(old *runner.Task) (*runner.Task, error)) (*runner.Task, error) {
	var was *runner.Task
	old, err := i.Task(ctx, name)
	switch {
	case errors.Is(err, runner.ErrNotFound):
		old = nil
	case err != nil:
		return nil, err
	default:
		was = old.Clone() // change may keep parts of old
	}
	t, err := change(old)
	if err != nil {
		return nil, err
	}
	seen := i.look(ctx, onsets(was, t))
	t, err = i.Store.ChangeTaskWith(ctx, name, change, func(old, t *runner.Task) []NewWatch {
		now := time.Now()
		var all []NewWatch
		for _, o := range onsets(old, t) {
			o.Refs, o.Seen = seen.of(&o)
			all = append(all, o.watch(now))
		}
		if i.Scans != nil && unknownBases(old, t) {
			all = append(all, scanWatch(t.Name, now))
		}
		return all
	})
	if err == nil && i.Scans != nil {
		i.Scans.Wake()
	}
	return t, err
}

// RemoveTask is runner.ErrNotFound if there is none.
func (i *Intake) RemoveTask(ctx context.Context, name string) error {
	return i.Store.RemoveTask(ctx, name)
}

// listings are what repositories have.
type listings map[Remote]*listed

// A listed is what a repository has of the refs that were asked for.
type listed struct {
	wanted []string
	refs   map[string]string
	seen   bool
}

// of are the refs that an onset is about, if those were asked for.
func (l listings) of(o *onset) (refs map[string]string, seen bool) {
	got := l[o.remote]
	if got == nil || !got.seen || slices.ContainsFunc(o.Wanted, func(p string) bool { return !slices.Contains(got.wanted, p) }) {
		return nil, false
	}
	refs = maps.Clone(got.refs)
	maps.DeleteFunc(refs, func(name, _ string) bool { return !o.about(name) })
	return refs, true
}

// look asks each repository once.
func (i *Intake) look(ctx context.Context, all []onset) listings {
	seen := listings{}
	for _, o := range all {
		if seen[o.remote] == nil {
			seen[o.remote] = &listed{}
		}
		seen[o.remote].wanted = append(seen[o.remote].wanted, o.Wanted...)
	}
	var asking sync.WaitGroup
	for remote, l := range seen {
		asking.Go(func() { l.refs, l.seen = i.refs(ctx, remote, l.wanted) })
	}
	asking.Wait()
	return seen
}

func (i *Intake) refs(ctx context.Context, remote Remote, wanted []string) (map[string]string, bool) {
	host := repositoryHost(remote.URL)
	i.mu.Lock()
	quiet := i.quiet[host]
	i.mu.Unlock()
	if time.Now().Before(quiet) {
		return nil, false
	}
	patience := i.Patience
	if patience == 0 {
		patience = 5 * time.Second
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("the repository does not answer"))
	defer cancel()
	l, err := i.Git.Refs(ctx, remote, prefixes(wanted))
	if err == nil {
		return l.Refs, true
	}
	if refused := (*RefusedError)(nil); !errors.As(err, &refused) { // a refusal is an answer
		i.leave(host)
	}
	return nil, false
}

// leave leaves a host alone for a while.
func (i *Intake) leave(host string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.quiet == nil || len(i.quiet) > 1000 {
		i.quiet = map[string]time.Time{}
	}
	i.quiet[host] = time.Now().Add(quietHost)
}
