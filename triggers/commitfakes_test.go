package triggers

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"acrd/eventing"
	"acrd/runner"
)

// A commitStore is a store in memory, of what Commits and Hooks need.
type commitStore struct {
	mu         sync.Mutex // guards what follows
	tasks      []*runner.Task
	version    int
	watches    map[string]*storedWatch
	intents    []Intent
	deliveries map[string]bool
	events     []eventing.Event
	claims     int
	saves      int
}

type storedWatch struct {
	Watch
	kind  string
	lease time.Time
}

func newCommitStore(tasks ...*runner.Task) *commitStore {
	return &commitStore{tasks: tasks, watches: map[string]*storedWatch{}, deliveries: map[string]bool{}}
}

func (s *commitStore) put(t *runner.Task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	t.Updated = time.Now()
	for i, old := range s.tasks {
		if old.Name == t.Name {
			s.tasks[i] = t
			return
		}
	}
	s.tasks = append(s.tasks, t)
}

// ChangeTaskWith keeps the watches first: who sees the task then sees them, as
// in one transaction.
func (s *commitStore) ChangeTaskWith(ctx context.Context, name string, change func(*runner.Task) (*runner.Task, error), follow func(old, t *runner.Task) []NewWatch) (*runner.Task, error) {
	var was *runner.Task
	old, err := s.Task(ctx, name)
	if err == nil {
		was, old = old.Clone(), old.Clone()
	}
	t, err := change(old)
	if err != nil {
		return nil, err
	}
	t.Name = name
	for _, w := range follow(was, t) {
		s.mu.Lock()
		maps.DeleteFunc(s.watches, func(_ string, o *storedWatch) bool {
			return w.InPlaceOf != "" && o.kind == w.Kind && strings.HasPrefix(o.ID, w.InPlaceOf)
		})
		s.watches[w.Kind+w.ID] = &storedWatch{Watch: Watch{ID: w.ID, Doc: w.Doc, Next: w.Next}, kind: w.Kind}
		s.mu.Unlock()
	}
	s.put(t)
	return t, nil
}

func (s *commitStore) RemoveTask(context.Context, string) error { return nil }

func (s *commitStore) Task(_ context.Context, name string) (*runner.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tasks {
		if t.Name == name {
			return t, nil
		}
	}
	return nil, runner.ErrNotFound
}

func (s *commitStore) Tasks(_ context.Context, after string, limit int) ([]*runner.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*runner.Task
	slices.SortFunc(s.tasks, func(a, b *runner.Task) int { return strings.Compare(a.Name, b.Name) })
	i, _ := slices.BinarySearchFunc(s.tasks, after, func(t *runner.Task, name string) int { return strings.Compare(t.Name, name) })
	for _, t := range s.tasks[i:] {
		if t.Name > after && len(all) < limit {
			all = append(all, t)
		}
		if len(all) == limit {
			break
		}
	}
	return all, nil
}

func (s *commitStore) TasksVersion(context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprint(s.version), nil
}

func (s *commitStore) Watches(_ context.Context, kind string) ([]Watch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Watch
	for _, w := range s.watches {
		if w.kind == kind {
			all = append(all, w.Watch)
		}
	}
	slices.SortFunc(all, func(a, b Watch) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}

func (s *commitStore) AddWatch(_ context.Context, kind, id string, doc json.RawMessage, next time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watches[kind+id] == nil {
		s.watches[kind+id] = &storedWatch{Watch: Watch{ID: id, Doc: doc, Next: next}, kind: kind}
	}
	return nil
}

func (s *commitStore) ClaimWatches(_ context.Context, kind string, now time.Time, limit int, lease time.Duration) ([]Watch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Watch
	for _, w := range s.watches {
		if len(all) < limit && w.kind == kind && !w.Next.After(now) && !w.lease.After(now) {
			s.claims++
			w.Claim, w.lease = fmt.Sprint(s.claims), now.Add(lease)
			all = append(all, w.Watch)
		}
	}
	return all, nil
}

func (s *commitStore) SaveWatch(_ context.Context, kind string, w Watch, next time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.watches[kind+w.ID]
	if old == nil || old.Claim != w.Claim {
		return runner.ErrFenced
	}
	s.saves++
	if old.Next.Equal(w.Next) {
		old.Next = next
	}
	old.Doc, old.Claim, old.lease = w.Doc, "", time.Time{}
	return nil
}

func (s *commitStore) LookAt(_ context.Context, kind, id string, at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.watches[kind+id]; w != nil {
		w.Next = at
	}
	return nil
}

func (s *commitStore) DeleteWatch(_ context.Context, kind, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watches, kind+id)
	return nil
}

func (s *commitStore) Intend(_ context.Context, all ...Intent) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := 0
	for _, in := range all {
		if !slices.ContainsFunc(s.intents, func(o Intent) bool { return o.Task == in.Task && o.Key == in.Key }) {
			s.intents = append(s.intents, in)
			fresh++
		}
	}
	return fresh, nil
}

func (s *commitStore) Open(context.Context) ([]Intent, error) { return s.wanted(), nil }
func (s *commitStore) Decide(context.Context, string, []string, Decision) error {
	return nil
}

func (s *commitStore) Decided(context.Context, string, int) ([]Settled, error) { return nil, nil }

func (s *commitStore) wanted() []Intent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.intents)
}

func (s *commitStore) AddDelivery(_ context.Context, kind, id string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.deliveries[kind+id]
	s.deliveries[kind+id] = true
	return !before, nil
}

func (s *commitStore) AddEvents(_ context.Context, events ...eventing.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, events...)
	return nil
}

func (s *commitStore) told(what string) []eventing.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []eventing.Event
	for _, e := range s.events {
		if e.Type == what {
			all = append(all, e)
		}
	}
	return all
}

// A commitGit has repositories in memory.
type commitGit struct {
	mu      sync.Mutex // guards what follows
	refs    map[string]map[string]string
	head    map[string]string
	err     error
	changes map[string]*Change // by commit
	looks   int
	slow    time.Duration
}

func newCommitGit() *commitGit {
	return &commitGit{refs: map[string]map[string]string{}, head: map[string]string{}, changes: map[string]*Change{}}
}

// commit is a hash that one can read.
func commit(n int) string { return fmt.Sprintf("%040x", n) }

func (g *commitGit) push(url, ref, hash string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refs[url] == nil {
		g.refs[url] = map[string]string{}
	}
	if hash == "" {
		delete(g.refs[url], ref)
		return
	}
	g.refs[url][ref] = hash
}

func (g *commitGit) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
}

func (g *commitGit) looked() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.looks
}

func (g *commitGit) Refs(_ context.Context, r Remote, prefixes []string) (*Listing, error) {
	if g.slow > 0 {
		time.Sleep(g.slow)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.looks++
	if g.err != nil {
		return nil, g.err
	}
	l := &Listing{Refs: map[string]string{}, Head: g.head[r.URL]}
	for name, hash := range g.refs[r.URL] {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			l.Refs[name] = hash
		}
	}
	if hash := g.refs[r.URL][l.Head]; hash != "" && slices.Contains(prefixes, headRef) {
		l.Refs[headRef] = hash
	}
	return l, nil
}

func (g *commitGit) Change(_ context.Context, _ Remote, before, after string) (*Change, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.changes[after]
	if c == nil {
		return new(Change), nil
	}
	known := *c
	known.Known = before != ""
	return &known, nil
}

const testRepository = "https://git.example.com/alice/app.git"

// commitTask waits for commits.
func commitTask(name string, change func(*runner.SourceTrigger)) *runner.Task {
	s := runner.SourceTrigger{
		Name: "src", Repository: runner.SourceRepository{URL: testRepository, Branch: "main"},
		Events: []string{runner.CommitEvent}, Status: runner.Enabled,
	}
	if change != nil {
		change(&s)
	}
	t := &runner.Task{Name: name}
	t.Step = runner.TaskStep{Type: runner.DockerStep, ContextPath: testRepository + "#main:svc", Dockerfile: "Dockerfile"}
	t.Trigger = &runner.TaskTrigger{Sources: []runner.SourceTrigger{s}}
	return t
}
