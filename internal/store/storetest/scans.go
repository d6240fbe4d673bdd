package storetest

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/internal/store"
	"acrd/runner"
	"acrd/triggers"

	"github.com/google/go-cmp/cmp"
)

// watchIDs are the ids of the watches of a kind.
func watchIDs(t *testing.T, db *store.DB, kind string) []string {
	t.Helper()
	all, err := db.Watches(t.Context(), kind)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, w := range all {
		ids = append(ids, w.ID)
	}
	return ids
}

// saveWith saves a task, with watches.
func saveWith(t *testing.T, db *store.DB, task string, watches ...triggers.NewWatch) {
	t.Helper()
	change := func(*runner.Task) (*runner.Task, error) { return &runner.Task{Name: task}, nil }
	if _, err := db.ChangeTaskWith(t.Context(), task, change, func(_, _ *runner.Task) []triggers.NewWatch { return watches }); err != nil {
		t.Fatal(err)
	}
}

func claimScan(t *testing.T, db *store.DB) triggers.Watch {
	t.Helper()
	all, err := db.ClaimWatches(t.Context(), triggers.ScanWatch, time.Now(), 1, time.Minute)
	if err != nil || len(all) != 1 {
		t.Fatalf("claimed %v (%v)", all, err)
	}
	return all[0]
}

// scans makes watches with tasks, and ends scans.
func scans(t *testing.T, db *store.DB) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	scan := triggers.NewWatch{Kind: triggers.ScanWatch, ID: "app/", Doc: json.RawMessage(`{}`), Next: now, InPlaceOf: "app/"}
	saveWith(t, db, "app", scan)
	saveWith(t, db, "application", triggers.NewWatch{Kind: triggers.ScanWatch, ID: "application/", Doc: json.RawMessage(`{}`), Next: now.Add(time.Hour)})
	failed := errors.New("wrong")
	_, err := db.ChangeTaskWith(t.Context(), "app", func(old *runner.Task) (*runner.Task, error) { return nil, failed },
		func(_, _ *runner.Task) []triggers.NewWatch {
			return []triggers.NewWatch{{Kind: triggers.ScanWatch, ID: "none/"}}
		})
	if !errors.Is(err, failed) {
		t.Errorf("a change that fails: %v", err)
	}
	first := claimScan(t, db)
	saveWith(t, db, "app", scan) // begins anew
	found := []triggers.Base{{Task: "app", Ref: "node:22", Platform: "linux/amd64", Role: triggers.RunTime, Scanned: now}}
	if err := db.SaveScan(t.Context(), first, "app", found); !errors.Is(err, runner.ErrFenced) {
		t.Errorf("a scan of what the task was before is kept: %v", err)
	}
	second := claimScan(t, db)
	if err := db.SaveScan(t.Context(), second, "app", found); err != nil {
		t.Fatal(err)
	}
	for _, digest := range []string{"sha256:aa", "sha256:bb"} { // the second comes too late
		found[0].Digest = digest
		if err := db.SeeBase(t.Context(), found[0]); err != nil {
			t.Fatal(err)
		}
	}
	found[0].Digest = "sha256:aa"
	got, err := db.BasesOf(t.Context(), "app")
	if diff := cmp.Diff(found, got); diff != "" || err != nil {
		t.Errorf("bases (-want +got, %v):\n%s", err, diff)
	}
	saveWith(t, db, "app", scan)
	third := claimScan(t, db)
	if err := db.SaveBases(t.Context(), "app", nil); err != nil {
		t.Fatal(err)
	}
	if err := db.SaveScan(t.Context(), third, "app", found); !errors.Is(err, runner.ErrFenced) {
		t.Errorf("a scan is kept though there was a build: %v", err)
	}
	saveWith(t, db, "app", scan)
	if err := db.RemoveTask(t.Context(), "app"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"application/"}, watchIDs(t, db, triggers.ScanWatch)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// pushesSince looks for pushes that are under way, and for those that are told.
func pushesSince(t *testing.T, db *store.DB) {
	j := &store.Journal{DB: db, Owner: "alone"}
	began := time.Now().UTC().Truncate(time.Microsecond)
	draft := func(tag, digest string, after time.Duration) eventing.Draft {
		at := began.Add(after)
		d := eventing.Draft{Event: eventing.NewRegistryEvent(eventing.ImagePushed, at, eventing.Target{Repository: "base/os", Tag: tag, Digest: digest}, eventing.Origin{}), At: at}
		if err := j.Begin(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	want := func(what, tag, digest string) {
		t.Helper()
		if got, err := db.PushedSince(t.Context(), "base/os", tag, began); got != digest || err != nil {
			t.Errorf("%s: %q (%v); want %q", what, got, err, digest)
		}
	}
	settle := func(d eventing.Draft, happened bool) {
		t.Helper()
		if err := j.Settle(t.Context(), eventing.Settled{Draft: d, Happened: happened}); err != nil {
			t.Fatal(err)
		}
	}
	settle(draft("1", "sha256:00", -time.Second), true)
	draft("2", "sha256:22", time.Second)
	want("before", "1", "")
	d := draft("1", "sha256:aa", 0)
	want("under way", "1", "sha256:aa")
	settle(d, true)
	want("told", "1", "sha256:aa")
	d = draft("1", "sha256:bb", time.Second)
	want("the next is under way", "1", "sha256:bb")
	settle(d, false)
	want("which has failed", "1", "sha256:aa")
	settle(draft("1", "sha256:cc", 2*time.Second), true)
	want("the last of two", "1", "sha256:cc")
	if told, err := db.ToldSince(t.Context(), "base/os", "1", began); told || err != nil {
		t.Errorf("another registry has told: %v (%v)", told, err)
	}
}
