package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/internal/store"
	"acrd/runner"
	"acrd/steps"

	"github.com/google/go-cmp/cmp"
)

// lease is one that does not end within a test.
const lease = time.Hour

// TestStore holds a store to what is expected of it. Fresh returns the URL of
// one that is empty.
func TestStore(t *testing.T, fresh func(t testing.TB) string) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, db *store.DB)
	}{
		{"ids sort and are not given twice", ids},
		{"nothing stays of a run that is not ready", notReady},
		{"people first, then in order", order},
		{"a taker waits", waits},
		{"limits", limits},
		{"each run is taken once", once},
		{"who has lost a run cannot write it", fenced},
		{"runs of the dead are orphans", orphans},
		{"pinned runs", pinned},
		{"change", change},
		{"cancel is heard with the beat", cancel},
		{"lists and pages", lists},
		{"images", images},
		{"retention", retention},
		{"events", events},
		{"drafts", drafts},
		{"tasks", tasks},
		{"tasks from many sides", tasksTogether},
		{"task runs", taskRuns},
		{"the version of tasks", tasksVersion},
		{"tokens", tokens},
		{"secrets", sealedSecrets},
		{"an intent is decided once", intents},
		{"a run answers its intents", answers},
		{"what is known of a task goes with it", forgotten},
		{"watches", watches},
		{"a look that is asked for is not lost", looks},
		{"bases", bases},
		{"scans", scans},
		{"pushes since", pushesSince},
		{"deliveries", deliveries},
		{"subscriptions", subscriptions},
		{"event sources", sources},
		{"notices of other registries", notices},
		{"published events", published},
		{"events are passed on once", passed},
		{"deliveries are settled by their owner", settled},
		{"queues are shared by those who are alive", shared},
		{"lanes", lanes},
		{"an event twice in a queue", twice},
		{"a queue that is too long", overflow},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, Open(t, fresh(t), Key(t))) })
	}
	t.Run("everything survives", func(t *testing.T) { survives(t, fresh(t)) })
	t.Run("timers", func(t *testing.T) { timers(t, fresh) })
	t.Run("three schedulers, one killed", func(t *testing.T) { schedulers(t, fresh(t)) })
	t.Run("another key is refused", func(t *testing.T) { wrongKey(t, fresh(t)) })
}

func ids(t *testing.T, db *store.DB) {
	var all []string
	for range 40 {
		all = append(all, Add(t, db, runner.Request{}).ID)
	}
	if all[0] != "ca1" || all[34] != "caz" || all[35] != "cb10" {
		t.Errorf("ids are %v", all)
	}
	if !slices.IsSorted(all) {
		t.Errorf("ids do not sort: %v", all)
	}
	d := Join(t, db, "d", lease)
	run := Take(t, db, d)
	End(t, db, run, runner.Succeeded)
	if err := db.RemoveRun(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	if again := Add(t, db, runner.Request{}).ID; slices.Contains(all, again) {
		t.Errorf("id %s was given twice", again)
	}
	for _, id := range []string{"", "x", "ca0", "ca01", "cb1", "ca1 ", "CA1", "ca-1", "czzzzzzzzzzzzzzzzz"} {
		if _, err := db.Run(t.Context(), id); !errors.Is(err, runner.ErrNotFound) {
			t.Errorf("run %q: %v, want ErrNotFound", id, err)
		}
	}
}

func notReady(t *testing.T, db *store.DB) {
	reason := errors.New("no log")
	run := &runner.Run{Status: runner.Queued, Created: time.Now()}
	if err := db.AddRun(t.Context(), run, func(*runner.Run) ([]eventing.Event, error) { return nil, reason }); !errors.Is(err, reason) {
		t.Errorf("got %v, want the reason", err)
	}
	if runs := list(t, db, runner.Filter{}); len(runs) != 0 {
		t.Errorf("runs %v are left", runs)
	}
	if open, err := db.OpenEvents(t.Context(), 10); err != nil || len(open) != 0 {
		t.Errorf("events %v are left (%v)", open, err)
	}
}

func order(t *testing.T, db *store.DB) {
	auto1 := Add(t, db, runner.Request{Cause: &runner.Cause{Timer: &runner.TimerCause{Name: "nightly"}}})
	person1 := Add(t, db, runner.Request{})
	auto2 := Add(t, db, runner.Request{Cause: &runner.Cause{Timer: &runner.TimerCause{Name: "nightly"}}})
	person2 := Add(t, db, runner.Request{})
	want := []string{person1.ID, person2.ID, auto1.ID, auto2.ID}
	for i, id := range want {
		if n, err := db.Position(t.Context(), id); err != nil || n != i+1 {
			t.Errorf("run %s is at %d (%v), want %d", id, n, err, i+1)
		}
	}
	d := Join(t, db, "d", lease)
	var got []string
	for i := range want {
		run := Take(t, db, d)
		if run.Status != runner.Started || run.Attempt != 1 || run.Owner != d.ID {
			t.Errorf("taken: %s, attempt %d, owner %q", run.Status, run.Attempt, run.Owner)
		}
		got = append(got, run.ID)
		if n, err := db.Position(t.Context(), run.ID); err != nil || n != 0 {
			t.Errorf("a run that was taken is at %d (%v)", n, err)
		}
		if i+1 < len(want) {
			if n, err := db.Position(t.Context(), want[i+1]); err != nil || n != 1 {
				t.Errorf("the next is at %d (%v)", n, err)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if _, err := db.Position(t.Context(), "cc999"); !errors.Is(err, runner.ErrNotFound) {
		t.Errorf("position of no run: %v", err)
	}
}

func waits(t *testing.T, db *store.DB) {
	d := Join(t, db, "d", lease)
	short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if run, err := db.TakeRun(short, d); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nothing to take: %v, %v", run, err)
	}
	taken := make(chan *runner.Run)
	go func() {
		run, _ := db.TakeRun(t.Context(), d)
		taken <- run
	}()
	time.Sleep(20 * time.Millisecond)
	start := time.Now()
	added := Add(t, db, runner.Request{})
	if run := <-taken; run == nil || run.ID != added.ID {
		t.Errorf("took %v, want %s", run, added.ID)
	}
	if took := time.Since(start); took > 900*time.Millisecond {
		t.Errorf("woken after %v: by looking, not by the bell", took)
	}
}

func limits(t *testing.T, db *store.DB) {
	d := Join(t, db, "d", lease)
	for range 3 {
		Add(t, db, runner.Request{Task: "narrow", TaskLimit: 1})
	}
	Add(t, db, runner.Request{Task: "wide"})
	first, second := Take(t, db, d), Take(t, db, d)
	if first.Request.Task != "narrow" || second.Request.Task != "wide" {
		t.Errorf("took %s and %s, want narrow and wide", first.Request.Task, second.Request.Task)
	}
	none(t, db, d, "the task is at its limit")
	End(t, db, first, runner.Succeeded)
	third := Take(t, db, d)
	if third.Request.Task != "narrow" {
		t.Errorf("took %s, want narrow", third.Request.Task)
	}
	End(t, db, third, runner.Failed)
	d.Global = 1
	none(t, db, d, "all daemons together are at their limit")
	End(t, db, second, runner.Succeeded)
	Take(t, db, d)
}

func none(t *testing.T, db *store.DB, d runner.Daemon, why string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	if run, err := db.TakeRun(ctx, d); err == nil {
		t.Errorf("run %s of task %s was taken, though %s", run.ID, run.Request.Task, why)
	}
}

func once(t *testing.T, db *store.DB) {
	const n = 100
	for i := range n {
		Add(t, db, runner.Request{Task: fmt.Sprint(i % 5), TaskLimit: 2})
	}
	var mu sync.Mutex
	busy, taken := map[string]int{}, map[string]int{}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var all sync.WaitGroup
	for i := range 6 {
		d := Join(t, db, fmt.Sprint("d", i), lease)
		all.Go(func() {
			for {
				run, err := db.TakeRun(ctx, d)
				if err != nil {
					return
				}
				mu.Lock()
				taken[run.ID]++
				if busy[run.Request.Task]++; busy[run.Request.Task] > 2 {
					t.Errorf("task %s has %d runs at a time", run.Request.Task, busy[run.Request.Task])
				}
				busy[run.Request.Task]--
				if len(taken) == n {
					stop()
				}
				mu.Unlock()
				run.Status, run.Finished = runner.Succeeded, time.Now()
				if err := db.SaveRun(context.WithoutCancel(ctx), run); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for id, times := range taken {
		if times != 1 {
			t.Errorf("run %s was taken %d times", id, times)
		}
	}
	if len(taken) != n {
		t.Errorf("%d runs were taken, want %d", len(taken), n)
	}
}

func fenced(t *testing.T, db *store.DB) {
	Add(t, db, runner.Request{})
	d := Join(t, db, "d", lease)
	old := Take(t, db, d)
	requeue(t, db, old.ID)
	if err := db.SaveRun(t.Context(), old, runner.NewRunEvent(runner.RunFinished, old)); !errors.Is(err, runner.ErrFenced) {
		t.Errorf("a run that is in the queue again was saved: %v", err)
	}
	again := Take(t, db, d)
	if again.Attempt != 2 {
		t.Errorf("attempt %d, want 2", again.Attempt)
	}
	if err := db.SaveRun(t.Context(), old); !errors.Is(err, runner.ErrFenced) {
		t.Errorf("the first attempt saved the second's run: %v", err)
	}
	End(t, db, again, runner.Succeeded)
	End(t, db, again, runner.Succeeded) // the answer might have been lost
	old.Status = runner.Failed
	again.Status = runner.Failed
	for _, late := range []*runner.Run{old, again} {
		if err := db.SaveRun(t.Context(), late); !errors.Is(err, runner.ErrFenced) {
			t.Errorf("a run that has ended got another end: %v", err)
		}
	}
	run, err := db.Run(t.Context(), again.ID)
	if err != nil || run.Status != runner.Succeeded {
		t.Errorf("run is %v (%v)", run.Status, err)
	}
	open, err := db.OpenEvents(t.Context(), 10)
	if err != nil || len(open) != 2 {
		t.Errorf("events %v (%v), want one queued and one finished", open, err)
	}
	if err := db.SaveRun(t.Context(), &runner.Run{ID: "cc999"}); !errors.Is(err, runner.ErrNotFound) {
		t.Errorf("saving no run: %v", err)
	}
}

func requeue(t *testing.T, db *store.DB, id string) {
	t.Helper()
	_, err := db.ChangeRun(t.Context(), id, func(r *runner.Run) ([]eventing.Event, error) {
		r.Status = runner.Queued
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func orphans(t *testing.T, db *store.DB) {
	for range 3 {
		Add(t, db, runner.Request{})
	}
	alive, dying := Join(t, db, "alive", lease), Join(t, db, "dying", time.Second)
	Take(t, db, alive)
	lost := Take(t, db, dying)
	if ids, err := db.Orphans(t.Context()); err != nil || len(ids) != 0 {
		t.Errorf("orphans %v (%v) of daemons that live", ids, err)
	}
	time.Sleep(1200 * time.Millisecond)
	if ids, err := db.Orphans(t.Context()); err != nil || !slices.Equal(ids, []string{lost.ID}) {
		t.Errorf("orphans %v (%v), want %s", ids, err, lost.ID)
	}
	held, err := db.Beat(t.Context(), dying)
	if err != nil || len(held) != 1 || held[0] != (runner.Held{ID: lost.ID, Attempt: 1}) {
		t.Errorf("a daemon that was paused holds %v (%v)", held, err)
	}
	if ids, err := db.Orphans(t.Context()); err != nil || len(ids) != 0 {
		t.Errorf("orphans %v (%v) after a beat", ids, err)
	}
	// A new process of the same name knows that the old one is dead.
	Join(t, db, "alive", lease)
	if ids, err := db.Orphans(t.Context()); err != nil || len(ids) != 1 {
		t.Errorf("orphans %v (%v) after a restart", ids, err)
	}
	if err := db.Leave(t.Context(), dying); err != nil {
		t.Fatal(err)
	}
	if ids, err := db.Orphans(t.Context()); err != nil || len(ids) != 2 {
		t.Errorf("orphans %v (%v) after both are gone", ids, err)
	}
}

func pinned(t *testing.T, db *store.DB) {
	a, b := Join(t, db, "a", lease), Join(t, db, "b", lease)
	run := &runner.Run{Status: runner.Queued, Created: time.Now(), Pinned: "b"}
	if err := db.AddRun(t.Context(), run, func(*runner.Run) ([]eventing.Event, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	none(t, db, a, "it is pinned to another")
	if ids, err := db.Orphans(t.Context()); err != nil || len(ids) != 0 {
		t.Errorf("orphans %v (%v)", ids, err)
	}
	if err := db.Leave(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if ids, err := db.Orphans(t.Context()); err != nil || len(ids) != 0 {
		t.Errorf("orphans %v (%v) while the daemon restarts", ids, err)
	}
	if got := Take(t, db, Join(t, db, "b", lease)); got.ID != run.ID || got.Pinned != "b" {
		t.Errorf("took %+v", got)
	}
}

func change(t *testing.T, db *store.DB) {
	id := Add(t, db, runner.Request{}).ID
	d := Join(t, db, "d", lease)
	run := Take(t, db, d)
	refused := errors.New("refused")
	_, err := db.ChangeRun(t.Context(), id, func(r *runner.Run) ([]eventing.Event, error) {
		r.Archived = true
		return nil, refused
	})
	if !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
	if got, _ := db.Run(t.Context(), id); got.Archived {
		t.Error("a change that was refused was made")
	}
	changed, err := db.ChangeRun(t.Context(), id, func(r *runner.Run) ([]eventing.Event, error) {
		r.Archived = true
		return []eventing.Event{runner.NewRunEvent("x", r)}, nil
	})
	if err != nil || !changed.Archived {
		t.Errorf("got %+v, %v", changed, err)
	}
	// Whoever executes the run knows nothing of it.
	run.Steps = append(run.Steps, runner.StepState{ID: "a", Status: runner.Succeeded})
	End(t, db, run, runner.Succeeded)
	got, err := db.Run(t.Context(), id)
	if err != nil || !got.Archived || got.Status != runner.Succeeded || len(got.Steps) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := db.ChangeRun(t.Context(), "cc999", func(*runner.Run) ([]eventing.Event, error) { return nil, nil }); !errors.Is(err, runner.ErrNotFound) {
		t.Errorf("changing no run: %v", err)
	}
}

func cancel(t *testing.T, db *store.DB) {
	id := Add(t, db, runner.Request{}).ID
	d := Join(t, db, "d", lease)
	Take(t, db, d)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- db.Serve(ctx) }()
	_, err := db.ChangeRun(t.Context(), id, func(r *runner.Run) ([]eventing.Event, error) {
		r.Cancel = true
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	held, err := db.Beat(t.Context(), d)
	if err != nil || len(held) != 1 || !held[0].Cancel {
		t.Errorf("held %v (%v), want one to cancel", held, err)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func list(t *testing.T, db *store.DB, f runner.Filter) []string {
	t.Helper()
	runs, err := db.Runs(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range runs {
		ids = append(ids, r.ID)
	}
	return ids
}

func lists(t *testing.T, db *store.DB) {
	var runs []*runner.Run
	for i := range 6 {
		runs = append(runs, Add(t, db, runner.Request{Task: []string{"", "odd"}[i%2], Archive: i == 0, Values: map[string]string{"a": "b"}}))
		time.Sleep(2 * time.Millisecond)
	}
	d := Join(t, db, "d", lease)
	ended := Take(t, db, d)
	End(t, db, ended, runner.Failed)
	yes, no := true, false
	id := func(i ...int) []string {
		var all []string
		for _, n := range i {
			all = append(all, runs[n].ID)
		}
		return all
	}
	for _, row := range []struct {
		name string
		f    runner.Filter
		want []string
	}{
		{"all", runner.Filter{}, id(5, 4, 3, 2, 1, 0)},
		{"first page", runner.Filter{Limit: 2}, id(5, 4)},
		{"second page", runner.Filter{Limit: 2, Before: runs[4].ID}, id(3, 2)},
		{"last page", runner.Filter{Limit: 5, Before: runs[1].ID}, id(0)},
		{"task", runner.Filter{Task: "odd"}, id(5, 3, 1)},
		{"status", runner.Filter{Statuses: []runner.Status{runner.Failed, runner.Timeout}}, id(0)},
		{"task and status", runner.Filter{Task: "odd", Statuses: []runner.Status{runner.Queued}, Limit: 2}, id(5, 3)},
		{"type", runner.Filter{Type: runner.QuickBuild}, nil},
		{"archived", runner.Filter{Archived: &yes}, id(0)},
		{"not archived", runner.Filter{Archived: &no, Limit: 1}, id(5)},
		{"created from", runner.Filter{CreatedFrom: runs[4].Created.Truncate(time.Microsecond)}, id(5, 4)},
		{"created to", runner.Filter{CreatedTo: runs[1].Created.Truncate(time.Microsecond)}, id(0)},
		{"created, first page", runner.Filter{CreatedFrom: runs[1].Created.Truncate(time.Microsecond), Limit: 2}, id(5, 4)},
		{"created, next page", runner.Filter{CreatedFrom: runs[1].Created.Truncate(time.Microsecond), Limit: 2, Before: runs[4].ID}, id(3, 2)},
		{"finished from", runner.Filter{FinishedFrom: runs[0].Created}, id(0)},
		{"finished to", runner.Filter{FinishedTo: time.Now().Add(time.Hour)}, id(0)},
	} {
		if diff := cmp.Diff(row.want, list(t, db, row.f)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", row.name, diff)
		}
	}
	got, err := db.Run(t.Context(), runs[2].ID)
	if err != nil || got.Request.Values["a"] != "b" || !got.Created.Equal(runs[2].Created) {
		t.Errorf("run is %+v (%v)", got, err)
	}
}

func images(t *testing.T, db *store.DB) {
	Add(t, db, runner.Request{})
	Add(t, db, runner.Request{})
	d := Join(t, db, "d", lease)
	run, other := Take(t, db, d), Take(t, db, d)
	run.Images = []*steps.Image{{Tags: []string{"r.io/team/app:v1"}, Digest: "sha256:aa", Runtime: &steps.Dependency{Ref: "alpine", Digest: "sha256:bb"}}}
	run.Pushed = []*steps.Pushed{{Ref: "r.io/team/app:v1", Digest: "sha256:aa"}, {Ref: "r.io/team/app:v2", Digest: "sha256:aa"}}
	End(t, db, run, runner.Succeeded)
	End(t, db, other, runner.Succeeded)
	for _, name := range []string{"team/app", "team/app@sha256:aa", "team/app:v2", "r.io/team/app@sha256:aa", "r.io/team/app:v1", "sha256:aa"} {
		if got := list(t, db, runner.Filter{Image: name}); !slices.Equal(got, []string{run.ID}) {
			t.Errorf("runs that pushed %s: %v, want %s", name, got, run.ID)
		}
	}
	if got := list(t, db, runner.Filter{Image: "team/app:v3"}); len(got) != 0 {
		t.Errorf("runs that pushed nothing of the kind: %v", got)
	}
	got, err := db.Run(t.Context(), run.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(run.Images, got.Images); diff != "" {
		t.Errorf("images (-saved +read):\n%s", diff)
	}
	if err := db.RemoveRun(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	if got := list(t, db, runner.Filter{Image: "team/app"}); len(got) != 0 {
		t.Errorf("a run that is gone is found: %v", got)
	}
}

func retention(t *testing.T, db *store.DB) {
	d := Join(t, db, "d", lease)
	var ended []string
	for i := range 5 {
		Add(t, db, runner.Request{Archive: i == 0})
		run := Take(t, db, d)
		run.LogBytes = 100
		End(t, db, run, runner.Succeeded)
		ended = append(ended, run.ID)
	}
	queued := Add(t, db, runner.Request{})
	for _, row := range []struct {
		p    runner.Retention
		want []string
	}{
		{runner.Retention{}, nil},
		{runner.Retention{Age: time.Hour}, nil},
		{runner.Retention{Age: time.Nanosecond}, ended[1:]},
		{runner.Retention{Count: 3}, ended[1:2]},
		{runner.Retention{Bytes: 250}, ended[1:3]},
		{runner.Retention{Age: time.Hour, Count: 3, Bytes: 150}, ended[1:4]},
	} {
		time.Sleep(2 * time.Millisecond)
		got, err := db.Expired(t.Context(), row.p, 10)
		if diff := cmp.Diff(row.want, got); err != nil || diff != "" {
			t.Errorf("%+v: %v (-want +got):\n%s", row.p, err, diff)
		}
	}
	if err := db.RemoveRun(t.Context(), queued.ID); !errors.Is(err, runner.ErrNotFound) {
		t.Errorf("a queued run was removed: %v", err)
	}
}

func events(t *testing.T, db *store.DB) {
	id := Add(t, db, runner.Request{}).ID
	push := eventing.Event{
		ID: "e1", Type: "push", Topic: "/connectedRegistries/edge", Subject: "app:v1", Key: "app", DataVersion: "2.0",
		Time: time.Now().UTC().Truncate(time.Microsecond), Data: []byte(`{"a":1}`), Extensions: []byte(`{"b":2}`),
	}
	for range 2 { // the answer might have been lost
		if err := db.AddEvents(t.Context(), push); err != nil {
			t.Fatal(err)
		}
	}
	open, err := db.OpenEvents(t.Context(), 10)
	if err != nil || len(open) != 2 || open[0].Type != eventing.RunQueued || open[0].Subject != id {
		t.Fatalf("events are %v (%v)", open, err)
	}
	if diff := cmp.Diff(push, open[1]); diff != "" {
		t.Errorf("event (-written +read):\n%s", diff)
	}
	if err := db.SettleEvents(t.Context(), open[0].ID); err != nil {
		t.Fatal(err)
	}
	if open, err = db.OpenEvents(t.Context(), 10); err != nil || len(open) != 1 {
		t.Errorf("events are %v (%v)", open, err)
	}
	if err := db.RemoveEvents(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if open, err = db.OpenEvents(t.Context(), 10); err != nil || len(open) != 0 {
		t.Errorf("events are %v (%v)", open, err)
	}
}

// SecretRequest has a secret wherever a request can have one.
func SecretRequest(secret string) runner.Request {
	return runner.Request{
		Inline: []byte("steps: [{cmd: " + secret + "}]"), InlineValues: []byte(secret), Source: "https://" + secret + "@git.example.com/a/b.git#main",
		Values: map[string]string{"a": "b"}, SecretValues: map[string]string{"token": secret},
		Credentials: []steps.Credential{{Registry: "r.io", Username: "u", Password: secret}},
		Secrets:     map[string][]byte{"s": []byte(secret)}, Timeout: time.Minute,
		Build: &runner.BuildRequest{SecretArgs: []string{"A=" + secret}},
	}
}

func survives(t *testing.T, url string) {
	key := Key(t)
	db := Open(t, url, key)
	req := SecretRequest("s3cr3tcanary")
	added := Add(t, db, req)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = Open(t, url, key)
	public, err := db.Run(t.Context(), added.ID)
	if err != nil {
		t.Fatal(err)
	}
	want := req.Public()
	if diff := cmp.Diff(want, public.Request); diff != "" {
		t.Errorf("public request (-want +got):\n%s", diff)
	}
	whole, err := db.Request(t.Context(), added.ID)
	if diff := cmp.Diff(&req, whole); err != nil || diff != "" {
		t.Errorf("request, %v (-want +got):\n%s", err, diff)
	}
	taken := Take(t, db, Join(t, db, "d", lease))
	if diff := cmp.Diff(req, taken.Request); diff != "" {
		t.Errorf("request as taken (-want +got):\n%s", diff)
	}
	if next := Add(t, db, runner.Request{}).ID; next != "ca2" {
		t.Errorf("the next run is %s, want ca2", next)
	}
}

func wrongKey(t *testing.T, url string) {
	db := Open(t, url, Key(t))
	Add(t, db, SecretRequest("x"))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	other, err := store.Open(t.Context(), store.Options{URL: url, Sealer: Key(t)})
	if !errors.Is(err, store.ErrKey) {
		t.Errorf("got %v, want ErrKey", err)
	}
	if err == nil {
		other.Close()
	}
}

// tasksVersion is another one after each change, and not otherwise.
func tasksVersion(t *testing.T, db *store.DB) {
	seen := map[string]bool{}
	changed := func(what string) {
		t.Helper()
		v, err := db.TasksVersion(t.Context())
		if err != nil || seen[v] {
			t.Errorf("after %s: %q, %v; was there before", what, v, err)
		}
		if again, _ := db.TasksVersion(t.Context()); again != v {
			t.Errorf("after %s: %q, and then %q", what, v, again)
		}
		seen[v] = true
	}
	changed("nothing")
	for range 2 {
		_, err := db.ChangeTask(t.Context(), "web-app", func(*runner.Task) (*runner.Task, error) { return &runner.Task{Name: "web-app"}, nil })
		if err != nil {
			t.Fatal(err)
		}
		changed("a change")
	}
	if err := db.RemoveTask(t.Context(), "web-app"); err != nil {
		t.Fatal(err)
	}
	changed("a removal")
}
