package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/internal/store/storetest"
	"acrd/runner"
)

// TestFullDisk fills the disk under an open store, and frees it again.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m,mode=0700"); err != nil {
		t.Skipf("needs the right to mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	db := storetest.Open(t, filepath.Join(dir, "acrd.db"), storetest.Key(t))
	d := storetest.Join(t, db, "d", time.Hour)
	storetest.Add(t, db, runner.Request{})
	running := storetest.Take(t, db, d)
	ballast := filepath.Join(dir, "ballast")
	fillUp(t, ballast)

	big := runner.Request{Inline: make([]byte, 64<<10)}
	run := &runner.Run{Status: runner.Queued, Created: time.Now(), Request: big}
	var err error
	for range 100 { // what SQLite has in reserve is soon used up
		if err = db.AddRun(t.Context(), run, func(*runner.Run) ([]eventing.Event, error) { return nil, nil }); err != nil {
			break
		}
	}
	if !errors.Is(err, runner.ErrNoSpace) {
		t.Errorf("a run on a full disk: %v, want ErrNoSpace", err)
	}
	if _, err := db.Run(t.Context(), running.ID); err != nil {
		t.Errorf("reading on a full disk: %v", err)
	}
	if _, err := db.Beat(t.Context(), d); err != nil && !errors.Is(err, runner.ErrNoSpace) {
		t.Errorf("a beat on a full disk: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	storetest.End(t, db, running, runner.Succeeded)
	storetest.Add(t, db, big)
	for _, r := range []string{running.ID} {
		if got, err := db.Run(t.Context(), r); err != nil || got.Status != runner.Succeeded {
			t.Errorf("run is %v (%v)", got, err)
		}
	}
}

// fillUp writes a file until there is no room for more.
func fillUp(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 64 << 10; size >= 1; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}
