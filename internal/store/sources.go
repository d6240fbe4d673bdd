package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"acrd/eventing/inbound"
	"acrd/runner"
)

var _ inbound.Sources = (*DB)(nil)

func sourceName(name string) string { return "event source " + name }

// AddSource implements inbound.Sources.
func (db *DB) AddSource(ctx context.Context, s *inbound.Source) error {
	hash, err := hex.DecodeString(s.Hash)
	if err != nil {
		return fmt.Errorf("event source %s: %w", s.Name, err)
	}
	sealed, err := db.seal(sourceName(s.Name), s)
	if err != nil {
		return err
	}
	return db.change(ctx, "event source "+s.Name, func(ctx context.Context, t *tx) error {
		n, err := t.exec(ctx, "INSERT INTO event_sources (name, hash, sealed) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", s.Name, hash, sealed)
		if err == nil && n == 0 {
			return inbound.ErrTaken
		}
		return err
	})
}

// Source implements inbound.Sources.
func (db *DB) Source(ctx context.Context, name string) (*inbound.Source, error) {
	return db.source(ctx, "WHERE name = $1", name)
}

// SourceByHash implements inbound.Sources.
func (db *DB) SourceByHash(ctx context.Context, hash string) (*inbound.Source, error) {
	key, err := hex.DecodeString(hash)
	if err != nil {
		return nil, fmt.Errorf("event source: %w", err)
	}
	return db.source(ctx, "WHERE hash = $1", key)
}

func (db *DB) source(ctx context.Context, which string, arg any) (*inbound.Source, error) {
	var row sourceRow
	err := db.one(ctx, "event source", "SELECT "+sourceColumns+" FROM event_sources "+which, []any{arg}, &row.name, &row.hash, &row.sealed)
	if errors.Is(err, runner.ErrNotFound) {
		return nil, inbound.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return row.open(db)
}

const sourceColumns = "name, hash, sealed"

type sourceRow struct {
	name         string
	hash, sealed []byte
}

func (r *sourceRow) open(db *DB) (*inbound.Source, error) {
	s := &inbound.Source{Hash: hex.EncodeToString(r.hash)}
	return s, db.unseal(sourceName(r.name), r.sealed, s)
}

// Sources implements inbound.Sources.
func (db *DB) Sources(ctx context.Context) ([]inbound.Source, error) {
	var all []inbound.Source
	err := db.query(ctx, "list event sources", func(rows *sql.Rows) error {
		var row sourceRow
		if err := rows.Scan(&row.name, &row.hash, &row.sealed); err != nil {
			return err
		}
		s, err := row.open(db)
		if err == nil {
			all = append(all, *s)
		}
		return err
	}, "SELECT "+sourceColumns+" FROM event_sources ORDER BY name")
	return all, err
}

// ChangeSource implements inbound.Sources.
func (db *DB) ChangeSource(ctx context.Context, name string, change func(*inbound.Source) error) (*inbound.Source, error) {
	var s *inbound.Source
	err := db.change(ctx, "event source "+name, func(ctx context.Context, t *tx) error {
		var row sourceRow
		err := t.row(ctx, "SELECT "+sourceColumns+" FROM event_sources WHERE name = $1 {lock}", name).Scan(&row.name, &row.hash, &row.sealed)
		if errors.Is(err, sql.ErrNoRows) {
			return inbound.ErrNotFound
		}
		if err != nil {
			return err
		}
		if s, err = row.open(db); err != nil {
			return err
		}
		if err := change(s); err != nil {
			return err
		}
		sealed, err := db.seal(sourceName(name), s)
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, "UPDATE event_sources SET sealed = $1 WHERE name = $2", sealed, name)
		return err
	})
	return s, err
}

// DeleteSource implements inbound.Sources.
func (db *DB) DeleteSource(ctx context.Context, name string) error {
	return db.change(ctx, "event source "+name, func(ctx context.Context, t *tx) error {
		n, err := t.exec(ctx, "DELETE FROM event_sources WHERE name = $1", name)
		if err == nil && n == 0 {
			return inbound.ErrNotFound
		}
		return err
	})
}

// Recent implements inbound.Sources.
func (db *DB) Recent(ctx context.Context, source string, limit int) ([]inbound.Received, error) {
	return db.notices(ctx, "WHERE source = $1 ORDER BY at DESC, id LIMIT $2", source, limit)
}

func (db *DB) notices(ctx context.Context, which string, args ...any) ([]inbound.Received, error) {
	var all []inbound.Received
	err := db.query(ctx, "list notices", func(rows *sql.Rows) error {
		var r inbound.Received
		var doc []byte
		var id, digest string
		var at int64
		if err := rows.Scan(&id, &digest, &doc, &at, &r.Tries, &r.Outcome, &r.Why); err != nil {
			return err
		}
		err := json.Unmarshal(doc, &r.Notice)
		r.ID, r.Digest, r.At = id, digest, moment(at)
		all = append(all, r)
		return err
	}, "SELECT id, digest, doc, at, tries, outcome, why FROM notices "+which, args...)
	return all, err
}
