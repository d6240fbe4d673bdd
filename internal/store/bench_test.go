package store

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"acrd/runner"
	"acrd/steps"
)

// plain is a Sealer that seals nothing.
type plain struct{}

func (plain) SealFor(_ string, b []byte) ([]byte, error) { return b, nil }
func (plain) OpenFor(_ string, b []byte) ([]byte, error) { return b, nil }

// manyRuns is the number of runs in the store of BenchmarkList.
const manyRuns = 1_000_000

// BenchmarkList reads pages of 50 runs from a store that holds a million, each
// kind of page many times. Bar: p99 of 20 ms.
func BenchmarkList(b *testing.B) {
	db, err := Open(b.Context(), Options{URL: filepath.Join(b.TempDir(), "acrd.db"), Sealer: plain{}})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	start := time.Now()
	fill(b, db, manyRuns)
	b.Logf("%d runs in %v", manyRuns, time.Since(start).Round(time.Second))
	created := time.UnixMicro(0).Add(time.Hour)
	for _, page := range []struct {
		name string
		f    runner.Filter
	}{
		{"newest", runner.Filter{}},
		{"deep", runner.Filter{Before: formatID(manyRuns / 2)}},
		{"task", runner.Filter{Task: "task7"}},
		{"status", runner.Filter{Statuses: []runner.Status{runner.Failed}}},
		{"task and status", runner.Filter{Task: "task7", Statuses: []runner.Status{runner.Failed, runner.Error}}},
		{"image", runner.Filter{Image: "app500000@sha256:500000"}},
		{"time", runner.Filter{CreatedFrom: created.Add(100 * time.Hour), CreatedTo: created.Add(101 * time.Hour)}},
	} {
		b.Run(page.name, func(b *testing.B) {
			page.f.Limit = 50
			var times []time.Duration
			for b.Loop() {
				for range 100 {
					start := time.Now()
					if runs, err := db.Runs(b.Context(), page.f); err != nil || len(runs) == 0 {
						b.Fatalf("%d runs, %v", len(runs), err)
					}
					times = append(times, time.Since(start))
				}
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2])/1e6, "ms-p50")
			b.ReportMetric(float64(times[len(times)*99/100])/1e6, "ms-p99")
			b.ReportMetric(20, "ms-p99-bar")
			b.ReportMetric(0, "ns/op") // of a hundred pages
		})
	}
}

// fill writes runs of 100 tasks, one a second, one in ten of them failed.
func fill(b *testing.B, db *DB, n int) {
	b.Helper()
	if _, err := db.write.ExecContext(b.Context(), "PRAGMA synchronous=OFF"); err != nil {
		b.Fatal(err)
	}
	const batch = 10_000
	for first := 1; first <= n; first += batch {
		t, err := db.write.BeginTx(b.Context(), nil)
		if err != nil {
			b.Fatal(err)
		}
		for i := first; i < first+batch; i++ {
			if err := fillOne(b.Context(), &tx{Tx: t, dialect: db.dialect}, i); err != nil {
				b.Fatal(err)
			}
		}
		if err := t.Commit(); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := db.write.ExecContext(b.Context(), "UPDATE runs SET finished = created + 60000000"); err != nil {
		b.Fatal(err)
	}
}

func fillOne(ctx context.Context, t *tx, i int) error {
	at := time.UnixMicro(0).Add(time.Duration(i) * time.Second)
	run := &runner.Run{
		ID: formatID(int64(i)), Type: runner.AutoBuild, Status: runner.Succeeded, Created: at, Started: at, Finished: at.Add(time.Minute), Updated: at.Add(time.Minute),
		Request: runner.Request{Task: fmt.Sprintf("task%d", i%100), Registry: "localhost:5000", Timeout: time.Hour},
		Steps:   []runner.StepState{{ID: "build", Kind: "build", Status: runner.Succeeded, Started: at, Finished: at.Add(time.Minute)}},
		Pushed:  []*steps.Pushed{{Ref: fmt.Sprintf("localhost:5000/app%d:v1", i), Digest: fmt.Sprintf("sha256:%d", i)}},
	}
	if i%10 == 7 {
		run.Status = runner.Failed
	}
	if err := insertRun(ctx, t, int64(i), run, []byte("{}")); err != nil {
		return err
	}
	_, err := t.exec(ctx, "INSERT INTO run_images (image, seq) VALUES ($1, $2)", fmt.Sprintf("app%d@sha256:%d", i, i), i)
	return err
}
