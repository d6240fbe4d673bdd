package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/internal/api"
	"acrd/internal/contexts"
	"acrd/runner"
)

// TestCollectUploads keeps what runs that wait are to be built from, however
// old it is.
func TestCollectUploads(t *testing.T) {
	dir := t.TempDir()
	db, _ := openRecords(t, dir)
	h := &housekeeping{
		daemon:   &daemon{store: db, daemonOptions: daemonOptions{state: dir}},
		uploads:  &contexts.Store{Dir: filepath.Join(dir, "contexts")},
		archives: &api.Archives{Dir: filepath.Join(dir, "uploads")},
	}
	long := time.Now().Add(-2 * uploadAge)

	m := &contexts.Manifest{Entries: []contexts.Entry{{Path: "a", Type: contexts.Dir, Mode: 0o755}}}
	if _, err := h.uploads.Plan(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	used, _ := filepath.Glob(filepath.Join(dir, "contexts", "contexts", "*", "name"))
	if len(used) != 1 {
		t.Fatalf("one context is planned, and there are %d", len(used))
	}
	const id = "00000000-0000-0000-0000-000000000000"
	archive := runner.ArchivePrefix + long.UTC().Format("200601021504") + "/" + id + ".tar.gz"
	file := filepath.Join(dir, "uploads", archive)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}

	var runs []*runner.Run
	for _, upload := range []string{m.Digest().String(), archive} {
		run := &runner.Run{Status: runner.Queued, Created: long, Request: runner.Request{Source: runner.UploadScheme + upload}}
		if err := db.AddRun(t.Context(), run, func(*runner.Run) ([]eventing.Event, error) { return nil, nil }); err != nil {
			t.Fatal(err)
		}
		runs = append(runs, run)
	}
	there := func(want bool) {
		t.Helper()
		if err := os.Chtimes(used[0], long, long); err != nil {
			t.Fatal(err)
		}
		if _, err := h.collectUploads(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{used[0], file} {
			if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) == want {
				t.Errorf("%s: %v; want it there: %v", name, err, want)
			}
		}
	}
	there(true)
	for _, run := range runs {
		_, err := db.ChangeRun(t.Context(), run.ID, func(r *runner.Run) ([]eventing.Event, error) {
			r.Status, r.Finished = runner.Succeeded, time.Now()
			return nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	there(false)
}
