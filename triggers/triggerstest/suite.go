package triggerstest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"acrd/runner"
	"acrd/triggers"

	"github.com/google/go-cmp/cmp"
)

// A Store is what the suite needs of one.
type Store interface {
	triggers.TimerStore
	triggers.Intents
	// SaveTimers saves a task with these timers.
	SaveTimers(t *testing.T, task string, timers ...runner.TimerTrigger)
	// StartRun queues a run of a task that answers intents; the function
	// ends it.
	StartRun(t *testing.T, task string, keys ...string) (id string, end func())
}

// TestTimers holds a store to what is expected of a triggers.TimerStore.
func TestTimers(t *testing.T, fresh func(t *testing.T) Store) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s Store)
	}{
		{"a timer's life", life},
		{"a step is made once", once},
		{"what fires and what is skipped", fires},
		{"held timers", held},
		{"runs of a timer", runsOf},
		{"changes are heard", heard},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, fresh(t)) })
	}
}

var (
	hourly  = runner.TimerTrigger{Name: "hourly", Schedule: "0 * * * *", Status: runner.Enabled}
	nightly = runner.TimerTrigger{Name: "nightly", Schedule: "0 2 * * *", Status: runner.Enabled, TimeZone: "Europe/Berlin", Overlap: runner.OverlapQueue}
)

func due(t *testing.T, s Store, now time.Time) []triggers.TimerState {
	t.Helper()
	all, err := s.DueTimers(t.Context(), now, 100)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func names(all []triggers.TimerState) []string {
	var names []string
	for _, s := range all {
		names = append(names, s.Task+"/"+s.Timer.Name)
	}
	return names
}

func move(t *testing.T, s Store, m triggers.TimerMove) bool {
	t.Helper()
	moved, err := s.MoveTimers(t.Context(), []triggers.TimerMove{m})
	if err != nil || len(moved) != 1 {
		t.Fatalf("moved %v (%v)", moved, err)
	}
	return moved[0]
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func life(t *testing.T, s Store) {
	now := time.Now().UTC().Truncate(time.Second)
	s.SaveTimers(t, "app", hourly, nightly)
	all := due(t, s, now)
	same(t, "due", []string{"app/hourly", "app/nightly"}, names(all))
	if !all[0].Next.IsZero() || all[0].Never || time.Since(all[0].Since) > time.Minute {
		t.Errorf("a new timer is %+v", all[0])
	}
	for i, at := range []time.Duration{2 * time.Hour, time.Hour} {
		to := all[i]
		to.Next = now.Add(at)
		if !move(t, s, triggers.TimerMove{From: all[i], To: to}) {
			t.Error("not moved")
		}
	}
	same(t, "due at once", []string(nil), names(due(t, s, now)))
	same(t, "due later", []string{"app/nightly", "app/hourly"}, names(due(t, s, now.Add(2*time.Hour))))
	if some, err := s.DueTimers(t.Context(), now.Add(2*time.Hour), 1); err != nil || len(some) != 1 {
		t.Errorf("one of them: %v (%v)", some, err)
	}
	next, err := s.NextTimer(t.Context(), now)
	if !next.Equal(now.Add(time.Hour)) || err != nil {
		t.Errorf("next is %s (%v)", next, err)
	}
	// What is saved as it was stays where it is; what is not begins anew.
	changed := nightly
	changed.Schedule = "0 3 * * *"
	s.SaveTimers(t, "app", hourly, changed)
	same(t, "due after a change", []string{"app/nightly"}, names(due(t, s, now)))
	if to := all[1]; move(t, s, triggers.TimerMove{From: all[1], To: to}) {
		t.Error("a timer was moved from where it is not any more")
	}
	last := due(t, s, now)[0]
	to := last
	to.Never = true
	if !move(t, s, triggers.TimerMove{From: last, To: to}) {
		t.Error("not moved")
	}
	same(t, "due in the end", []string{"app/hourly"}, names(due(t, s, now.Add(1000*time.Hour))))
	if after, err := s.NextTimer(t.Context(), now.Add(1000*time.Hour)); !after.IsZero() || err != nil {
		t.Errorf("next is %s (%v)", after, err)
	}
	off := hourly
	off.Status = runner.Disabled
	s.SaveTimers(t, "app", off)
	if left, err := s.Timers(t.Context()); len(left) > 0 || err != nil {
		t.Errorf("left: %+v (%v)", left, err)
	}
}

func once(t *testing.T, s Store) {
	now := time.Now().UTC().Truncate(time.Second)
	s.SaveTimers(t, "app", hourly)
	from := due(t, s, now)[0]
	var won atomic.Int32
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			to := from
			to.Next = now.Add(time.Hour)
			to.Last, to.Fired = now, now
			in := triggers.Intent{Task: "app", Kind: triggers.Timer, Key: triggers.TimerKey("hourly", now.Add(time.Duration(i)*time.Hour)), At: now}
			moved, err := s.MoveTimers(t.Context(), []triggers.TimerMove{{From: from, To: to, Fire: []triggers.Intent{in}}})
			if err != nil {
				t.Error(err)
				return
			}
			if moved[0] {
				won.Add(1)
			}
		})
	}
	all.Wait()
	open, err := s.Open(t.Context())
	if won.Load() != 1 || len(open) != 1 || err != nil {
		t.Errorf("%d have won, intents %v (%v)", won.Load(), open, err)
	}
	if is := due(t, s, now.Add(time.Hour))[0]; !is.Last.Equal(now) || !is.Fired.Equal(now) {
		t.Errorf("the timer is %+v", is)
	}
}

func fires(t *testing.T, s Store) {
	now := time.Now().UTC().Truncate(time.Second)
	s.SaveTimers(t, "app", hourly, nightly)
	intent := func(key string) triggers.Intent {
		return triggers.Intent{Task: "app", Kind: triggers.Timer, Key: key, Reason: "because", At: now, Cause: &runner.Cause{Timer: &runner.TimerCause{Name: "hourly", Occurrence: key}}}
	}
	skipped := triggers.Settled{Intent: intent("b"), Decision: triggers.Decision{Why: "skipped", At: now}}
	all := due(t, s, now)
	var moves []triggers.TimerMove
	for _, from := range all {
		to := from
		to.Next = now.Add(time.Hour)
		moves = append(moves, triggers.TimerMove{From: from, To: to, Fire: []triggers.Intent{intent("a"), intent("c")}, Skip: []triggers.Settled{skipped}})
	}
	moves = append(moves, triggers.TimerMove{From: all[0], To: all[0], Fire: []triggers.Intent{intent("d")}})
	moved, err := s.MoveTimers(t.Context(), moves)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "moved", []bool{true, true, false}, moved)
	open, err1 := s.Open(t.Context())
	decided, err2 := s.Decided(t.Context(), "app", 10)
	same(t, "open", []triggers.Intent{intent("a"), intent("c")}, open)
	same(t, "decided", []triggers.Settled{skipped}, decided)
	if err1 != nil || err2 != nil {
		t.Error(err1, err2)
	}
}

func held(t *testing.T, s Store) {
	now := time.Now().UTC().Truncate(time.Second)
	s.SaveTimers(t, "app", nightly)
	from := due(t, s, now)[0]
	to := from
	to.Held, to.Next = true, now
	if !move(t, s, triggers.TimerMove{From: from, To: to}) {
		t.Error("not moved")
	}
	same(t, "due", []string(nil), names(due(t, s, now.Add(time.Hour))))
	all, err := s.HeldTimers(t.Context())
	if err != nil || len(all) != 1 || all[0] != to {
		t.Errorf("held %+v (%v), want %+v", all, err, to)
	}
	if next, err := s.NextTimer(t.Context(), now.Add(-time.Hour)); !next.IsZero() || err != nil {
		t.Errorf("next is %s (%v)", next, err)
	}
}

func runsOf(t *testing.T, s Store) {
	now := time.Now().UTC().Truncate(time.Second)
	key := func(name string, n int) string { return triggers.TimerKey(name, now.Add(time.Duration(n)*time.Hour)) }
	_, err := s.Intend(t.Context(),
		triggers.Intent{Task: "app", Key: key("a", 1), At: now}, triggers.Intent{Task: "app", Key: key("a", 2), At: now},
		triggers.Intent{Task: "app", Key: key("a/b", 1), At: now}, triggers.Intent{Task: "app", Key: key("ab", 1), At: now}, triggers.Intent{Task: "other", Key: key("a", 1), At: now})
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, keys, runs []string) {
		t.Helper()
		gotKeys, gotRuns, err := s.TimerRuns(t.Context(), "app", "a")
		if err != nil {
			t.Error(err)
		}
		same(t, "undecided "+what, keys, gotKeys)
		same(t, "runs "+what, runs, gotRuns)
	}
	check("at first", []string{key("a", 1), key("a", 2)}, nil)
	id, end := s.StartRun(t, "app", key("a", 1))
	check("with a run", []string{key("a", 2)}, []string{id})
	if err := s.Decide(t.Context(), "app", []string{key("a", 2)}, triggers.Decision{Why: "no"}); err != nil {
		t.Fatal(err)
	}
	end()
	check("in the end", nil, nil)
}

func heard(t *testing.T, s Store) {
	check := func(what string, rung <-chan struct{}) {
		t.Helper()
		select {
		case <-rung:
		case <-time.After(10 * time.Second):
			t.Errorf("%s is not heard", what)
		}
	}
	rung := s.TimersChanged()
	s.SaveTimers(t, "app", hourly)
	check("a task", rung)
	_, end := s.StartRun(t, "app")
	rung = s.TimersChanged()
	end()
	check("the end of a run", rung)
}
