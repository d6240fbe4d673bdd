package storetest

import (
	"testing"

	"acrd/internal/store"
	"acrd/runner"
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

func timers(t *testing.T, fresh func(t testing.TB) string) {
	triggerstest.TestTimers(t, func(t *testing.T) triggerstest.Store {
		return timerStore{Open(t, fresh(t), Key(t))}
	})
}
