package runner_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"acrd/internal/logs"
	"acrd/internal/store/storetest"
	"acrd/runner"
	"acrd/steps"
	"acrd/steps/stepstest"
)

// TestDatabaseOutage crashes PostgreSQL under a daemon, several times, and
// leaves it away for less than a lease and for more. Every run that was
// acknowledged must end, once.
func TestDatabaseOutage(t *testing.T) {
	server := storetest.StartPostgres(t)
	db := storetest.Open(t, server.Database(t), storetest.Key(t))
	dir := t.TempDir()
	engine := &stepstest.Fake{ExecFunc: func(ctx context.Context, _ *steps.ExecOp, _ steps.Output) error {
		select {
		case <-time.After(30 * time.Millisecond):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}}
	r := &runner.Runner{
		Store: db, Logs: &logs.Dir{Path: filepath.Join(dir, "logs")}, Sources: noSources{}, Engine: engine, Registry: "r.io",
		Dir: filepath.Join(dir, "runs"), Name: "only", Lease: 2 * time.Second,
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 2)
	go func() { served <- r.Serve(ctx) }()
	go func() { served <- db.Serve(ctx) }()
	var acknowledged []string
	submit := func(n int) {
		for i := range n {
			run, err := r.Submit(t.Context(), runner.Request{Inline: fmt.Appendf(nil, "steps: [{cmd: x run%d}]", i)})
			if err == nil {
				acknowledged = append(acknowledged, run.ID)
			}
		}
	}
	for _, away := range []time.Duration{0, 500 * time.Millisecond, 4 * time.Second} {
		submit(15)
		server.Kill()
		submit(1) // fails, and must not hang
		time.Sleep(away)
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
	}
	submit(5)
	if len(acknowledged) < 45 {
		t.Errorf("only %d runs were acknowledged", len(acknowledged))
	}
	statuses := map[runner.Status]int{}
	b := &bench{T: t, store: db}
	for _, id := range acknowledged {
		statuses[b.ended(id).Status]++
	}
	t.Logf("runs: %v", statuses)
	finished := finishedEvents(t, db)
	for _, id := range acknowledged {
		if finished[id] != 1 {
			t.Errorf("run %s ended %d times", id, finished[id])
		}
	}
	stop()
	for range 2 {
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}
