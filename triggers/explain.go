package triggers

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"acrd/runner"
)

// An Explainer says what starts a task, and why it did or did not.
type Explainer struct {
	Bases   *Bases
	Intents Intents
	Tasks   Tasks
	Runs    Runs
	// Commits and Timers may be nil.
	Commits *Commits
	Timers  interface {
		TimersOf(ctx context.Context, task string) ([]TimerState, error)
	}
}

// An Explanation is all that is known of a task's triggers.
type Explanation struct {
	Task    string `json:"task"`
	Enabled bool   `json:"enabled"`
	// Notes are what a person should know.
	Notes        []string            `json:"notes,omitempty"`
	Images       []WatchedImage      `json:"baseImages,omitempty"`
	Repositories []WatchedRepository `json:"repositories,omitempty"`
	Timers       []WatchedTimer      `json:"timers,omitempty"`
	// Upstream are the tasks that it builds on, directly.
	Upstream []string `json:"upstream,omitempty"`
	// Circle are the tasks, if any, that build on each other's images, this
	// one among them.
	Circle []string `json:"circle,omitempty"`
	// Waiting is what is noticed and not decided, Decided the latest that
	// was, the newest first.
	Waiting []Waiting `json:"waiting,omitempty"`
	Decided []Outcome `json:"decisions,omitempty"`
}

// A WatchedImage is an image that the task's last build was on, or its first
// will be.
type WatchedImage struct {
	Image    string `json:"image"`
	Role     string `json:"type"`
	Platform string `json:"platform,omitempty"`
	Digest   string `json:"digest,omitempty"`
	Run      string `json:"runId,omitempty"`
	// KnownFrom is "run ID", or "scan" if the image was found in the source and
	// nothing was built on it yet.
	KnownFrom string `json:"knownFrom,omitempty"`
	// Watched says that a change of it starts a run.
	Watched   bool      `json:"watched"`
	Looked    time.Time `json:"lastLook,omitzero"`
	Next      time.Time `json:"nextLook,omitzero"`
	Err       string    `json:"error,omitempty"`
	Suspended bool      `json:"suspended,omitempty"`
}

// A WatchedRepository is one that a source trigger looks at.
type WatchedRepository struct {
	Name      string            `json:"name"`
	URL       string            `json:"repositoryUrl"`
	Enabled   bool              `json:"enabled"`
	Refs      map[string]string `json:"refs,omitempty"`
	Looked    time.Time         `json:"lastLook,omitzero"`
	Next      time.Time         `json:"nextLook,omitzero"`
	Err       string            `json:"error,omitempty"`
	Suspended bool              `json:"suspended,omitempty"`
}

// A WatchedTimer is a timer, and when it fires.
type WatchedTimer struct {
	Name     string    `json:"name"`
	Schedule string    `json:"schedule"`
	Enabled  bool      `json:"enabled"`
	Last     time.Time `json:"lastFire,omitzero"`
	Next     time.Time `json:"nextFire,omitzero"`
}

// Waiting is an intent that is not decided, and for whom it waits.
type Waiting struct {
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	For    string    `json:"for,omitempty"`
}

// An Outcome is what became of an intent.
type Outcome struct {
	At     time.Time `json:"at"`
	Kind   Kind      `json:"kind"`
	Reason string    `json:"reason"`
	Run    string    `json:"runId,omitempty"`
	Why    string    `json:"why,omitempty"`
}

// Why explains a task; runner.ErrNotFound if there is none.
func (e *Explainer) Why(ctx context.Context, task string) (*Explanation, error) {
	t, err := e.Tasks.Task(ctx, task)
	if err != nil {
		return nil, err
	}
	x := &Explanation{Task: task, Enabled: t.Status.Active()}
	for _, part := range []func(context.Context, *runner.Task, *Explanation) error{e.images, e.repositories, e.timers, e.waiting, e.decided} {
		if err := part(ctx, t, x); err != nil {
			return nil, err
		}
	}
	if !x.Enabled {
		x.Notes = append(x.Notes, "the task is disabled: nothing starts it")
	}
	return x, nil
}

func (e *Explainer) images(ctx context.Context, t *runner.Task, x *Explanation) error {
	bases, err := e.Bases.Of(ctx, t.Name)
	if err != nil {
		return err
	}
	watches, err := e.Bases.Store.Watches(ctx, imageWatch)
	if err != nil {
		return err
	}
	trigger, err := e.Bases.trigger(ctx, t.Name)
	if err != nil {
		return err
	}
	for _, base := range bases {
		if base.Role != Output {
			x.Images = append(x.Images, watchedImage(base, trigger, watches))
		}
	}
	note := "there is no base image trigger, or it is disabled"
	if trigger != nil {
		if note, err = e.scanNote(ctx, t.Name, bases); err != nil {
			return err
		}
	}
	if note != "" {
		x.Notes = append(x.Notes, note)
	}
	g, err := e.Bases.draft(ctx)
	if err != nil {
		return err
	}
	x.Upstream = g.Up(t.Name)
	for _, loop := range g.Loops() {
		if slices.Contains(loop, t.Name) {
			x.Circle = loop
			x.Notes = append(x.Notes, "the tasks "+strings.Join(loop, ", ")+" build on each other's images, in a circle: each is started once by a change, and not again by what follows from it")
		}
	}
	return nil
}

// scanNote says what is still to be found out about base images.
func (e *Explainer) scanNote(ctx context.Context, task string, bases []Base) (string, error) {
	scans, err := e.Bases.Store.Watches(ctx, ScanWatch)
	if err != nil {
		return "", err
	}
	for _, w := range scans {
		var doc scanning
		if w.ID != task+"/" || json.Unmarshal(w.Doc, &doc) != nil {
			continue
		}
		if doc.Err == "" {
			return "the source is being scanned for base images", nil
		}
		return "the source could not be scanned for base images: " + doc.Err + "; a successful build says what they are: run the task once", nil
	}
	switch {
	case len(bases) == 0:
		return "base images are known after the first successful build: run the task once", nil
	case slices.ContainsFunc(bases, func(b Base) bool { return !b.Scanned.IsZero() }):
		return "base images are known from a scan of the source, until a build says more", nil
	}
	return "", nil
}

func watchedImage(base Base, trigger *runner.BaseImageTrigger, watches []Watch) WatchedImage {
	w := WatchedImage{
		Image: familiar(base.Ref), Role: base.Role, Platform: base.Platform, Digest: base.Digest, Run: base.Run, KnownFrom: "scan",
		Watched: trigger != nil && base.Ref != "" && (base.Role == RunTime || trigger.Type == runner.AllBases),
	}
	if base.Scanned.IsZero() {
		w.KnownFrom = "run " + base.Run
	}
	for _, watch := range watches {
		var seen Seen
		if watch.ID != base.Ref || json.Unmarshal(watch.Doc, &seen) != nil {
			continue
		}
		w.Looked, w.Next, w.Err, w.Suspended = seen.Looked, watch.Next, seen.Err, seen.Suspended
	}
	return w
}

// repositories joins the triggers with what looks at repositories remember.
func (e *Explainer) repositories(ctx context.Context, t *runner.Task, x *Explanation) error {
	if t.Trigger == nil || len(t.Trigger.Sources) == 0 {
		return nil
	}
	watches, err := e.Bases.Store.Watches(ctx, repositories)
	if err != nil {
		return err
	}
	for _, s := range t.Trigger.Sources {
		w := WatchedRepository{Name: s.Name, URL: s.Repository.URL, Enabled: s.Status.Active()}
		for _, watch := range watches {
			e.addWatch(&w, t.Name, watch, x)
		}
		x.Repositories = append(x.Repositories, w)
	}
	return nil
}

// addWatch adds what a watch has seen, if it is of this repository, and what
// the task was not run for.
func (e *Explainer) addWatch(w *WatchedRepository, task string, watch Watch, x *Explanation) {
	var seen sight
	if json.Unmarshal(watch.Doc, &seen) != nil || bare(seen.URL) != bare(w.URL) {
		return
	}
	w.Refs, w.Looked, w.Next, w.Err, w.Suspended = seen.Refs, seen.Looked, watch.Next, seen.Err, !seen.Suspended.IsZero()
	if at, next := e.Commits.last(watch.ID, seen.Looked); !at.IsZero() {
		w.Looked, w.Next = at, next
	}
	for _, k := range seen.Skipped {
		if k.Task == task {
			x.Decided = append(x.Decided, Outcome{At: k.At, Kind: Commit, Reason: "commit " + k.Commit + " on " + k.Ref, Why: k.Why})
		}
	}
}

// bare is a repository's URL without what does not tell it from others.
func bare(url string) string {
	if _, rest, ok := strings.Cut(url, "://"); ok {
		url = rest
	}
	if at := strings.LastIndexByte(url, '@'); at >= 0 {
		url = url[at+1:]
	}
	return strings.ToLower(strings.TrimSuffix(strings.TrimRight(url, "/"), ".git"))
}

func (e *Explainer) timers(ctx context.Context, t *runner.Task, x *Explanation) error {
	if t.Trigger == nil || len(t.Trigger.Timers) == 0 {
		return nil
	}
	var states []TimerState
	if e.Timers != nil {
		var err error
		if states, err = e.Timers.TimersOf(ctx, t.Name); err != nil {
			return err
		}
	}
	for _, timer := range t.Trigger.Timers {
		w := WatchedTimer{Name: timer.Name, Schedule: timer.Schedule, Enabled: timer.Status.Active()}
		for _, s := range states {
			if s.Timer.Name == timer.Name {
				w.Last, w.Next = s.Fired, s.Next
			}
		}
		x.Timers = append(x.Timers, w)
	}
	return nil
}

func (e *Explainer) waiting(ctx context.Context, t *runner.Task, x *Explanation) error {
	open, err := e.Intents.Open(ctx)
	if err != nil {
		return err
	}
	active, err := e.Runs.ActiveRuns(ctx)
	if err != nil {
		return err
	}
	pending := map[string]string{}
	for _, i := range open {
		pending[i.Task] = "task " + i.Task + ", which waits itself"
	}
	for _, r := range active {
		pending[r.Task] = "run " + r.Run + " of task " + r.Task
	}
	g, err := e.Bases.draft(ctx)
	if err != nil {
		return err
	}
	blocker := cmp.Or(upstream(g, t.Name, pending), own(pending[t.Name]), "its turn")
	for _, i := range open {
		if i.Task == t.Name {
			x.Waiting = append(x.Waiting, Waiting{Reason: i.Reason, Since: i.At, For: blocker})
		}
	}
	return nil
}

// own is what a task has pending itself, if that is a run.
func own(pending string) string {
	if strings.HasPrefix(pending, "run ") {
		return pending
	}
	return ""
}

// upstream is the nearest above a task that is pending.
func upstream(g *Graph, task string, pending map[string]string) string {
	seen := map[string]bool{task: true}
	for queue := g.Up(task); len(queue) > 0; queue = queue[1:] {
		u := queue[0]
		if seen[u] {
			continue
		}
		seen[u] = true
		if p := pending[u]; p != "" {
			return p
		}
		queue = append(queue, g.Up(u)...)
	}
	return ""
}

// lastDecisions is how many decisions are told.
const lastDecisions = 10

func (e *Explainer) decided(ctx context.Context, t *runner.Task, x *Explanation) error {
	all, err := e.Intents.Decided(ctx, t.Name, lastDecisions)
	for _, s := range all {
		x.Decided = append(x.Decided, Outcome{At: s.Decision.At, Kind: s.Kind, Reason: s.Reason, Run: s.Run, Why: s.Why})
	}
	slices.SortStableFunc(x.Decided, func(a, b Outcome) int { return b.At.Compare(a.At) })
	x.Decided = slices.Compact(x.Decided)
	return err
}

// Pins are what a run of the task resolves images to, whoever starts it.
func (e *Explainer) Pins(ctx context.Context, t *runner.Task) (map[string]string, error) {
	return e.Bases.Pins(ctx, t)
}

// Graph is who builds on whom.
func (e *Explainer) Graph(ctx context.Context) (*Picture, error) {
	g, err := e.Bases.draft(ctx)
	if err != nil {
		return nil, err
	}
	return g.Picture(), nil
}

// draft is the graph as it is, without saying whether it has changed.
func (b *Bases) draft(ctx context.Context) (*Graph, error) {
	if err := b.load(ctx); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.graph, nil
}
