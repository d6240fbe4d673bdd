package runner_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"acrd/internal/logs"
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
	b.ReportMetric(float64(n)/took.Seconds(), "submissions/s")
}

// BenchmarkStart is the time from submission to the first step when a slot is
// free. Bar: p50 of 10 ms.
func BenchmarkStart(b *testing.B) {
	const each = 100
	started := make(chan time.Time, 1)
	engine := &stepstest.Fake{ExecFunc: func(context.Context, *steps.ExecOp, steps.Output) error {
		started <- time.Now()
		return nil
	}}
	r := &runner.Runner{
		Store: storetest.New(b), Logs: &logs.Dir{Path: b.TempDir()}, Sources: noSources{}, Engine: engine, Registry: "r.io", Dir: b.TempDir(), Alone: true,
	}
	ctx, stop := context.WithCancel(b.Context())
	served := make(chan error)
	go func() { served <- r.Serve(ctx) }()
	var times []time.Duration
	for b.Loop() {
		for range each {
			start := time.Now()
			if _, err := r.Submit(b.Context(), runner.Request{Inline: []byte("steps: [{cmd: x}]")}); err != nil {
				b.Fatal(err)
			}
			times = append(times, (<-started).Sub(start))
		}
	}
	quantiles(b, times)
	stop()
	if err := <-served; err != nil {
		b.Fatal(err)
	}
}
