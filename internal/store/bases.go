package store

import (
	"context"
	"database/sql"

	"acrd/triggers"
)

// SaveBases replaces what a task was built on.
func (db *DB) SaveBases(ctx context.Context, task string, bases []triggers.Base) error {
	return db.change(ctx, "save bases of "+task, func(ctx context.Context, t *tx) error {
		if _, err := t.exec(ctx, "DELETE FROM bases WHERE task = $1", task); err != nil {
			return err
		}
		for _, b := range bases {
			_, err := t.exec(ctx, `INSERT INTO bases (task, ref, platform, role, digest, run) VALUES ($1, $2, $3, $4, $5, $6)
				ON CONFLICT (task, ref, platform, role) DO UPDATE SET digest = excluded.digest, run = excluded.run`,
				task, b.Ref, b.Platform, b.Role, b.Digest, b.Run)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Bases lists who was built on an image.
func (db *DB) Bases(ctx context.Context, ref string) ([]triggers.Base, error) {
	return db.bases(ctx, "WHERE ref = $1", ref)
}

// BasesOf lists what a task was built on.
func (db *DB) BasesOf(ctx context.Context, task string) ([]triggers.Base, error) {
	return db.bases(ctx, "WHERE task = $1", task)
}

// AllBases lists what all tasks were built on.
func (db *DB) AllBases(ctx context.Context) ([]triggers.Base, error) { return db.bases(ctx, "") }

func (db *DB) bases(ctx context.Context, which string, args ...any) ([]triggers.Base, error) {
	var all []triggers.Base
	err := db.query(ctx, "list bases", func(rows *sql.Rows) error {
		var b triggers.Base
		err := rows.Scan(&b.Task, &b.Ref, &b.Platform, &b.Role, &b.Digest, &b.Run)
		all = append(all, b)
		return err
	}, "SELECT task, ref, platform, role, digest, run FROM bases "+which+" ORDER BY task, ref, platform, role", args...)
	return all, err
}
