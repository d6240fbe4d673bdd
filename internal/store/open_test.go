package store_test

import (
	"bytes"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"acrd/internal/store"
	"acrd/internal/store/storetest"
	"acrd/runner"
)

func open(t *testing.T, path string) (*store.DB, error) {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{URL: path, Sealer: storetest.Key(t)})
	if err == nil {
		t.Cleanup(func() { db.Close() })
	}
	return db, err
}

// alter changes a closed store behind its back.
func alter(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := storetest.SQLite(t)
	db := storetest.Open(t, path, storetest.Key(t))
	db.Close()
	alter(t, path, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)")
	before := read(t, path)
	if _, err := open(t, path); !errors.Is(err, store.ErrNewer) {
		t.Errorf("got %v, want ErrNewer", err)
	}
	if !bytes.Equal(before, read(t, path)) {
		t.Error("the file was changed")
	}
}

func TestDamageIsRefused(t *testing.T) {
	for name, damage := range map[string]func(b []byte) []byte{
		"header":    func(b []byte) []byte { copy(b, make([]byte, 100)); return b },
		"page":      func(b []byte) []byte { copy(b[4096*3:], bytes.Repeat([]byte{0xff}, 4096)); return b },
		"cut":       func(b []byte) []byte { return b[:4096*2] },
		"other use": func([]byte) []byte { return bytes.Repeat([]byte("not a database\n"), 1000) },
	} {
		t.Run(name, func(t *testing.T) {
			path := storetest.SQLite(t)
			db := storetest.Open(t, path, storetest.Key(t))
			storetest.Add(t, db, runner.Request{})
			db.Close()
			broken := damage(read(t, path))
			if err := os.WriteFile(path, broken, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := open(t, path); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("got %v, want ErrCorrupt", err)
			}
			if !bytes.Equal(broken, read(t, path)) {
				t.Error("the file was changed")
			}
		})
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFiles looks at what others on the machine could see.
func TestFiles(t *testing.T) {
	path := storetest.SQLite(t)
	db := storetest.Open(t, path, storetest.Key(t))
	canary := "s3cr3tcanary"
	storetest.Add(t, db, storetest.SecretRequest(canary))
	storetest.End(t, db, storetest.Take(t, db, storetest.Join(t, db, "d", time.Hour)), runner.Succeeded)
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 4 {
		t.Errorf("files are %v (%v)", files, err)
	}
	for _, f := range files {
		if bytes.Contains(read(t, f), []byte(canary)) {
			t.Errorf("a secret is in %s", filepath.Base(f))
		}
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v (%v), want 0600", filepath.Base(f), info.Mode(), err)
		}
	}
}

// TestSwappedRows gives one run the request of another.
func TestSwappedRows(t *testing.T) {
	path, key := storetest.SQLite(t), storetest.Key(t)
	db := storetest.Open(t, path, key)
	storetest.Add(t, db, runner.Request{})
	second := storetest.Add(t, db, storetest.SecretRequest("x"))
	db.Close()
	alter(t, path, "UPDATE run_requests SET sealed = (SELECT sealed FROM run_requests WHERE seq = 1) WHERE seq = 2")
	db = storetest.Open(t, path, key)
	if req, err := db.Request(t.Context(), second.ID); err == nil {
		t.Errorf("a run has the request of another: %+v", req)
	}
}

func TestBackupAndRestore(t *testing.T) {
	path, key := storetest.SQLite(t), storetest.Key(t)
	db := storetest.Open(t, path, key)
	first := storetest.Add(t, db, storetest.SecretRequest("x"))
	backup := filepath.Join(t.TempDir(), "backup.db")
	for range 2 { // a backup replaces an earlier one
		if err := db.Backup(t.Context(), backup); err != nil {
			t.Fatal(err)
		}
	}
	later := storetest.Add(t, db, runner.Request{})
	db.Close()
	if err := store.Restore(t.Context(), backup, path); err != nil {
		t.Fatal(err)
	}
	db = storetest.Open(t, path, key)
	if _, err := db.Request(t.Context(), first.ID); err != nil {
		t.Errorf("the run of before the backup: %v", err)
	}
	if _, err := db.Run(t.Context(), later.ID); !errors.Is(err, runner.ErrNotFound) {
		t.Errorf("the run of after the backup: %v", err)
	}
	if next := storetest.Add(t, db, runner.Request{}).ID; next <= later.ID {
		t.Errorf("the next run is %s, and there was %s already", next, later.ID)
	}
	old := storetest.Open(t, path+".replaced", key)
	if _, err := old.Run(t.Context(), later.ID); err != nil {
		t.Errorf("what was there is not kept: %v", err)
	}
	before := read(t, path)
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("no backup at all, though long enough to be looked at"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := store.Restore(t.Context(), broken, path); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("restore of what is no backup: %v", err)
	}
	if !bytes.Equal(before, read(t, path)) {
		t.Error("a restore that failed has changed the store")
	}
}

// TestBackupWhileInUse copies a store that is being written to.
func TestBackupWhileInUse(t *testing.T) {
	path, key := storetest.SQLite(t), storetest.Key(t)
	db := storetest.Open(t, path, key)
	stop, done := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				done <- n
				return
			default:
				storetest.Add(t, db, runner.Request{})
			}
		}
	}()
	for i := range 3 {
		backup := filepath.Join(t.TempDir(), "backup.db")
		if err := store.BackupFile(t.Context(), path, backup); err != nil {
			t.Errorf("backup %d: %v", i, err)
			continue
		}
		copied := storetest.Open(t, backup, key)
		runs, err := copied.Runs(t.Context(), runner.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, run := range runs {
			if _, err := copied.Request(t.Context(), run.ID); err != nil {
				t.Errorf("backup %d: %v", i, err)
			}
		}
	}
	close(stop)
	if n := <-done; n == 0 {
		t.Error("nothing was written meanwhile")
	}
}
