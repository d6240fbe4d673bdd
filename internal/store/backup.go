package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Backup writes a copy of the store, as it is at one moment, to a file. The
// store may be in use meanwhile. A file that is there is replaced.
func (db *DB) Backup(ctx context.Context, path string) error {
	if db.dialect.notifies {
		return errors.New("the store is on PostgreSQL: back it up with pg_dump")
	}
	return backUp(ctx, db.file, path)
}

// BackupFile is Backup for a store that is not open here, or that another
// process has open.
func BackupFile(ctx context.Context, store, path string) error { return backUp(ctx, store, path) }

func backUp(ctx context.Context, store, path string) (err error) {
	if _, err := os.Stat(store); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".backup-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	part := filepath.Join(dir, "db")
	db, err := sql.Open("sqlite", sqliteName(store, "_txlock=deferred"))
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", part); err != nil {
		return err
	}
	return publish(part, path)
}

// publish makes a finished file durable under its name.
func publish(part, path string) error {
	if err := os.Chmod(part, 0o600); err != nil {
		return err
	}
	if err := syncPath(part); err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return err
	}
	return syncPath(filepath.Dir(path))
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// skipIDs is how many run ids a restored store leaves out: those that runs had
// after the backup was made, for images carry them.
const skipIDs = 36 * 36

// Restore puts a backup in the place of a store that nobody has open. What was
// there is kept beside it, with .replaced behind its name. A backup that is
// damaged, or of a later version of acrd, is refused.
func Restore(ctx context.Context, backup, store string) error {
	dir, err := os.MkdirTemp(filepath.Dir(store), ".restore-*")
	if err != nil {
		return fmt.Errorf("restore store: %w", err)
	}
	defer os.RemoveAll(dir)
	part := filepath.Join(dir, "db")
	if err := copyFile(backup, part); err != nil {
		return fmt.Errorf("restore store: %w", err)
	}
	if err := prepare(ctx, part); err != nil {
		return fmt.Errorf("restore store from %s: %w", backup, err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		err := os.Rename(store+suffix, store+".replaced"+suffix)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("restore store: %w", err)
		}
		if err != nil { // what an earlier restore has kept is not part of it
			_ = os.Remove(store + ".replaced" + suffix)
		}
	}
	if err := publish(part, store); err != nil {
		return fmt.Errorf("restore store: %w", err)
	}
	return nil
}

// Check says whether a file is a store that this version can use. The file may
// be changed by it.
func Check(ctx context.Context, path string) error {
	if _, err := os.Stat(path); err != nil {
		return err
	}
	db, err := Open(ctx, Options{URL: path})
	if err != nil {
		return err
	}
	return db.Close()
}

// prepare opens the copy, which checks and migrates it, and leaves one file.
func prepare(ctx context.Context, path string) error {
	db, err := Open(ctx, Options{URL: path})
	if err != nil {
		return err
	}
	err = db.change(ctx, "skip run ids", func(ctx context.Context, t *tx) error {
		next, err := readNext(ctx, t)
		if err != nil {
			return err
		}
		return writeNext(ctx, t, next+skipIDs)
	})
	if err == nil {
		_, err = db.write.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	}
	return errors.Join(err, db.Close())
}

func copyFile(from, to string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}
