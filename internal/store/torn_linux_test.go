//go:build amd64 || arm64

package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/runner"
	"acrd/steps"
)

// An ack is what somebody has been told after the first ops of a recording.
type ack struct {
	ops      int
	statuses map[string]runner.Status
}

// TestTornWrites records what a migration and the life of some runs write,
// crashes at each of these writes in several ways, and opens what is left:
// nothing that was acknowledged may be lost, and no transaction may be there
// in part.
func TestTornWrites(t *testing.T) {
	dir := t.TempDir()
	r, stop := record()
	acks := live(t, filepath.Join(dir, "acrd.db"), r)
	stop()
	states := crashes(r.ops, acks)
	t.Logf("%d operations, %d acknowledgements, %d different states after a crash", len(r.ops), len(acks), len(states))
	if len(states) < 1000 {
		t.Errorf("%d states are too few to say anything", len(states))
	}
	start := time.Now()
	for i, s := range states {
		told := acks[s.told]
		if err := examine(t.Context(), s, told, i%16 == 0 || told.statuses == nil); err != nil {
			t.Errorf("crash after operation %d of %d, %s: %v", s.ops, len(r.ops), s.how, err)
		}
	}
	t.Logf("examined in %v", time.Since(start).Round(time.Millisecond))
}

// live is a recorded life: migration, runs through all of their states,
// checkpoints in between, and a restart.
func live(t *testing.T, path string, r *recorder) []ack {
	t.Helper()
	statuses := map[string]runner.Status{}
	acks := []ack{{}}
	told := func() { acks = append(acks, ack{len(r.ops), maps.Clone(statuses)}) }
	for part := range 2 {
		db, err := Open(t.Context(), Options{URL: path, Sealer: plain{}})
		if err != nil {
			t.Fatal(err)
		}
		told()
		d := runner.Daemon{ID: fmt.Sprint("d", part), Name: "d", Lease: time.Hour}
		must(t, db.Join(t.Context(), d))
		for i := range 5 {
			run := &runner.Run{Status: runner.Queued, Type: runner.QuickRun, Created: time.Now(), Request: runner.Request{Inline: []byte(strings.Repeat("x", 300*i))}}
			must(t, db.AddRun(t.Context(), run, func(r *runner.Run) ([]eventing.Event, error) {
				return []eventing.Event{runner.NewRunEvent(eventing.RunQueued, r)}, nil
			}))
			statuses[run.ID] = runner.Queued
			told()
			taken, err := db.TakeRun(t.Context(), d)
			must(t, err)
			statuses[taken.ID] = runner.Started
			told()
			taken.Status = runner.Running
			must(t, db.SaveRun(t.Context(), taken, runner.NewRunEvent(eventing.RunStarted, taken)))
			statuses[taken.ID] = runner.Running
			told()
			taken.Status, taken.Finished = runner.Succeeded, time.Now()
			taken.Pushed = []*steps.Pushed{{Ref: "r.io/a:b", Digest: "sha256:aa"}}
			must(t, db.SaveRun(t.Context(), taken, runner.NewRunEvent(runner.RunFinished, taken)))
			statuses[taken.ID] = runner.Succeeded
			told()
			if i%2 == 1 { // what SQLite does by itself after many more writes
				_, err := db.write.ExecContext(t.Context(), "PRAGMA wal_checkpoint(RESTART)")
				must(t, err)
			}
		}
		must(t, db.Close())
	}
	return acks
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A state is what a crash has left.
type state struct {
	told  int // the last of the acks
	ops   int
	how   string
	files map[string][]byte
}

// crashes are the different states after each of the operations: as a killed
// process leaves them, with the last write torn, and as a power cut does, which
// loses what was not synced, all of it or some.
func crashes(ops []op, acks []ack) []state {
	var states []state
	seen := map[[32]byte]bool{}
	keep := func(n int, how string, files map[string][]byte) {
		told := 0
		for i, a := range acks {
			if a.ops <= n {
				told = i
			}
		}
		if sum := digest(told, files); !seen[sum] {
			seen[sum] = true
			states = append(states, state{told, n, how, files})
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	written, synced := map[string][]byte{}, map[string][]byte{}
	var open []op // not synced
	for i, o := range ops {
		torn := maps.Clone(written)
		if o.kind == opWrite && len(o.data) > 1 {
			apply(torn, op{opWrite, o.file, o.off, o.data[:1+random.IntN(len(o.data)-1)]})
			keep(i, "killed in a write", torn)
		}
		apply(written, o)
		switch o.kind {
		case opSync, opDelete:
			synced[o.file] = written[o.file]
			if o.kind == opDelete {
				delete(synced, o.file)
			}
			open = slices.DeleteFunc(open, func(p op) bool { return p.file == o.file })
		default:
			open = append(open, o)
		}
		keep(i+1, "killed", maps.Clone(written))
		keep(i+1, "power cut, nothing of what was not synced", maps.Clone(synced))
		some := maps.Clone(synced)
		for _, p := range open {
			if random.IntN(2) == 0 {
				continue
			}
			if p.kind == opWrite && random.IntN(4) == 0 {
				p.data = p.data[:random.IntN(len(p.data)+1)]
			}
			apply(some, p)
		}
		keep(i+1, "power cut, some of what was not synced", some)
	}
	return states
}

// apply does o. Contents are not changed in place, for states share them.
func apply(files map[string][]byte, o op) {
	b := files[o.file]
	switch o.kind {
	case opWrite:
		grown := make([]byte, max(int64(len(b)), o.off+int64(len(o.data))))
		copy(grown, b)
		copy(grown[o.off:], o.data)
		files[o.file] = grown
	case opTruncate:
		files[o.file] = slices.Clone(b[:min(o.off, int64(len(b)))])
	case opDelete:
		delete(files, o.file)
	case opSync:
		if b == nil {
			files[o.file] = []byte{}
		}
	}
}

// digest tells states apart by their files and by what was told before.
func digest(told int, files map[string][]byte) [32]byte {
	h := sha256.New()
	fmt.Fprintln(h, told)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintln(h, filepath.Base(name), len(files[name]))
		h.Write(files[name])
	}
	return [32]byte(h.Sum(nil))
}

// examine opens what is left and compares it with what was told.
func examine(ctx context.Context, s state, told ack, whole bool) error {
	dir, err := os.MkdirTemp("", "torn-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "acrd.db")
	for name, b := range s.files {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), b, 0o600); err != nil {
			return err
		}
	}
	if whole {
		db, err := Open(ctx, Options{URL: path, Sealer: plain{}})
		if err != nil {
			return err
		}
		if err := db.Close(); err != nil {
			return err
		}
	}
	db, err := sql.Open("sqlite", sqliteName(path))
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	var answer string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&answer); err != nil || answer != "ok" {
		return fmt.Errorf("integrity: %s %w", answer, err)
	}
	if told.statuses == nil && !whole {
		return nil
	}
	return compare(ctx, db, told)
}

// rank orders the statuses of a life.
var rank = map[runner.Status]int{runner.Queued: 1, runner.Started: 2, runner.Running: 3, runner.Succeeded: 4}

func compare(ctx context.Context, db *sql.DB, told ack) error {
	found := map[string]runner.Status{}
	rows, err := db.QueryContext(ctx, "SELECT seq, status FROM runs")
	if err != nil {
		return err
	}
	defer rows.Close()
	last := int64(0)
	for rows.Next() {
		var seq int64
		var status string
		if err := rows.Scan(&seq, &status); err != nil {
			return err
		}
		found[formatID(seq)] = runner.Status(status)
		last = max(last, seq)
	}
	for id, status := range told.statuses {
		if rank[found[id]] < rank[status] {
			return fmt.Errorf("run %s was acknowledged as %s and is %q", id, status, found[id])
		}
	}
	want := map[string]int{}
	for _, status := range found {
		want[eventing.RunQueued]++
		if rank[status] >= 3 {
			want[eventing.RunStarted]++
		}
		if rank[status] >= 4 {
			want[runner.RunFinished]++
			want["images"]++
		}
		want["requests"]++
	}
	return compareCounts(ctx, db, want, last)
}

// compareCounts finds transactions that are there in part.
func compareCounts(ctx context.Context, db *sql.DB, want map[string]int, last int64) error {
	for _, c := range []struct{ name, query string }{
		{eventing.RunQueued, "SELECT count(*) FROM events WHERE type = 'Acrd.RunQueued'"},
		{eventing.RunStarted, "SELECT count(*) FROM events WHERE type = 'Acrd.RunStarted'"},
		{runner.RunFinished, "SELECT count(*) FROM events WHERE type IN ('Acrd.RunSucceeded', 'Acrd.RunFailed')"},
		{"images", "SELECT count(DISTINCT seq) FROM run_images"},
		{"requests", "SELECT count(*) FROM run_requests"},
	} {
		var n int
		if err := db.QueryRowContext(ctx, c.query).Scan(&n); err != nil {
			return err
		}
		if n != want[c.name] {
			return fmt.Errorf("%s: %d, and the runs say %d", c.name, n, want[c.name])
		}
	}
	var next int64
	if err := db.QueryRowContext(ctx, "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'next run'").Scan(&next); err != nil {
		return err
	}
	if next <= last {
		return fmt.Errorf("the next run would be %d, and there is %d already", next, last)
	}
	return nil
}
