package store

import (
	"context"
	"database/sql"
	"errors"

	"acrd/internal/secrets"
	"acrd/runner"
)

var _ secrets.Values = (*DB)(nil)

// SealedSecret implements secrets.Values.
func (db *DB) SealedSecret(ctx context.Context, name string) ([]byte, error) {
	var sealed []byte
	err := db.one(ctx, "secret", "SELECT sealed FROM secrets WHERE name = $1", []any{name}, &sealed)
	return sealed, noSecret(err)
}

// PutSealedSecret implements secrets.Values.
func (db *DB) PutSealedSecret(ctx context.Context, name string, sealed []byte) error {
	return db.change(ctx, "secret", func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, `INSERT INTO secrets (name, updated, sealed) VALUES ($1, {now}, $2)
			ON CONFLICT (name) DO UPDATE SET updated = excluded.updated, sealed = excluded.sealed`, name, sealed)
		return err
	})
}

// DeleteSealedSecret implements secrets.Values.
func (db *DB) DeleteSealedSecret(ctx context.Context, name string) error {
	return noSecret(db.change(ctx, "secret", func(ctx context.Context, t *tx) error {
		n, err := t.exec(ctx, "DELETE FROM secrets WHERE name = $1", name)
		if err == nil && n == 0 {
			return sql.ErrNoRows
		}
		return err
	}))
}

// SealedSecrets implements secrets.Values.
func (db *DB) SealedSecrets(ctx context.Context) ([]secrets.Info, error) {
	var all []secrets.Info
	err := db.query(ctx, "list secrets", func(rows *sql.Rows) error {
		var name string
		var updated int64
		if err := rows.Scan(&name, &updated); err != nil {
			return err
		}
		all = append(all, secrets.Info{Name: name, Updated: moment(updated)})
		return nil
	}, "SELECT name, updated FROM secrets ORDER BY name")
	return all, err
}

// noSecret makes the error that package secrets knows.
func noSecret(err error) error {
	if errors.Is(err, runner.ErrNotFound) {
		return secrets.ErrNotFound
	}
	return err
}
