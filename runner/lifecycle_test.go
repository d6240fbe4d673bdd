package runner_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"acrd/eventing"
	"acrd/internal/store"
	"acrd/internal/store/storetest"
	"acrd/runner"
	"acrd/steps"
	"acrd/steps/stepstest"
)

// A dead daemon is one that has taken runs and will do nothing more.
type deadDaemon struct {
	testing.TB
	db     *store.DB
	daemon runner.Daemon
}

func (d *deadDaemon) take(states ...runner.StepState) *runner.Run {
	d.Helper()
	run := storetest.Take(d, d.db, d.daemon)
	run.Status, run.Started, run.Steps = runner.Running, time.Now(), states
	for _, s := range states {
		if s.Status == runner.Failed {
			run.FailedStep = s.ID
		}
	}
	if err := d.db.SaveRun(d.Context(), run); err != nil {
		d.Fatal(err)
	}
	return run
}

// TestCrashPolicy holds the runner to docs/decisions/0011-crash-policy.md.
func TestCrashPolicy(t *testing.T) {
	const file = "steps: [{id: b, build: -t x .}, {id: c, cmd: x}]"
	state := func(id, kind string, s runner.Status) runner.StepState {
		return runner.StepState{ID: id, Kind: kind, Status: s, Started: time.Now()}
	}
	building := state("b", "build", runner.Running)
	for name, tt := range map[string]struct {
		deaths int
		states []runner.StepState
		req    runner.Request
		cancel bool
		want   runner.Status
		why    string
	}{
		"queued":               {want: runner.Succeeded},
		"before any step":      {deaths: 1, want: runner.Succeeded},
		"in a build":           {deaths: 1, states: []runner.StepState{building}, want: runner.Succeeded},
		"in a build, twice":    {deaths: 2, states: []runner.StepState{building}, want: runner.Error, why: "for the second time"},
		"after a failure":      {deaths: 1, states: []runner.StepState{state("b", "build", runner.Failed), building}, want: runner.Succeeded},
		"in a command":         {deaths: 1, states: []runner.StepState{state("b", "build", runner.Succeeded), state("c", "cmd", runner.Running)}, want: runner.Error, why: "step c may not be done twice"},
		"after a command":      {deaths: 1, states: []runner.StepState{state("c", "cmd", runner.Succeeded), building}, want: runner.Error, why: "step c"},
		"in a push":            {deaths: 1, states: []runner.StepState{state("p", "push", runner.Running)}, want: runner.Error, why: "step p"},
		"cancelled before":     {deaths: 1, cancel: true, want: runner.Canceled, why: "canceled by user"},
		"with an SSH agent":    {req: runner.Request{AgentIDs: []string{"default"}}, want: runner.Error, why: "SSH agent"},
		"with agent, building": {deaths: 1, states: []runner.StepState{building}, req: runner.Request{AgentIDs: []string{"default"}}, want: runner.Error, why: "SSH agent"},
	} {
		t.Run(name, func(t *testing.T) {
			db := openStore(t)
			tt.req.Inline, tt.req.Timeout, tt.req.Registry = []byte(file), time.Minute, "r.io"
			id := storetest.Add(t, db, tt.req).ID
			for range tt.deaths {
				dead := &deadDaemon{t, db, storetest.Join(t, db, "bench", time.Hour)}
				dead.take(tt.states...)
				if tt.cancel {
					if err := (&runner.Runner{Store: db}).Cancel(t.Context(), id); err != nil {
						t.Fatal(err)
					}
				}
				storetest.Join(t, db, "bench", time.Hour) // a process that dies before it takes anything
				settleOnly(t, db)
			}
			b := newBench(t, func(r *runner.Runner) { r.Store, r.Engine = db, obliging() })
			defer b.end()
			b.store = db
			run := b.ended(id)
			if run.Status != tt.want || !strings.Contains(run.Err, tt.why) {
				t.Errorf("run is %s (%s), want %s (%s)", run.Status, run.Err, tt.want, tt.why)
			}
			if run.FailedStep != "" {
				t.Errorf("step %s is said to have failed", run.FailedStep)
			}
			for _, s := range run.Steps {
				if !s.Status.Final() {
					t.Errorf("step %s is %s", s.ID, s.Status)
				}
			}
			if n := finishedEvents(t, db)[id]; n != 1 {
				t.Errorf("%d events say that the run has finished, want 1", n)
			}
		})
	}
}

// obliging is an engine for runs that are in the queue when the runner starts:
// all that it is asked for goes well.
func obliging() *stepstest.Fake {
	return &stepstest.Fake{
		BuildFunc: func(context.Context, *steps.BuildOp, io.Writer) (*steps.Image, error) {
			return &steps.Image{Tags: []string{"r.io/x:latest"}, Digest: "sha256:aa"}, nil
		},
		ExecFunc: func(context.Context, *steps.ExecOp, steps.Output) error { return nil },
	}
}

// settleOnly is a daemon that starts, settles what is left, and stops.
func settleOnly(t *testing.T, db *store.DB) {
	t.Helper()
	b := newBench(t, func(r *runner.Runner) {
		r.Store = noQueue{db}
	})
	orphans := func() int {
		ids, err := db.Orphans(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(ids)
	}
	for deadline := time.Now().Add(10 * time.Second); orphans() > 0 && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	b.end()
}

// noQueue is a store with nothing to take.
type noQueue struct{ *store.DB }

func (noQueue) TakeRun(ctx context.Context, _ runner.Daemon) (*runner.Run, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// ended waits for the record to be final.
func (b *bench) ended(id string) *runner.Run {
	b.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		run, err := b.store.Run(b.Context(), id)
		if err != nil {
			b.Fatal(err)
		}
		if run.Status.Final() {
			return run
		}
		if time.Now().After(deadline) {
			b.Fatalf("run %s is still %s", id, run.Status)
		}
	}
}

func finishedEvents(t testing.TB, db *store.DB) map[string]int {
	t.Helper()
	all, err := db.OpenEvents(t.Context(), 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, e := range all {
		if e.Type == eventing.RunSucceeded || e.Type == eventing.RunFailed {
			found[e.Subject]++
		}
	}
	return found
}

// TestLostRunStops takes a run away from a daemon that lives.
func TestLostRunStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(r *runner.Runner) { r.Alone = false })
		defer b.end()
		stopped := make(chan error, 1)
		b.engine.ExecFunc = func(ctx context.Context, _ *steps.ExecOp, _ steps.Output) error {
			err := block(ctx)
			stopped <- err
			return err
		}
		run := b.submit("{steps: [{cmd: x}]}")
		synctest.Wait()
		other := storetest.Join(t, b.store, "other", time.Hour)
		_, err := b.store.ChangeRun(t.Context(), run.ID, func(r *runner.Run) ([]eventing.Event, error) {
			r.Status = runner.Error
			r.Err = "settled by another"
			return nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := <-stopped; !errors.Is(err, runner.ErrFenced) {
			t.Errorf("the step was stopped by %v, want ErrFenced", err)
		}
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("it went on for %v, more than a lease", took)
		}
		synctest.Wait()
		if got, _ := b.store.Run(t.Context(), run.ID); got.Status != runner.Error || got.Err != "settled by another" {
			t.Errorf("run is %s (%s)", got.Status, got.Err)
		}
		_ = other
	})
}

// TestCancelElsewhere cancels a run that another daemon executes.
func TestCancelElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(r *runner.Runner) { r.Alone = false })
		defer b.end()
		b.engine.ExecFunc = func(ctx context.Context, _ *steps.ExecOp, _ steps.Output) error { return block(ctx) }
		run := b.submit("{steps: [{cmd: x}]}")
		synctest.Wait()
		elsewhere := &runner.Runner{Store: b.store, Logs: b.logs}
		for range 2 { // it may be asked again
			if err := elsewhere.Cancel(t.Context(), run.ID); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		got, _ := b.wait(run.ID)
		if took := time.Since(start); got.Status != runner.Canceled || took > 10*time.Second {
			t.Errorf("run is %s (%s) after %v", got.Status, got.Err, took)
		}
	})
}

// A fullStore is a store on a disk that is full at times.
type fullStore struct {
	*store.DB
	full atomic.Bool
}

func (s *fullStore) err() error {
	if s.full.Load() {
		return runner.ErrNoSpace
	}
	return nil
}

func (s *fullStore) AddRun(ctx context.Context, r *runner.Run, ready func(*runner.Run) ([]eventing.Event, error)) error {
	if err := s.err(); err != nil {
		return err
	}
	return s.DB.AddRun(ctx, r, ready)
}

func (s *fullStore) SaveRun(ctx context.Context, r *runner.Run, events ...eventing.Event) error {
	if err := s.err(); err != nil {
		return err
	}
	return s.DB.SaveRun(ctx, r, events...)
}

func (s *fullStore) TakeRun(ctx context.Context, d runner.Daemon) (*runner.Run, error) {
	if err := s.err(); err != nil {
		return nil, err
	}
	return s.DB.TakeRun(ctx, d)
}

func (s *fullStore) Beat(ctx context.Context, d runner.Daemon) ([]runner.Held, error) {
	if err := s.err(); err != nil {
		return nil, err
	}
	return s.DB.Beat(ctx, d)
}

// TestFullDisk fills the disk under a run for an hour.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := &fullStore{}
		b := newBench(t, func(r *runner.Runner) {
			full.DB = r.Store.(*store.DB)
			r.Store, r.Alone = full, false
		})
		defer b.end()
		b.engine.ExecFunc = func(context.Context, *steps.ExecOp, steps.Output) error {
			time.Sleep(time.Minute)
			return nil
		}
		run := b.submit("{steps: [{id: a, cmd: x}, {id: b, cmd: x}]}")
		synctest.Wait()
		full.full.Store(true)
		if _, err := b.runner.Submit(t.Context(), runner.Request{Inline: []byte("{steps: [{cmd: x}]}")}); !errors.Is(err, runner.ErrNoSpace) {
			t.Errorf("a submission to a full disk: %v, want ErrNoSpace", err)
		}
		time.Sleep(time.Hour)
		full.full.Store(false)
		start := time.Now()
		got, _ := b.wait(run.ID)
		if took := time.Since(start); got.Status != runner.Error || !strings.Contains(got.Err, "no space") || took > 30*time.Second {
			t.Errorf("run is %s (%s) %v after there is space", got.Status, got.Err, took)
		}
		if got, _ := b.do("{steps: [{cmd: x}]}"); got.Status != runner.Succeeded {
			t.Errorf("the next run is %s (%s)", got.Status, got.Err)
		}
	})
}

func TestHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hurry := make(chan struct{})
		b := newBench(t, func(r *runner.Runner) { r.DrainTimeout, r.Hurry, r.Slots = time.Hour, hurry, 1 })
		b.engine.ExecFunc = func(ctx context.Context, _ *steps.ExecOp, _ steps.Output) error { return block(ctx) }
		run, queued := b.submit("{steps: [{cmd: x}]}"), b.submit("{steps: [{cmd: x}]}")
		synctest.Wait()
		b.stop()
		time.Sleep(time.Minute)
		close(hurry)
		start := time.Now()
		if err := <-b.served; err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("hurried for %v", took)
		}
		if got, _ := b.store.Run(t.Context(), run.ID); got.Status != runner.Canceled {
			t.Errorf("the run is %s (%s)", got.Status, got.Err)
		}
		if got, _ := b.store.Run(t.Context(), queued.ID); got.Status != runner.Queued {
			t.Errorf("the queued run is %s (%s)", got.Status, got.Err)
		}
	})
}

func TestRerun(t *testing.T) {
	b := newBench(t, nil)
	defer b.end()
	var args []string
	b.engine.ExecFunc = func(_ context.Context, op *steps.ExecOp, _ steps.Output) error { args = op.Args; return nil }
	first, err := b.runner.Submit(t.Context(), runner.Request{
		Inline: []byte("{steps: [{cmd: 'x {{.Values.a}} {{.Values.b}}'}]}"), Cause: &runner.Cause{},
		Values: map[string]string{"a": "plain"}, SecretValues: map[string]string{"b": "s3cr3t"},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.wait(first.ID)
	args = nil
	again, err := b.runner.Rerun(t.Context(), first.ID, false)
	if err != nil {
		t.Fatal(err)
	}
	run, log := b.wait(again.ID)
	if run.ID == first.ID || run.Status != runner.Succeeded || !slices.Equal(args, []string{"plain", "s3cr3t"}) || run.Request.Cause != nil {
		t.Errorf("run %s is %s with %v\n%s", run.ID, run.Status, args, log)
	}
	if _, err := b.runner.Rerun(t.Context(), "cc999", false); !errors.Is(err, runner.ErrNotFound) {
		t.Errorf("rerun of none: %v", err)
	}
}

func TestExpire(t *testing.T) {
	b := newBench(t, nil)
	defer b.end()
	b.engine.ExecFunc = func(context.Context, *steps.ExecOp, steps.Output) error { return nil }
	var ids []string
	for i := range 4 {
		run, err := b.runner.Submit(t.Context(), runner.Request{Inline: []byte("{steps: [{cmd: x}]}"), Archive: i == 0})
		if err != nil {
			t.Fatal(err)
		}
		got, _ := b.wait(run.ID)
		if got.LogBytes == 0 {
			t.Errorf("run %s has an empty log", run.ID)
		}
		ids = append(ids, run.ID)
	}
	removed, err := b.runner.Expire(t.Context(), runner.Retention{Count: 1})
	if err != nil || removed != 2 {
		t.Errorf("removed %d (%v), want 2", removed, err)
	}
	for i, id := range ids {
		_, err := b.store.Run(t.Context(), id)
		log, logErr := b.logs.Open(t.Context(), id, 0, false)
		if logErr == nil {
			log.Close()
		}
		if kept := i == 0 || i == 3; (err == nil) != kept || (logErr == nil) != kept {
			t.Errorf("run %d: %v, its log: %v; want kept %v", i, err, logErr, kept)
		}
	}
}
