package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"acrd/runner"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

var sqliteDialect = dialect{
	name: "sqlite",
	replace: strings.NewReplacer(
		"$", "?",
		"{now}", "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
		"{lock}", "",
		"{skip}", "",
		"{later}", "max",
		"{list(}", "json_each(",
		"{rows(}", "json_each(",
		"{)}", ")",
	),
	kind:  sqliteKind,
	again: func(error) bool { return false },
}

// readers is how many reads of a SQLite file go on at a time.
const readers = 4

// openSQLite opens the file twice: for the one writer that SQLite has, and for
// reads, which need not wait for it. FULL is what makes a commit durable; the
// driver's own default would lose the newest ones at a power cut.
func (db *DB) openSQLite(ctx context.Context, path string) error {
	db.dialect = sqliteDialect
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	db.file = path
	if err := createPrivate(path); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	if db.write, err = sql.Open("sqlite", sqliteName(path, "_txlock=immediate", "_pragma=journal_mode(WAL)", "_pragma=synchronous(FULL)", "_pragma=foreign_keys(1)")); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	db.write.SetMaxOpenConns(1)
	db.read = db.write
	if err := db.checkSQLite(ctx, path); err != nil {
		return err
	}
	if db.read, err = sql.Open("sqlite", sqliteName(path, "_txlock=deferred", "_pragma=query_only(1)")); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	db.spare.path = path + "-spare"
	if err := createPrivate(db.spare.path); err != nil {
		db.log.Warn("no space is kept for the ends of runs", "err", err) // the disk may be full already
	}
	db.spare.refill()
	db.read.SetMaxOpenConns(readers)
	db.read.SetMaxIdleConns(readers)
	return nil
}

// createPrivate makes the file, so that SQLite's other files get its mode.
func createPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func sqliteName(path string, options ...string) string {
	u := url.URL{Scheme: "file", Path: path}
	return u.String() + "?" + strings.Join(append(options, "_pragma=busy_timeout(5000)"), "&")
}

// ErrCorrupt says that the database file is damaged. Nothing has been written
// to it.
var ErrCorrupt = errors.New("the database is damaged: restore a backup with acrd restore")

// checkSQLite looks for damage, which is better found now than by a run.
func (db *DB) checkSQLite(ctx context.Context, path string) error {
	var answer string
	err := db.write.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&answer)
	if err == nil && answer == "ok" {
		return nil
	}
	if code := sqliteCode(err) & 0xff; err == nil || code == lib.SQLITE_CORRUPT || code == lib.SQLITE_NOTADB {
		return fmt.Errorf("%s: %w (%s)", path, ErrCorrupt, orText(err, answer))
	}
	return db.fail(ctx, "open store "+path, err)
}

func orText(err error, text string) string {
	if err != nil {
		return err.Error()
	}
	return text
}

func sqliteCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return 0
}

func sqliteKind(err error) error {
	switch code := sqliteCode(err); {
	case code&0xff == lib.SQLITE_FULL, code == lib.SQLITE_IOERR_SHMSIZE, errors.Is(err, syscall.ENOSPC):
		return runner.ErrNoSpace
	case code&0xff == lib.SQLITE_BUSY:
		return runner.ErrUnavailable
	}
	return nil
}
