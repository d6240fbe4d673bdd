package triggers

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"acrd/eventing"
	"acrd/runner"

	"github.com/google/go-cmp/cmp"
)

// A desk is everything that a scheduler asks, in memory.
type desk struct {
	mu      sync.Mutex
	tasks   map[string]*runner.Task
	open    []Intent
	settled map[wishID]Decision
	runs    []*deskRun
	graph   *Graph
	lineage map[string][]string // of images, by digest
	ended   func(r *deskRun)    // what Ended does
	events  []eventing.Event
	full    bool // nothing can be decided but with a run
}

type deskRun struct {
	id    string
	req   runner.Request
	ended time.Time
}

func newDesk(g *Graph, tasks ...string) *desk {
	d := &desk{tasks: map[string]*runner.Task{}, settled: map[wishID]Decision{}, graph: g, lineage: map[string][]string{}}
	for _, name := range tasks {
		d.tasks[name] = &runner.Task{Name: name, TaskSpec: runner.TaskSpec{Step: runner.TaskStep{Type: runner.DockerStep, Dockerfile: "Dockerfile"}}}
	}
	return d
}

func (d *desk) Task(_ context.Context, name string) (*runner.Task, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t, ok := d.tasks[name]
	if !ok {
		return nil, runner.ErrNotFound
	}
	return t, nil
}

func (d *desk) Intend(_ context.Context, all ...Intent) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fresh := 0
	for _, i := range all {
		_, decided := d.settled[wishID{i.Task, i.Key}]
		if decided || slices.ContainsFunc(d.open, func(o Intent) bool { return o.Task == i.Task && o.Key == i.Key }) {
			continue
		}
		fresh++
		d.open = append(d.open, i)
	}
	return fresh, nil
}

func (d *desk) Open(context.Context) ([]Intent, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.open), nil
}

func (d *desk) Decide(_ context.Context, task string, keys []string, dec Decision) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full {
		return runner.ErrNoSpace
	}
	d.decide(task, keys, dec)
	return nil
}

func (d *desk) decide(task string, keys []string, dec Decision) {
	d.open = slices.DeleteFunc(d.open, func(i Intent) bool {
		if i.Task != task || !slices.Contains(keys, i.Key) {
			return false
		}
		d.settled[wishID{task, i.Key}] = dec
		return true
	})
}

func (d *desk) Decided(context.Context, string, int) ([]Settled, error) { return nil, nil }

func (d *desk) Submit(_ context.Context, req runner.Request) (*runner.Run, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, key := range req.Intents {
		if !slices.ContainsFunc(d.open, func(i Intent) bool { return i.Task == req.Task && i.Key == key }) {
			return nil, fmt.Errorf("queue run: %w", runner.ErrDecided)
		}
	}
	r := &deskRun{id: fmt.Sprintf("r%d", len(d.runs)+1), req: req}
	d.runs = append(d.runs, r)
	d.decide(req.Task, req.Intents, Decision{Run: r.id})
	d.decide(req.Task, req.Superseded, Decision{Why: "superseded"})
	return &runner.Run{ID: r.id}, nil
}

func (d *desk) ActiveRuns(context.Context) ([]Active, error) { return d.list(false), nil }

func (d *desk) EndedRuns(context.Context, time.Time) ([]Active, error) { return d.list(true), nil }

func (d *desk) list(ended bool) []Active {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []Active
	for _, r := range d.runs {
		if ended != r.ended.IsZero() {
			all = append(all, Active{r.id, r.req.Task, true})
		}
	}
	return all
}

func (d *desk) Graph(context.Context) (*Graph, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.graph, true, nil
}

func (d *desk) Ended(_ context.Context, run string) error {
	d.mu.Lock()
	i := slices.IndexFunc(d.runs, func(r *deskRun) bool { return r.id == run })
	d.mu.Unlock()
	if d.ended != nil {
		d.ended(d.runs[i])
	}
	return nil
}

func (d *desk) Origin(_ context.Context, i *Intent) ([]string, bool, error) {
	for _, digest := range i.Pins {
		if l, ok := d.lineage[digest]; ok {
			return l, true, nil
		}
	}
	return nil, false, nil
}

func (d *desk) Built(context.Context, *Intent) (bool, error) { return false, nil }

func (d *desk) Pins(context.Context, *runner.Task) (map[string]string, error) { return nil, nil }

func (d *desk) AddEvents(_ context.Context, events ...eventing.Event) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, events...)
	return nil
}

func (d *desk) end(i int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.runs[i].ended = time.Now()
}

func (d *desk) started() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []string
	for _, r := range d.runs {
		all = append(all, r.req.Task)
	}
	return all
}

func (d *desk) scheduler() *Scheduler {
	return &Scheduler{Intents: d, Tasks: d, Runs: d, Submit: d, Images: d, Events: d}
}

// serve runs n schedulers on one desk.
func (d *desk) serve(t *testing.T, n int) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for range n {
		running.Go(func() { _ = d.scheduler().Serve(ctx) })
	}
	t.Cleanup(func() { cancel(); running.Wait() })
}

// TestNothingAfterNewer queues a run for the newest of three commits, and then
// nothing can be written: no run for an older one may follow.
func TestNothingAfterNewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(NewGraph(nil, nil), "app")
		d.full = true
		for _, c := range []string{"1", "2", "3"} {
			_, _ = d.Intend(t.Context(), Intent{Task: "app", Kind: Commit, Key: "commit/" + c, Commit: c, Branch: "main", At: time.Now()})
		}
		d.serve(t, 1)
		time.Sleep(time.Minute)
		d.mu.Lock()
		d.runs[0].ended, d.full = time.Now(), false
		d.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(d.runs) != 1 || d.runs[0].req.Commit != "3" || len(d.open) > 0 {
			t.Errorf("%d runs, the first of commit %s; open: %v", len(d.runs), d.runs[0].req.Commit, d.open)
		}
	})
}

var held = regexp.MustCompile(`^commit 1; base image os:1, held 3[12] s for build of base$`)

// TestAzureDocs27796: a commit starts base and app together, and the app fails,
// for it is built on the old base. Here the app waits, and is built on the new.
func TestAzureDocs27796(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(NewGraph(map[string][]string{"base": {"r/os:1"}}, map[string][]string{"app": {"r/os:1"}}), "base", "app")
		d.ended = func(r *deskRun) {
			if r.req.Task == "base" {
				d.lineage["sha256:new"] = []string{"base"}
				_, _ = d.Intend(t.Context(), Intent{Task: "app", Kind: BaseImage, Key: "image/r/os:1@sha256:new", Reason: "base image os:1", Pins: map[string]string{"r/os:1": "sha256:new"}, At: time.Now()})
			}
		}
		commit := func(task string) Intent {
			return Intent{Task: task, Kind: Commit, Key: "commit/1", Reason: "commit 1", Commit: "1", Branch: "main", At: time.Now()}
		}
		_, _ = d.Intend(t.Context(), commit("app"), commit("base"))
		d.serve(t, 1)
		time.Sleep(31 * time.Second)
		if diff := cmp.Diff([]string{"base"}, d.started()); diff != "" {
			t.Fatalf("while base is built:\n%s", diff)
		}
		d.end(0)
		time.Sleep(2 * time.Second)
		if diff := cmp.Diff([]string{"base", "app"}, d.started()); diff != "" {
			t.Fatal(diff)
		}
		app := d.runs[1].req
		if app.Commit != "1" || app.Pins["r/os:1"] != "sha256:new" || !held.MatchString(app.Reason) {
			t.Errorf("app is built as %+v", app)
		}
		if len(d.events) != 1 || d.events[0].Type != eventing.TriggerHeld {
			t.Errorf("events are %+v", d.events)
		}
	})
}

// TestCircle: a and b build on each other. What one pushes is noticed while its
// run goes on, when nobody knows yet who has led to it; still it ends.
func TestCircle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(NewGraph(map[string][]string{"a": {"r/a:1"}, "b": {"r/b:1"}}, map[string][]string{"a": {"r/b:1"}, "b": {"r/a:1"}}), "a", "b")
		d.serve(t, 1)
		_, _ = d.Intend(t.Context(), Intent{Task: "a", Kind: Commit, Key: "commit/1", At: time.Now()})
		other := map[string]string{"a": "b", "b": "a"}
		for n := range 10 {
			time.Sleep(time.Minute)
			if len(d.started()) == n {
				break
			}
			r := d.runs[n]
			image, digest := "r/"+r.req.Task+":1", "sha256:"+r.id
			_, _ = d.Intend(t.Context(), Intent{Task: other[r.req.Task], Kind: BaseImage, Key: digest, Pins: map[string]string{image: digest}, At: time.Now()})
			time.Sleep(time.Minute)
			d.lineage[digest] = union(r.req.Lineage, []string{r.req.Task})
			d.end(n)
		}
		if diff := cmp.Diff([]string{"a", "b"}, d.started()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestManySchedulers: of three on one store, one starts the run.
func TestManySchedulers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(NewGraph(nil, nil), "one", "two")
		d.serve(t, 3)
		for i := range 20 {
			_, _ = d.Intend(t.Context(), Intent{Task: []string{"one", "two"}[i%2], Kind: Timer, Key: fmt.Sprint("timer/", i), At: time.Now()})
			time.Sleep(700 * time.Millisecond)
			for i := range d.started() {
				d.end(i)
			}
		}
		time.Sleep(3 * time.Second)
		if n := len(d.started()); n != 20 {
			t.Errorf("%d runs for 20 intents", n)
		}
	})
}

// TestSkipped: what does not run is settled, with the reason.
func TestSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(NewGraph(nil, nil), "off", "loop")
		d.tasks["off"].Status = runner.Disabled
		d.lineage["sha256:own"] = []string{"loop", "other"}
		_, _ = d.Intend(t.Context(),
			Intent{Task: "off", Kind: Timer, Key: "1"}, Intent{Task: "gone", Kind: Timer, Key: "2"},
			Intent{Task: "loop", Kind: BaseImage, Key: "3", Pins: map[string]string{"r/a:1": "sha256:own"}},
		)
		d.serve(t, 1)
		time.Sleep(time.Second)
		for id, want := range map[wishID]string{
			{"off", "1"}: "disabled", {"gone", "2"}: "deleted", {"loop", "3"}: "loop -> other -> loop",
		} {
			if got := d.settled[id]; !strings.Contains(got.Why, want) || got.Run != "" {
				t.Errorf("%v is settled as %+v; want %q", id, got, want)
			}
		}
		if len(d.started()) != 0 {
			t.Errorf("started %v", d.started())
		}
	})
}

var errStore = errors.New("the store is away")

// flaky fails now and then.
type flaky struct {
	*desk
	asked int
}

func (f *flaky) Open(ctx context.Context) ([]Intent, error) {
	if f.asked++; f.asked%3 != 0 {
		return nil, errStore
	}
	return f.desk.Open(ctx)
}

// TestStoreAway: what could not be read is read later.
func TestStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(NewGraph(nil, nil), "one")
		_, _ = d.Intend(t.Context(), Intent{Task: "one", Kind: Timer, Key: "1"})
		s := d.scheduler()
		s.Intents = &flaky{desk: d}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { _ = s.Serve(ctx); close(done) }()
		time.Sleep(5 * time.Second)
		cancel()
		<-done
		if diff := cmp.Diff([]string{"one"}, d.started()); diff != "" {
			t.Error(diff)
		}
	})
}
