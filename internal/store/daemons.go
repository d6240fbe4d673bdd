package store

import (
	"context"
	"database/sql"
	"time"

	"acrd/runner"
)

// pinnedGrace is how long a queued run waits for a daemon that is gone and is
// the only one that can execute it: a restart or two.
const pinnedGrace = 5 * time.Minute

// forgetDaemons is how long daemons that are gone are remembered.
const forgetDaemons = 24 * time.Hour

// Join implements runner.Queue.
func (db *DB) Join(ctx context.Context, d runner.Daemon) error {
	return db.change(ctx, "join", func(ctx context.Context, t *tx) error {
		// Its state folder is locked, so whoever had the name is dead.
		if err := endLease(ctx, t, "name", d.Name); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "DELETE FROM daemons WHERE lease_until < {now} - $1", forgetDaemons.Microseconds()); err != nil {
			return err
		}
		return renew(ctx, t, d)
	})
}

func renew(ctx context.Context, t *tx, d runner.Daemon) error {
	_, err := t.exec(ctx, `INSERT INTO daemons (id, name, lease_until) VALUES ($1, $2, {now} + $3)
		ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until`, d.ID, d.Name, d.Lease.Microseconds())
	return err
}

func endLease(ctx context.Context, t *tx, column, value string) error {
	_, err := t.exec(ctx, "UPDATE daemons SET lease_until = {now} WHERE "+column+" = $1 AND lease_until > {now}", value)
	return err
}

// Beat implements runner.Queue.
func (db *DB) Beat(ctx context.Context, d runner.Daemon) ([]runner.Held, error) {
	err := db.changeAnyway(ctx, "beat", func(ctx context.Context, t *tx) error { return renew(ctx, t, d) })
	if err != nil {
		return nil, err
	}
	db.spare.refill()
	var held []runner.Held
	err = db.query(ctx, "list held runs", func(rows *sql.Rows) error {
		var seq int64
		var attempt, cancel int
		if err := rows.Scan(&seq, &attempt, &cancel); err != nil {
			return err
		}
		held = append(held, runner.Held{ID: formatID(seq), Attempt: attempt, Cancel: cancel != 0})
		return nil
	}, "SELECT seq, attempt, cancel FROM runs WHERE status IN ('Started', 'Running') AND owner = $1", d.ID)
	return held, err
}

// Leave implements runner.Queue.
func (db *DB) Leave(ctx context.Context, d runner.Daemon) error {
	return db.change(ctx, "leave", func(ctx context.Context, t *tx) error { return endLease(ctx, t, "id", d.ID) })
}

// Orphans implements runner.Queue.
func (db *DB) Orphans(ctx context.Context) ([]string, error) {
	var ids []string
	err := db.query(ctx, "list orphans", func(rows *sql.Rows) error {
		var seq int64
		if err := rows.Scan(&seq); err != nil {
			return err
		}
		ids = append(ids, formatID(seq))
		return nil
	}, `SELECT seq FROM runs WHERE status IN ('Started', 'Running')
			AND owner NOT IN (SELECT id FROM daemons WHERE lease_until > {now})
		UNION ALL SELECT seq FROM runs WHERE status = 'Queued' AND pinned <> ''
			AND pinned NOT IN (SELECT name FROM daemons WHERE lease_until > {now} - $1)`, pinnedGrace.Microseconds())
	return ids, err
}
