package storetest

import (
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/internal/store"
	"acrd/runner"
	"acrd/triggers"

	"github.com/google/go-cmp/cmp"
)

func intend(t *testing.T, db *store.DB, all ...triggers.Intent) int {
	t.Helper()
	n, err := db.Intend(t.Context(), all...)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func openKeys(t *testing.T, db *store.DB) []string {
	t.Helper()
	all, err := db.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, in := range all {
		keys = append(keys, in.Task+" "+in.Key)
	}
	return keys
}

func eventTypes(t *testing.T, db *store.DB) []string {
	t.Helper()
	all, err := db.OpenEvents(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, e := range all {
		types = append(types, e.Type)
	}
	return types
}

func intents(t *testing.T, db *store.DB) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	a := triggers.Intent{Task: "app", Kind: triggers.Commit, Key: "a", Reason: "pushed", Source: "https://git.example/app#1", Pins: map[string]string{"node:22": "sha256:aa"}, At: now}
	b := triggers.Intent{Task: "app", Kind: triggers.Timer, Key: "b", Cause: &runner.Cause{Timer: &runner.TimerCause{Name: "b"}}, At: now.Add(-time.Second)}
	other := triggers.Intent{Task: "web", Kind: triggers.Commit, Key: "a", At: now.Add(time.Second)}
	if n := intend(t, db, a, b, a); n != 2 {
		t.Errorf("%d are new, want 2", n)
	}
	if n := intend(t, db, a, other); n != 1 {
		t.Errorf("%d are new, want 1", n)
	}
	open, err := db.Open(t.Context())
	if diff := cmp.Diff([]triggers.Intent{b, a, other}, open); diff != "" || err != nil {
		t.Errorf("open (-want +got, %v):\n%s", err, diff)
	}
	d := triggers.Decision{Why: "skipped: [skip ci]", At: now.Add(time.Minute)}
	for range 2 { // the second changes nothing
		if err := db.Decide(t.Context(), "app", []string{"a", "none"}, d); err != nil {
			t.Fatal(err)
		}
		d.Why = "again"
	}
	if diff := cmp.Diff([]string{"app b", "web a"}, openKeys(t, db)); diff != "" {
		t.Errorf("open (-want +got):\n%s", diff)
	}
	d.Why = "skipped: [skip ci]"
	decided, err := db.Decided(t.Context(), "app", 10)
	if diff := cmp.Diff([]triggers.Settled{{Intent: a, Decision: d}}, decided); diff != "" || err != nil {
		t.Errorf("decided (-want +got, %v):\n%s", err, diff)
	}
	if n := intend(t, db, a); n != 0 {
		t.Error("what was decided is new again")
	}
	if diff := cmp.Diff([]string{eventing.TriggerFired, eventing.TriggerFired, eventing.TriggerFired, eventing.TriggerSkipped}, eventTypes(t, db)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func forTask(task, reason string, keys ...string) *runner.Run {
	now := time.Now().UTC()
	return &runner.Run{
		Type: runner.AutoBuild, Status: runner.Queued, Created: now, Updated: now,
		Request: runner.Request{Task: task, Reason: reason, Intents: keys, Cause: &runner.Cause{Timer: &runner.TimerCause{Name: "t"}}},
	}
}

func queued(r *runner.Run) ([]eventing.Event, error) {
	return []eventing.Event{runner.NewRunEvent(eventing.RunQueued, r)}, nil
}

// answers: of schedulers that submit for the same intents, one has a run.
func answers(t *testing.T, db *store.DB) {
	intend(t, db, triggers.Intent{Task: "app", Key: "a"}, triggers.Intent{Task: "app", Key: "b"}, triggers.Intent{Task: "app", Key: "c"})
	var won, lost atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			switch err := db.AddRun(t.Context(), forTask("app", "held 3 s", "a", "b"), queued); {
			case err == nil:
				won.Add(1)
			case errors.Is(err, runner.ErrDecided):
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	runs := list(t, db, runner.Filter{})
	if won.Load() != 1 || lost.Load() != 7 || len(runs) != 1 {
		t.Fatalf("%d won, %d lost, runs %v", won.Load(), lost.Load(), runs)
	}
	decided, err := db.Decided(t.Context(), "app", 10)
	if err != nil || len(decided) != 2 || decided[0].Run != runs[0] || decided[0].Why != "held 3 s" {
		t.Errorf("decided %+v (%v)", decided, err)
	}
	// One that is undecided stays so, if the run is for another as well.
	for _, keys := range [][]string{{"c", "a"}, {"c", "unknown"}} {
		if err := db.AddRun(t.Context(), forTask("app", "", keys...), queued); !errors.Is(err, runner.ErrDecided) {
			t.Errorf("run for %v: %v", keys, err)
		}
	}
	if diff := cmp.Diff([]string{"app c"}, openKeys(t, db)); diff != "" {
		t.Errorf("open (-want +got):\n%s", diff)
	}
	intend(t, db, triggers.Intent{Task: "app", Key: "d"}, triggers.Intent{Task: "app", Key: "e"})
	newer := forTask("app", "", "e")
	newer.Request.Superseded = []string{"d", "a"} // the latter is decided
	if err := db.AddRun(t.Context(), newer, queued); err != nil {
		t.Fatal(err)
	}
	if decided, err := db.Decided(t.Context(), "app", 10); err != nil || len(decided) != 4 || !slices.ContainsFunc(decided, func(s triggers.Settled) bool {
		return s.Key == "d" && s.Run == "" && s.Why == "superseded by a newer commit, which run "+newer.ID+" builds"
	}) {
		t.Errorf("decided %+v (%v)", decided, err)
	}
	reason := errors.New("no log")
	if err := db.AddRun(t.Context(), forTask("app", "", "c"), func(*runner.Run) ([]eventing.Event, error) { return nil, reason }); !errors.Is(err, reason) {
		t.Errorf("got %v", err)
	}
	if len(openKeys(t, db)) != 1 {
		t.Error("a run that was not queued has answered")
	}
	if err := db.RemoveIntents(t.Context(), -time.Hour); err != nil {
		t.Fatal(err)
	}
	if decided, _ := db.Decided(t.Context(), "app", 10); len(decided) != 0 || len(openKeys(t, db)) != 1 {
		t.Errorf("left: %v", decided)
	}
}

func forgotten(t *testing.T, db *store.DB) {
	save := func(name string) {
		_, err := db.ChangeTask(t.Context(), name, func(*runner.Task) (*runner.Task, error) {
			return &runner.Task{Name: name, TaskSpec: runner.TaskSpec{Trigger: &runner.TaskTrigger{Timers: []runner.TimerTrigger{{Name: "t1", Schedule: "* * * * *"}}}}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		intend(t, db, triggers.Intent{Task: name, Key: "k"})
		if err := db.SaveBases(t.Context(), name, []triggers.Base{{Task: name, Ref: "node:22"}}); err != nil {
			t.Fatal(err)
		}
	}
	save("first")
	save("second")
	if err := db.RemoveTask(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	if err := db.RemoveTask(t.Context(), "first"); !errors.Is(err, runner.ErrNotFound) {
		t.Errorf("removing it again: %v", err)
	}
	timers, err1 := db.Timers(t.Context())
	bases, err2 := db.AllBases(t.Context())
	if keys := openKeys(t, db); len(timers) != 1 || len(bases) != 1 || len(keys) != 1 || timers[0].Task != "second" || err1 != nil || err2 != nil {
		t.Errorf("left: %v, %v, %v (%v, %v)", timers, bases, keys, err1, err2)
	}
	if n := intend(t, db, triggers.Intent{Task: "first", Key: "k"}); n != 1 {
		t.Error("a new task of the name knows the old one's intents")
	}
}

func watches(t *testing.T, db *store.DB) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	for i, id := range []string{"a", "b", "c"} {
		for range 2 { // the second changes nothing
			if err := db.AddWatch(t.Context(), "git", id, json.RawMessage(`{"id":"`+id+`"}`), now.Add(time.Duration(i-1)*time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := db.AddWatch(t.Context(), "image", "a", json.RawMessage(`1`), now.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	claim := func(at time.Time) []triggers.Watch {
		t.Helper()
		all, err := db.ClaimWatches(t.Context(), "git", at, 10, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	first := claim(now)
	if len(first) != 2 || string(first[0].Doc) != `{"id":"`+first[0].ID+`"}` {
		t.Fatalf("claimed %+v", first)
	}
	if again := claim(now); len(again) != 0 {
		t.Errorf("claimed twice: %+v", again)
	}
	second := claim(now.Add(time.Minute)) // the lease is over
	if len(second) != 3 {
		t.Fatalf("claimed %+v after the lease", second)
	}
	if err := db.SaveWatch(t.Context(), "git", first[0], now); !errors.Is(err, runner.ErrFenced) {
		t.Errorf("who has lost the claim saves: %v", err)
	}
	for _, w := range second {
		w.Doc = json.RawMessage(`{"seen":"` + w.ID + `"}`)
		if err := db.SaveWatch(t.Context(), "git", w, now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := db.SaveWatch(t.Context(), "git", w, now); !errors.Is(err, runner.ErrFenced) {
			t.Errorf("saved twice: %v", err)
		}
	}
	if err := db.DeleteWatch(t.Context(), "git", "b"); err != nil {
		t.Fatal(err)
	}
	all, err := db.Watches(t.Context(), "git")
	want := []triggers.Watch{{ID: "a", Doc: json.RawMessage(`{"seen":"a"}`), Next: now.Add(time.Hour)}, {ID: "c", Doc: json.RawMessage(`{"seen":"c"}`), Next: now.Add(time.Hour)}}
	if diff := cmp.Diff(want, all); diff != "" || err != nil {
		t.Errorf("watches (-want +got, %v):\n%s", err, diff)
	}
}

func looks(t *testing.T, db *store.DB) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	if err := db.AddWatch(t.Context(), "git", "a", json.RawMessage(`1`), now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	claim := func(at time.Time) []triggers.Watch {
		t.Helper()
		all, err := db.ClaimWatches(t.Context(), "git", at, 10, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	look := func(at time.Time) {
		t.Helper()
		if err := db.LookAt(t.Context(), "git", "a", at); err != nil {
			t.Fatal(err)
		}
	}
	rung := db.TriggersChanged()
	look(now)
	select {
	case <-rung:
	default:
		t.Error("nobody was woken")
	}
	w := claim(now)
	if len(w) != 1 {
		t.Fatalf("claimed %v", w)
	}
	look(now.Add(time.Second)) // while somebody looks
	if err := db.SaveWatch(t.Context(), "git", w[0], now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if w = claim(now.Add(time.Second)); len(w) != 1 {
		t.Error("the look that was asked for is lost")
	}
}

func bases(t *testing.T, db *store.DB) {
	app := []triggers.Base{
		{Task: "app", Ref: "node:22", Platform: "linux/amd64", Role: "RunTime", Digest: "sha256:aa", Run: "ca1"},
		{Task: "app", Ref: "node:22", Platform: "linux/arm64", Role: "RunTime", Digest: "sha256:bb", Run: "ca1"},
	}
	web := []triggers.Base{{Task: "web", Ref: "node:22", Platform: "linux/amd64", Role: "BuildTime", Digest: "sha256:aa", Run: "ca2"}}
	old := []triggers.Base{{Task: "app", Ref: "node:20", Platform: "linux/amd64", Role: "RunTime", Digest: "sha256:00"}}
	for _, all := range [][]triggers.Base{old, app, web} {
		if err := db.SaveBases(t.Context(), all[0].Task, all); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string, want []triggers.Base) func([]triggers.Base, error) {
		return func(got []triggers.Base, err error) {
			t.Helper()
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%s (-want +got, %v):\n%s", what, err, diff)
			}
		}
	}
	both := append(append([]triggers.Base{}, app...), web...)
	check("of app", app)(db.BasesOf(t.Context(), "app"))
	check("node:22", both)(db.Bases(t.Context(), "node:22"))
	check("node:20", nil)(db.Bases(t.Context(), "node:20"))
	check("all", both)(db.AllBases(t.Context()))
}

func deliveries(t *testing.T, db *store.DB) {
	for i, want := range []bool{true, false} {
		if is, err := db.AddDelivery(t.Context(), "github", "1"); err != nil || is != want {
			t.Errorf("delivery %d is new: %v (%v)", i, is, err)
		}
	}
	if is, _ := db.AddDelivery(t.Context(), "gitlab", "1"); !is {
		t.Error("another kind has the same ids")
	}
	if err := db.RemoveDelivery(t.Context(), "github", "1"); err != nil {
		t.Fatal(err)
	}
	if is, _ := db.AddDelivery(t.Context(), "github", "1"); !is {
		t.Error("it was not forgotten")
	}
	if err := db.RemoveDeliveries(t.Context(), -time.Hour); err != nil {
		t.Fatal(err)
	}
	if is, _ := db.AddDelivery(t.Context(), "gitlab", "1"); !is {
		t.Error("it was not removed")
	}
}
