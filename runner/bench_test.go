package runner_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"acrd/internal/logs"
	"acrd/internal/store"
	"acrd/internal/store/storetest"
	"acrd/runner"
	"acrd/steps"
	"acrd/steps/stepstest"
)

// quantiles reports some of the times that something took.
func quantiles(b *testing.B, times []time.Duration) {
	b.Helper()
	slices.Sort(times)
	at := func(q float64) float64 {
		return float64(times[int(q*float64(len(times)-1))]) / float64(time.Millisecond)
	}
	b.ReportMetric(at(0.5), "ms-p50")
	b.ReportMetric(at(0.99), "ms-p99")
}

// BenchmarkSubmit is how many submissions a second are acknowledged on SQLite,
// each durable and with its log begun. Bar: 400.
func BenchmarkSubmit(b *testing.B) {
	const each = 500
	r := &runner.Runner{Store: storetest.New(b), Logs: &logs.Dir{Path: b.TempDir()}, Registry: "r.io", Alone: true}
	var took time.Duration
	n := 0
	for b.Loop() {
		start := time.Now()
		for range each {
			if _, err := r.Submit(b.Context(), runner.Request{Inline: []byte("steps: [{cmd: x}]")}); err != nil {
				b.Fatal(err)
			}
		}
		took += time.Since(start)
		n += each
	}
	b.ReportMetric(0, "ns/op") // of all together: says nothing
	b.ReportMetric(float64(n)/took.Seconds(), "submissions/s")
	b.ReportMetric(400, "submissions/s-bar")
}

// A clock is an engine that says when runs reach it.
type clock struct {
	stepstest.Fake
	opened, stepped chan time.Time
}

func (c *clock) Open(ctx context.Context, p *steps.Place) (steps.Session, error) {
	c.opened <- time.Now()
	return c.Fake.Open(ctx, p)
}

// BenchmarkStart is the time from submission to start when a slot is free: to
// the moment when the run is Running, its workspace is there and the engine is
// asked for it; and to the first step. Bar: p50 of 10 ms.
func BenchmarkStart(b *testing.B) {
	const each = 100
	engine := &clock{opened: make(chan time.Time, 1), stepped: make(chan time.Time, 1)}
	engine.ExecFunc = func(context.Context, *steps.ExecOp, steps.Output) error {
		engine.stepped <- time.Now()
		return nil
	}
	r := &runner.Runner{
		Store: storetest.New(b), Logs: &logs.Dir{Path: b.TempDir()}, Sources: noSources{}, Engine: engine, Registry: "r.io", Dir: b.TempDir(), Alone: true,
	}
	ctx, stop := context.WithCancel(b.Context())
	served := make(chan error)
	go func() { served <- r.Serve(ctx) }()
	var opened, stepped []time.Duration
	for b.Loop() {
		for range each {
			start := time.Now()
			if _, err := r.Submit(b.Context(), runner.Request{Inline: []byte("steps: [{cmd: x}]")}); err != nil {
				b.Fatal(err)
			}
			opened = append(opened, (<-engine.opened).Sub(start))
			stepped = append(stepped, (<-engine.stepped).Sub(start))
		}
	}
	b.ReportMetric(0, "ns/op")
	quantiles(b, opened)
	slices.Sort(stepped)
	b.ReportMetric(float64(stepped[len(stepped)/2])/float64(time.Millisecond), "ms-to-step-p50")
	b.ReportMetric(10, "ms-p50-bar")
	stop()
	if err := <-served; err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRestart is the time from opening a store with 10,000 runs, of which
// 50 were in progress and the rest is queued, to the first step. Bar: p99 of
// 5 s.
func BenchmarkRestart(b *testing.B) {
	const queued, busy = 10_000, 50
	path, key := storetest.SQLite(b), storetest.Key(b)
	db := storetest.Open(b, path, key)
	for range queued {
		storetest.Add(b, db, runner.Request{Inline: []byte("steps: [{cmd: x}]"), Timeout: time.Minute})
	}
	var times []time.Duration
	for b.Loop() {
		d := storetest.Join(b, db, "bench", time.Minute)
		for range busy {
			storetest.Take(b, db, d)
		}
		times = append(times, firstStep(b, path, key))
	}
	quantiles(b, times)
}

func firstStep(b *testing.B, path string, key store.Sealer) time.Duration {
	b.Helper()
	started := make(chan struct{}, 1000)
	engine := &stepstest.Fake{ExecFunc: func(ctx context.Context, _ *steps.ExecOp, _ steps.Output) error {
		started <- struct{}{}
		return block(ctx)
	}}
	start := time.Now()
	db := storetest.Open(b, path, key)
	r := &runner.Runner{
		Store: db, Logs: &logs.Dir{Path: b.TempDir()}, Sources: noSources{}, Engine: engine, Registry: "r.io", Dir: b.TempDir(), Name: "bench", Alone: true,
	}
	ctx, stop := context.WithCancel(b.Context())
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx) }()
	<-started
	took := time.Since(start)
	stop()
	if err := <-served; err != nil {
		b.Fatal(err)
	}
	return took
}
