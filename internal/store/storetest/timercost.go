package storetest

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"acrd/internal/store"
	"acrd/runner"
	"acrd/triggers"
)

// TestTimersCost lets 10,000 timers of 100 tasks fire for a while that is
// simulated, on SQLite and with everything that a daemon does for it, and
// measures the processor's time. CPU is what this process has taken so far.
// Bar: 1 % of one core.
func TestTimersCost(t *testing.T, cpu func() time.Duration) {
	for _, load := range []struct {
		name     string
		schedule func(i int) string
		d        time.Duration
	}{
		{"each once an hour", func(i int) string { return fmt.Sprintf("%d * * * *", i%60) }, time.Hour},
		{"all at the same minute, once", func(int) string { return "30 0 * * *" }, time.Hour},
	} {
		t.Run(load.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db := New(t)
				saveTimers(t, db, load.schedule)
				ctx, stop := context.WithTimeout(t.Context(), load.d)
				defer stop()
				before := cpu()
				if err := (&triggers.Timers{Store: db}).Serve(ctx); err != nil {
					t.Fatal(err)
				}
				used := cpu() - before
				open, err := db.Open(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if len(open) < 10_000*int(load.d/time.Hour)/24 {
					t.Errorf("only %d have fired", len(open))
				}
				share := used.Seconds() / load.d.Seconds()
				t.Logf("10,000 timers, %s: %d fired in %s of which %s was the processor's: %.3f s a minute, %.2f %% of one core",
					load.name, len(open), load.d, used.Round(time.Millisecond), used.Seconds()/load.d.Minutes(), 100*share)
				if share > 0.01 {
					t.Errorf("%.2f %% of one core is more than 1 %%", 100*share)
				}
			})
		})
	}
}

func saveTimers(t *testing.T, db *store.DB, schedule func(i int) string) {
	t.Helper()
	for i := range 100 {
		task := &runner.Task{Name: fmt.Sprintf("task-%04d", i), TaskSpec: runner.TaskSpec{Trigger: &runner.TaskTrigger{}}}
		for j := range 100 {
			task.Trigger.Timers = append(task.Trigger.Timers, runner.TimerTrigger{Name: fmt.Sprint("t", j), Schedule: schedule(100*i + j), Status: runner.Enabled})
		}
		if _, err := db.ChangeTask(t.Context(), task.Name, func(*runner.Task) (*runner.Task, error) { return task, nil }); err != nil {
			t.Fatal(err)
		}
	}
}
