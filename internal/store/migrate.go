package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations
var migrations embed.FS

// ErrNewer says that a later version of acrd has changed the schema. Nothing
// has been written to it.
var ErrNewer = errors.New("the store was written by a later version of acrd: use that one, or restore the backup that it made")

// migrate brings the schema to this version. What is there is backed up
// before.
func (db *DB) migrate(ctx context.Context) error {
	p, err := db.migrator()
	if err != nil {
		return fmt.Errorf("migrate store: %w", err)
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return db.fail(ctx, "migrate store", err)
	}
	switch {
	case current > target:
		return fmt.Errorf("schema %d, and this version knows %d: %w", current, target, ErrNewer)
	case current == target:
		return nil
	case current > 0:
		if err := db.backUpBefore(ctx, current, target); err != nil {
			return fmt.Errorf("migrate store: %w", err)
		}
	}
	if _, err := p.Up(ctx); err != nil {
		return db.fail(ctx, "migrate store", err)
	}
	return nil
}

func (db *DB) migrator() (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations/"+db.dialect.name)
	if err != nil {
		return nil, err
	}
	if !db.dialect.notifies {
		return goose.NewProvider(goose.DialectSQLite3, db.write, files)
	}
	// Of daemons that start together, one migrates.
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, db.write, files, goose.WithSessionLocker(locker))
}

// backUpBefore keeps a copy of a SQLite store. One on PostgreSQL is its
// owner's to back up.
func (db *DB) backUpBefore(ctx context.Context, from, to int64) error {
	if db.dialect.notifies {
		db.log.Warn("the schema changes, and acrd makes no backup of PostgreSQL: pg_dump does", "from", from, "to", to)
		return nil
	}
	file := fmt.Sprintf("%s.schema%d", db.file, from)
	if err := db.Backup(ctx, file); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	db.log.Info("the schema changes; what was there is kept", "from", from, "to", to, "backup", file)
	return nil
}
