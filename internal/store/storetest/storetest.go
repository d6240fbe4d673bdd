// Package storetest helps to test what keeps state: stores to test on, and the
// suite that says what a store must do on each database.
package storetest

import (
	"path/filepath"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/internal/secrets"
	"acrd/internal/store"
	"acrd/runner"
)

// Open opens a store for the length of a test.
func Open(t testing.TB, url string, sealer store.Sealer) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{URL: url, Sealer: sealer})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	return db
}

// New opens an empty store on SQLite for the length of a test.
func New(t testing.TB) *store.DB {
	t.Helper()
	return Open(t, SQLite(t), Key(t))
}

// SQLite is the path of a store that is not there yet.
func SQLite(t testing.TB) string { return filepath.Join(t.TempDir(), "acrd.db") }

// Key is a new key.
func Key(t testing.TB) *secrets.Key {
	t.Helper()
	key, err := secrets.OpenKeyFile(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Add queues a run.
func Add(t testing.TB, db *store.DB, req runner.Request) *runner.Run {
	t.Helper()
	run := &runner.Run{Type: runner.QuickRun, Status: runner.Queued, Request: req, Created: time.Now(), Archived: req.Archive}
	run.Updated = run.Created
	err := db.AddRun(t.Context(), run, func(r *runner.Run) ([]eventing.Event, error) {
		return []eventing.Event{runner.NewRunEvent(eventing.RunQueued, r)}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// Take takes the next run, which must be there.
func Take(t testing.TB, db *store.DB, d runner.Daemon) *runner.Run {
	t.Helper()
	run, err := db.TakeRun(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// Join makes a daemon known.
func Join(t testing.TB, db *store.DB, name string, lease time.Duration) runner.Daemon {
	t.Helper()
	d := runner.Daemon{ID: name + " " + time.Now().Format(time.RFC3339Nano), Name: name, Lease: lease}
	if err := db.Join(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	return d
}

// End saves a run as ended.
func End(t testing.TB, db *store.DB, run *runner.Run, s runner.Status) {
	t.Helper()
	run.Status, run.Finished, run.Updated = s, time.Now(), time.Now()
	if err := db.SaveRun(t.Context(), run, runner.NewRunEvent(runner.RunFinished, run)); err != nil {
		t.Fatal(err)
	}
}
