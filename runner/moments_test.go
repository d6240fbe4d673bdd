package runner_test

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"acrd/eventing"
	"acrd/internal/logs"
	"acrd/internal/store"
	"acrd/runner"
	"acrd/steps"
)

// momentStore lets something happen at a moment.
type momentStore struct {
	*store.DB
	taken   func(*runner.Run) // before anybody else knows
	saveErr atomic.Pointer[error]
	suspend atomic.Bool // after each beat, for longer than the lease
}

func (s *momentStore) TakeRun(ctx context.Context, d runner.Daemon) (*runner.Run, error) {
	run, err := s.DB.TakeRun(ctx, d)
	if err == nil && s.taken != nil {
		s.taken(run)
	}
	return run, err
}

func (s *momentStore) SaveRun(ctx context.Context, r *runner.Run, events ...eventing.Event) error {
	if err := s.saveErr.Load(); err != nil {
		return *err
	}
	return s.DB.SaveRun(ctx, r, events...)
}

func (s *momentStore) Orphans(ctx context.Context) ([]string, error) {
	if !s.suspend.Load() {
		return s.DB.Orphans(ctx)
	}
	runs, err := s.Runs(ctx, runner.Filter{Statuses: []runner.Status{runner.Started, runner.Running}})
	var ids []string
	for _, r := range runs {
		ids = append(ids, r.ID)
	}
	return ids, err
}

// TestCancelAsTaken cancels a run that has just been taken: it must end as
// that, however short it is.
func TestCancelAsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		moment := &momentStore{}
		b := newBench(t, func(r *runner.Runner) {
			moment.DB = r.Store.(*store.DB)
			moment.taken = func(run *runner.Run) {
				if err := r.Cancel(t.Context(), run.ID); err != nil {
					t.Error(err)
				}
			}
			r.Store = moment
		})
		defer b.end()
		b.engine.ExecFunc = func(context.Context, *steps.ExecOp, steps.Output) error { return nil }
		if run, log := b.do("steps: [{cmd: x}]"); run.Status != runner.Canceled || len(run.Steps) > 0 {
			t.Errorf("run is %s with steps %v\n%s", run.Status, run.Steps, log)
		}
	})
}

// TestCancelAsItEnds cancels a run whose steps have ended.
func TestCancelAsItEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		want runner.Status
	}{
		"well":      {nil, runner.Succeeded},
		"otherwise": {&steps.ExitError{Code: 3}, runner.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				defer b.end()
				b.engine.ExecFunc = func(context.Context, *steps.ExecOp, steps.Output) error { return tt.err }
				closing := make(chan struct{})
				b.engine.CloseFunc = func(context.Context) error { <-closing; return nil }
				run := b.submit("steps: [{id: a, cmd: x}]")
				synctest.Wait()
				if err := b.runner.Cancel(t.Context(), run.ID); err != nil {
					t.Fatal(err)
				}
				close(closing)
				if run, log := b.wait(run.ID); run.Status != tt.want || strings.Contains(log, "canceled") {
					t.Errorf("run is %s (%s), want %s\n%s", run.Status, run.Err, tt.want, log)
				}
			})
		})
	}
}

// TestAttemptsDoNotMeet gives a run back to the daemon that it was taken from,
// while that still stops its step.
func TestAttemptsDoNotMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(r *runner.Runner) { r.Alone = false })
		defer b.end()
		var going atomic.Int32
		again := false
		b.engine.ExecFunc = func(ctx context.Context, _ *steps.ExecOp, _ steps.Output) error {
			if going.Add(1) > 1 {
				t.Error("two attempts of the run go on")
			}
			defer going.Add(-1)
			err := block(ctx)
			if !again {
				again = true
				time.Sleep(5 * time.Second) // it takes its time to die
			}
			return err
		}
		run := b.submit("{steps: [{cmd: x}]}")
		synctest.Wait()
		_, err := b.store.ChangeRun(t.Context(), run.ID, func(r *runner.Run) ([]eventing.Event, error) {
			r.Status, r.Requeued, r.Steps = runner.Queued, 1, nil
			return nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got, _ := b.store.Run(t.Context(), run.ID); got.Status != runner.Running || got.Attempt != 2 || going.Load() != 1 {
			t.Errorf("run is %s in attempt %d, and %d steps go on", got.Status, got.Attempt, going.Load())
		}
		start := time.Now()
		if err := b.runner.Cancel(t.Context(), run.ID); err != nil {
			t.Fatal(err)
		}
		got, log := b.wait(run.ID)
		if took := time.Since(start); got.Status != runner.Canceled || took > time.Second || !strings.Contains(log, "it starts again") {
			t.Errorf("run is %s (%s) after %v\n%s", got.Status, got.Err, took, log)
		}
	})
}

// TestSuspended suspends a daemon between a beat and its look for orphans: its
// own runs look like some then.
func TestSuspended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		moment := &momentStore{}
		b := newBench(t, func(r *runner.Runner) {
			moment.DB = r.Store.(*store.DB)
			r.Store = moment
		})
		defer b.end()
		b.engine.ExecFunc = func(context.Context, *steps.ExecOp, steps.Output) error {
			moment.suspend.Store(true)
			time.Sleep(time.Minute)
			return nil
		}
		if run, log := b.do("{steps: [{cmd: x}]}"); run.Status != runner.Succeeded {
			t.Errorf("run is %s (%s)\n%s", run.Status, run.Err, log)
		}
	})
}

// TestEndNotSaved stops a daemon whose store has gone before. What the next one
// makes of its run must be in the log.
func TestEndNotSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := runner.ErrUnavailable
		moment := &momentStore{}
		b := newBench(t, func(r *runner.Runner) {
			moment.DB = r.Store.(*store.DB)
			r.Store = moment
		})
		bucket, err := logs.OpenBucket(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer bucket.Close()
		b.logs.Bucket = bucket
		built := make(chan error, 1)
		b.engine.BuildFunc = func(ctx context.Context, _ *steps.BuildOp, _ io.Writer) (*steps.Image, error) {
			err := block(ctx)
			built <- err
			return nil, err
		}
		run := b.submit("{steps: [{build: -t x .}]}")
		synctest.Wait()
		moment.saveErr.Store(&gone)
		b.end()
		<-built
		next := newBench(t, func(r *runner.Runner) { r.Store, r.Logs, r.Engine = b.store, b.logs, obliging() })
		defer next.end()
		next.store, next.logs = b.store, b.logs
		next.ended(run.ID)
		synctest.Wait()
		if got, log := next.wait(run.ID); got.Status != runner.Succeeded || !strings.Contains(log, "it starts again") || !strings.Contains(log, "was successful") {
			t.Errorf("run is %s (%s)\n%s", got.Status, got.Err, log)
		}
	})
}

// TestLogOfAnotherDaemon submits a run to a daemon, and another carries it out
// that archives logs in the same place: what that one has archived is the log.
func TestLogOfAnotherDaemon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket, err := logs.OpenBucket(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer bucket.Close()
		db := openStore(t)
		front := newBench(t, func(r *runner.Runner) { r.Store, r.Alone, r.Name = noQueue{db}, false, "front" })
		defer front.end()
		front.logs.Bucket = bucket
		time.Sleep(time.Minute) // it has joined
		run, canceled := front.submit("{steps: [{cmd: x}]}"), front.submit("{steps: [{cmd: x}]}")
		elsewhere := &runner.Runner{Store: db, Logs: &logs.Dir{Path: t.TempDir(), Bucket: bucket}}
		if err := elsewhere.Cancel(t.Context(), canceled.ID); err != nil {
			t.Fatal(err)
		}
		back := newBench(t, func(r *runner.Runner) {
			r.Store, r.Alone, r.Engine = db, false, obliging()
			r.Logs.(*logs.Dir).Bucket = bucket
		})
		defer back.end()
		back.store = db
		back.ended(run.ID)
		time.Sleep(time.Minute)
		check := func(who string, from *logs.Dir) {
			for id, want := range map[string]string{run.ID: "was successful", canceled.ID: "was canceled before it started"} {
				r, err := from.Open(t.Context(), id, 0, false)
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(r)
				r.Close()
				if err != nil || !strings.Contains(string(text), want) {
					t.Errorf("the daemon that %s has as log: %q, %v; want %q", who, text, err, want)
				}
			}
		}
		check("submitted", front.logs)
		again := &logs.Dir{Path: front.logs.Path, Bucket: bucket}
		if err := again.Recover(t.Context(), func(context.Context, string) (bool, error) { return true, nil }); err != nil {
			t.Fatal(err)
		}
		check("was started anew", again)
	})
}
