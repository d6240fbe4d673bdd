package triggers

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
	"unique"

	"acrd/eventing"
	"acrd/runner"
)

// Commits start runs when a repository has changed.
//
// Each repository is looked at for all the tasks that watch it with one
// credential: one request for the refs that they wait for. A look compares with
// what the watch remembers, and makes an intent for each ref that has moved, at
// the commit where it is by then. A webhook only says that it is time to look.
// So whatever was noticed twice, late, or not at all by one of the two, the
// next look puts right.
//
//	Look ----+
//	         +--> claimed watch --> host's turn --> Git.Refs --> sight.see --> Intend
//	time  ---+                                                          \--> SaveWatch
type Commits struct {
	Tasks   Definitions
	Watches Watchlist
	Intents Intents
	Git     Git
	Events  EventLog // nil: nobody is told
	// Every is how long a repository is left alone; 0 means a minute.
	Every time.Duration
	Log   *slog.Logger

	once sync.Once
	mu   sync.Mutex // guards asks and looked
	asks map[string]bool
	wake chan struct{}
	// looked is when each watch was last looked at here: most looks are not
	// kept.
	looked map[string]time.Time
	tips   tips
}

// Definitions are all stored tasks. internal/store implements it.
type Definitions interface {
	// Task is runner.ErrNotFound if there is none.
	Task(ctx context.Context, name string) (*runner.Task, error)
	// Tasks are at most limit, by name, from the one after the name.
	Tasks(ctx context.Context, after string, limit int) ([]*runner.Task, error)
	// TasksVersion is another text whenever a task has changed.
	TasksVersion(ctx context.Context) (string, error)
}

// A Watchlist keeps watches, and shares them among daemons. Each method is one
// transaction. internal/store implements it.
type Watchlist interface {
	Watches(ctx context.Context, kind string) ([]Watch, error)
	// AddWatch does nothing if the watch is there.
	AddWatch(ctx context.Context, kind, id string, doc json.RawMessage, next time.Time) error
	// ClaimWatches returns those that are due and that nobody holds. One that
	// is not saved is due again after the lease.
	ClaimWatches(ctx context.Context, kind string, now time.Time, limit int, lease time.Duration) ([]Watch, error)
	// SaveWatch ends the claim. It is runner.ErrFenced if that is over.
	SaveWatch(ctx context.Context, kind string, w Watch, next time.Time) error
	// LookAt makes a watch due.
	LookAt(ctx context.Context, kind, id string, at time.Time) error
	DeleteWatch(ctx context.Context, kind, id string) error
}

// An EventLog takes events. internal/store implements it.
type EventLog interface {
	AddEvents(ctx context.Context, events ...eventing.Event) error
}

// The kinds of watches that are commits'.
const (
	repositories = "repositories"
	pulls        = "pulls" // from forks, waiting for somebody's approval
)

const (
	tick = time.Second
	// claimed is how many watches are claimed in one transaction.
	claimed = 512
	// perHost is how many looks at one host go on at a time.
	perHost = 8
	// lookPatience bounds one look, the fetch of a commit included.
	lookPatience = 2 * time.Minute
)

// never is when a suspended watch is looked at.
func never() time.Time { return time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) }

// A repository is one that is watched, and who waits for it.
type repository struct {
	id     string
	remote Remote
	host   string
	wants  []want
	edited time.Time // when the last of the tasks was
	refs   []string  // patterns of what they wait for
}

// settle is called when all who wait are known.
func (r *repository) settle() {
	var all []string
	for i := range r.wants {
		all = append(all, r.wants[i].refs()...)
	}
	slices.Sort(all)
	r.refs = slices.Clip(slices.Compact(all))
}

// init makes the zero value ready.
func (c *Commits) init() {
	c.once.Do(func() { c.asks, c.wake, c.looked = map[string]bool{}, make(chan struct{}, 1), map[string]time.Time{} })
}

func (c *Commits) lookedAt(id string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked[id] = at
}

// last is when this process has last looked at a watch, and when the next look
// is due; zero if it has not since what the store says.
func (c *Commits) last(id string, kept time.Time) (looked, next time.Time) {
	if c == nil {
		return looked, next
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.looked[id]; at.After(kept) {
		return at, at.Add(c.every())
	}
	return looked, next
}

// Look asks for a look at what a trigger watches, at once.
func (c *Commits) Look(task, trigger string) {
	c.init()
	c.mu.Lock()
	c.asks[task+"/"+trigger] = true
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// later is for a look that is asked for too soon after another.
func (c *Commits) later(trigger string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asks[trigger] = true
}

func (c *Commits) takeAsked() map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	asked := c.asks
	c.asks = map[string]bool{}
	return asked
}

// Serve looks at repositories until ctx has ended, and returns when no look is
// under way.
func (c *Commits) Serve(ctx context.Context) error {
	c.init()
	p := newPatrol(c)
	defer p.wait()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		if err := p.sync(ctx); err != nil && ctx.Err() == nil {
			c.log().Warn("tasks could not be read for their repositories", "err", err)
		}
		p.answer(ctx, c.takeAsked())
		p.claim(ctx)
		for again := false; !again; {
			select {
			case <-ctx.Done():
				return nil
			case o := <-p.done:
				p.note(ctx, o)
			case <-c.wake:
				again = true
			case <-ticker.C:
				again = true
			}
		}
	}
}

func (c *Commits) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}

func (c *Commits) every() time.Duration { return cmp.Or(c.Every, lookEvery) }

// repositories reads from all tasks what is to be watched, by the ids of the
// watches, and which one each trigger has.
func (c *Commits) repositories(ctx context.Context) (all map[string]*repository, byTrigger map[string]string, err error) {
	all, byTrigger = map[string]*repository{}, map[string]string{}
	for after := ""; ; {
		tasks, err := c.Tasks.Tasks(ctx, after, 200)
		if err != nil {
			return nil, nil, err
		}
		for _, t := range tasks {
			after = t.Name
			c.addTask(all, byTrigger, t)
		}
		if len(tasks) < 200 {
			break
		}
	}
	for _, r := range all {
		r.settle()
	}
	return all, byTrigger, c.addBeginnings(ctx, all)
}

func (c *Commits) addTask(all map[string]*repository, byTrigger map[string]string, t *runner.Task) {
	if t.Trigger == nil || !t.Status.Active() {
		return
	}
	for i := range t.Trigger.Sources {
		s := &t.Trigger.Sources[i]
		if !s.Status.Active() || !slices.Contains(s.Events, runner.CommitEvent) {
			continue
		}
		remote := remoteOf(t, s)
		sum := sha256.Sum256([]byte(remote.URL + "\x00" + remote.Token))
		id := hex.EncodeToString(sum[:16])
		r := all[id]
		if r == nil {
			r = &repository{id: id, remote: remote, host: unique.Make(repositoryHost(remote.URL)).Value()}
			all[id] = r
		}
		r.wants = append(r.wants, newWant(t.Name, s))
		if t.Updated.After(r.edited) {
			r.edited = t.Updated
		}
		byTrigger[t.Name+"/"+s.Name] = id
	}
}

// remoteOf is what a trigger looks at. Without a token of its own it has the
// one of the task's source, if that is the same repository.
func remoteOf(t *runner.Task, s *runner.SourceTrigger) Remote {
	r := Remote{URL: s.Repository.URL}
	if s.Repository.Auth != nil {
		r.Token = s.Repository.Auth.Token.Reveal()
	}
	if r.Token == "" && pinned(t.Step.ContextPath, s.Repository.URL, "HEAD") != "" {
		r.Token = t.Step.ContextAccessToken.Reveal()
	}
	return r
}

// look looks at a repository, makes intents of what has moved, and changes s to
// what is known then. Told are the notes of webhooks that it has seen to.
func (c *Commits) look(ctx context.Context, r *repository, s *sight, how string) (told map[string]bool, err error) {
	l, err := c.Git.Refs(ctx, r.remote, prefixes(r.refs))
	if err != nil {
		return nil, err
	}
	if told, err = c.told(ctx, r); err != nil {
		return nil, err
	}
	next := *s
	next.Skipped = slices.Clone(s.Skipped)
	now := time.Now()
	moves := next.see(l, r.refs, now)
	if moves = append(moves, next.begin(r, s, l, told)...); len(moves) > 0 {
		next.count(now)
	}
	for i := range moves {
		if err := c.moved(ctx, r, s, &next, &moves[i], how); err != nil {
			return nil, err
		}
	}
	for ref := range s.Refs {
		if _, there := next.Refs[ref]; !there && newGlob(r.refs).match(ref) {
			c.tips.gone(r, ref, next.Moves)
		}
	}
	*s = next
	return told, nil
}

// moved makes the intents of one ref that has moved since known.
func (c *Commits) moved(ctx context.Context, r *repository, known, s *sight, m *move, how string) error {
	var change *Change
	before := ""
	for i := range r.wants {
		if w := &r.wants[i]; m.concerns(w, known) && len(w.paths) > 0 {
			before = m.before
		}
	}
	for i := range r.wants {
		w := &r.wants[i]
		if !m.concerns(w, known) {
			continue
		}
		if change == nil {
			change = c.change(ctx, r, before, m.after)
		}
		if why := w.declines(change); why != "" {
			s.skip(Skip{Task: w.task, Ref: m.ref, Commit: m.after, Why: why, At: time.Now()})
			c.tell(ctx, eventing.TriggerSkipped, Intent{Task: w.task, Kind: Commit, Key: c.key(r, s, m), Commit: m.after}, why)
			continue
		}
		if err := c.intend(ctx, r, s, w, m, how); err != nil {
			return err
		}
	}
	return nil
}

// change is what a commit changes. One that cannot be read is built: better one
// build too many than one too few.
func (c *Commits) change(ctx context.Context, r *repository, before, after string) *Change {
	change, err := c.Git.Change(ctx, r.remote, before, after)
	if err != nil {
		c.log().Warn("commit could not be read", "repository", RepositoryName(r.remote.URL), "commit", after, "err", err)
		return new(Change)
	}
	return change
}

// declines says why a trigger does not want a commit of a ref that it waits
// for; empty: it does.
func (w *want) declines(change *Change) string {
	if word := skipWord(change.Message); word != "" {
		return "skipped: " + word + " in the message of the commit"
	}
	if change.Known && len(w.paths) > 0 && !w.touches(change.Paths) {
		return "skipped: the commit touches none of the paths"
	}
	return ""
}

// key counts moves, but for what only webhooks know has moved: that is built
// once, however often it is told.
func (c *Commits) key(r *repository, s *sight, m *move) string {
	moves := s.Moves
	if m.told {
		moves = 0
	}
	return fmt.Sprintf("commit %s %s %s %d", RepositoryName(r.remote.URL), m.ref, m.after, moves)
}

func (c *Commits) intend(ctx context.Context, r *repository, s *sight, w *want, m *move, how string) error {
	t, err := c.Tasks.Task(ctx, w.task)
	if errors.Is(err, runner.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	name := RepositoryName(r.remote.URL)
	what := cmp.Or(m.branch, m.ref)
	in := Intent{
		Task: w.task, Kind: Commit, Key: c.key(r, s, m), At: time.Now(),
		Reason: fmt.Sprintf("commit %.12s on %s of %s (%s)", m.after, what, name, how),
		Source: pinned(t.Step.ContextPath, r.remote.URL, m.after),
		Commit: m.after, Branch: m.branch, GitTag: shortTag(m.ref), Repository: r.remote.URL,
		Cause: &runner.Cause{Source: &runner.SourceCause{
			ID: w.trigger, EventType: runner.CommitEvent, CommitID: m.after, RepositoryURL: r.remote.URL,
			BranchName: m.branch, ProviderType: providerType(t, w.trigger),
		}},
	}
	// Before there can be a run of it. If this fails, the next look repeats it.
	c.tips.set(w.task, r.remote.URL, m.branch, standing{m.after, s.Moves, in.At})
	_, err = c.Intents.Intend(ctx, in)
	return err
}

func providerType(t *runner.Task, trigger string) string {
	for _, s := range t.Trigger.Sources {
		if s.Name == trigger {
			return s.Repository.Type
		}
	}
	return ""
}

func (c *Commits) tell(ctx context.Context, what string, in Intent, why string) {
	if c.Events == nil {
		return
	}
	at := time.Now()
	if err := c.Events.AddEvents(ctx, NewEvent(what, in, Decision{Why: why, At: at}, at)); err != nil {
		c.log().Warn("event could not be kept", "type", what, "err", err)
	}
}

// A Watched is what a task's trigger looks at, for people.
type Watched struct {
	Trigger, Repository string
	Refs                map[string]string // the commits of what it waits for
	Looked, Moved, Next time.Time
	Err                 string
	Suspended           bool
	Skipped             []Skip // the task's own
}

// Watched tells what a task watches, and what was seen there.
func (c *Commits) Watched(ctx context.Context, task string) ([]Watched, error) {
	t, err := c.Tasks.Task(ctx, task)
	if err != nil {
		return nil, err
	}
	mine, byTrigger := map[string]*repository{}, map[string]string{}
	c.addTask(mine, byTrigger, t)
	if len(mine) == 0 {
		return nil, nil
	}
	watches, err := c.Watches.Watches(ctx, repositories)
	if err != nil {
		return nil, err
	}
	var all []Watched
	for _, w := range watches {
		r := mine[w.ID]
		if r == nil {
			continue
		}
		var s sight
		if err := json.Unmarshal(w.Doc, &s); err != nil {
			return nil, fmt.Errorf("watch %s: %w", w.ID, err)
		}
		next := w.Next
		if at, due := c.last(w.ID, s.Looked); !at.IsZero() {
			s.Looked, next = at, due
		}
		all = append(all, watchedBy(r, &s, next, task)...)
	}
	return all, nil
}

func watchedBy(r *repository, s *sight, next time.Time, task string) []Watched {
	var all []Watched
	for i := range r.wants {
		w := &r.wants[i]
		refs := maps.Clone(s.Refs)
		g := newGlob(w.refs())
		maps.DeleteFunc(refs, func(name, _ string) bool { return !g.match(name) })
		one := Watched{
			Trigger: w.trigger, Repository: RepositoryName(r.remote.URL), Refs: refs, Looked: s.Looked, Moved: s.Moved,
			Next: next, Err: s.Err, Suspended: !s.Suspended.IsZero(),
		}
		for _, k := range s.Skipped {
			if k.Task == task {
				one.Skipped = append(one.Skipped, k)
			}
		}
		all = append(all, one)
	}
	return all
}
