package storetest

import (
	"testing"

	"acrd/internal/store"
	"acrd/runner"
	"acrd/triggers"
	"acrd/triggers/triggerstest"
)

// timerStore is a store as the suite for timers wants it.
type timerStore struct{ *store.DB }

func (s timerStore) SaveTimers(t *testing.T, task string, timers ...runner.TimerTrigger) {
	t.Helper()
	_, err := s.ChangeTask(t.Context(), task, func(*runner.Task) (*runner.Task, error) {
		return &runner.Task{Name: task, TaskSpec: runner.TaskSpec{Trigger: &runner.TaskTrigger{Timers: timers}}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (s timerStore) StartRun(t *testing.T, task string, keys ...string) (string, func()) {
	t.Helper()
	run := forTask(task, "", keys...)
	if err := s.AddRun(t.Context(), run, queued); err != nil {
		t.Fatal(err)
	}
	d := Join(t, s.DB, "d", lease)
	return run.ID, func() { End(t, s.DB, Take(t, s.DB, d), runner.Succeeded) }
}

// All lists the intents of a task.
func (s timerStore) All(t *testing.T, task string) []triggers.Settled {
	t.Helper()
	open, err1 := s.Open(t.Context())
	all, err2 := s.Decided(t.Context(), task, 10_000)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	for _, in := range open {
		all = append(all, triggers.Settled{Intent: in})
	}
	return all
}

// TestTimersSimulated simulates schedulers on SQLite.
func TestTimersSimulated(t *testing.T, seeds int) {
	for seed := range seeds {
		triggerstest.Simulate(t, uint64(seed), func(t *testing.T) triggerstest.SimulatedStore { return timerStore{New(t)} })
	}
}

func timers(t *testing.T, fresh func(t testing.TB) string) {
	triggerstest.TestTimers(t, func(t *testing.T) triggerstest.Store {
		return timerStore{Open(t, fresh(t), Key(t))}
	})
}
