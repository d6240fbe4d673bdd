// Package store keeps what the daemon must not lose in one SQL schema, on
// SQLite or on PostgreSQL: runs and their queue, the events that report
// changes, tasks, tokens, credentials. README.md beside this file says which
// table is the truth about what.
//
// It implements the interfaces that others declare. It knows nothing of what
// it keeps: requests, tasks and credentials are sealed blobs to it.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"acrd/runner"

	"github.com/jackc/pgx/v5"
)

// A Sealer encrypts what must not be read in a database or a backup, for a
// name, so that who can write the database cannot pass one value off as
// another. *secrets.Key is one.
type Sealer interface {
	SealFor(name string, plain []byte) ([]byte, error)
	OpenFor(name string, sealed []byte) ([]byte, error)
}

// Options are what Open needs to know.
type Options struct {
	// URL is postgres://..., or the path of a SQLite file.
	URL string
	// Sealer may be nil for who reads and writes nothing sealed.
	Sealer Sealer
	Log    *slog.Logger // nil discards
}

// A DB is an open store. It is safe for concurrent use. Serve must run for
// other daemons' changes to be seen at once.
type DB struct {
	dialect dialect
	// On SQLite, writes have one connection and reads have others; on
	// PostgreSQL they share.
	write, read *sql.DB
	file        string // SQLite's
	spare       spare  // beside it
	sealer      Sealer
	log         *slog.Logger
	ids         ids
	queue       bell // rung when there may be something to take
	others      bell // rung when another daemon has asked for something
	triggers    bell // rung when triggers have something to do
	events      bell // rung when there are events to pass on, or others who want them
	notify      chan string
	listen      *pgx.ConnConfig // PostgreSQL's
}

var _ runner.Store = (*DB)(nil)

// Shared says whether the URL is one that other daemons can open at the same
// time.
func Shared(url string) bool {
	return strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://")
}

// Open opens the store, makes it if there is none, and brings it to this
// version's schema after a backup. A schema of a later version is ErrNewer.
func Open(ctx context.Context, o Options) (*DB, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	db := &DB{sealer: o.Sealer, log: o.Log, notify: make(chan string, 64)}
	var err error
	if Shared(o.URL) {
		err = db.openPostgres(ctx, o.URL)
	} else {
		err = db.openSQLite(ctx, o.URL)
	}
	if err == nil {
		err = db.migrate(ctx)
	}
	if err == nil {
		err = db.checkKey(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Close ends all connections. It may be called twice.
func (db *DB) Close() error {
	if db.write == nil {
		return nil
	}
	err := db.returnIDs()
	if db.read != db.write {
		err = errors.Join(err, db.read.Close())
	}
	return errors.Join(err, db.write.Close())
}

// Serve passes on what other daemons say, until ctx has ended. Without it,
// their changes are seen at the next look.
func (db *DB) Serve(ctx context.Context) error {
	if !db.dialect.notifies {
		<-ctx.Done()
		return nil
	}
	return db.serveNotices(ctx)
}

// patience bounds one transaction. Whoever waits for it wants an answer.
const patience = 15 * time.Second

// tx is one transaction, whose statements are written for both databases.
type tx struct {
	*sql.Tx
	dialect dialect
	events  bool // some were inserted
}

func (t *tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	result, err := t.ExecContext(ctx, t.dialect.sql(query), args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (t *tx) row(ctx context.Context, query string, args ...any) *sql.Row {
	return t.QueryRowContext(ctx, t.dialect.sql(query), args...)
}

// change does f in one transaction. If the database says that it has to be
// done again, it is.
func (db *DB) change(ctx context.Context, what string, f func(context.Context, *tx) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, runner.ErrUnavailable)
	defer cancel()
	for tries := 0; ; tries++ {
		err := db.changeOnce(ctx, f)
		if err != nil && db.dialect.again(err) && tries < 5 {
			continue
		}
		return db.fail(ctx, what, err)
	}
}

// changeAnyway is change for what must be possible on a full disk, too: to end
// what is in progress.
func (db *DB) changeAnyway(ctx context.Context, what string, f func(context.Context, *tx) error) error {
	err := db.change(ctx, what, f)
	for errors.Is(err, runner.ErrNoSpace) && db.spare.give() {
		err = db.change(ctx, what, f)
	}
	return err
}

func (db *DB) changeOnce(ctx context.Context, f func(context.Context, *tx) error) error {
	t, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	changing := &tx{Tx: t, dialect: db.dialect}
	if err := f(ctx, changing); err != nil {
		_ = t.Rollback()
		return err
	}
	err = t.Commit()
	if err == nil && changing.events {
		db.events.ring()
	}
	return err
}

// query calls scan for each row of the answer.
func (db *DB) query(ctx context.Context, what string, scan func(*sql.Rows) error, query string, args ...any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, runner.ErrUnavailable)
	defer cancel()
	rows, err := db.read.QueryContext(ctx, db.dialect.sql(query), args...)
	if err != nil {
		return db.fail(ctx, what, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return db.fail(ctx, what, err)
		}
	}
	return db.fail(ctx, what, rows.Err())
}

// one scans the only row of the answer. None is runner.ErrNotFound.
func (db *DB) one(ctx context.Context, what, query string, args []any, into ...any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, runner.ErrUnavailable)
	defer cancel()
	err := db.read.QueryRowContext(ctx, db.dialect.sql(query), args...).Scan(into...)
	return db.fail(ctx, what, err)
}

// fail turns an error of the database into one that callers test for.
func (db *DB) fail(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s: %w", what, runner.ErrNotFound)
	}
	if kind := db.dialect.kind(err); kind != nil {
		return fmt.Errorf("%s: %w: %w", what, kind, err)
	}
	if cause := context.Cause(ctx); errors.Is(cause, runner.ErrUnavailable) {
		return fmt.Errorf("%s: %w: %w", what, cause, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// A bell wakes everybody who has taken its channel before it is rung.
type bell struct {
	mu sync.Mutex // guards c
	c  chan struct{}
}

func (b *bell) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.c == nil {
		b.c = make(chan struct{})
	}
	return b.c
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.c != nil {
		close(b.c)
		b.c = nil
	}
}
