package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"time"
	"unicode/utf8"

	"acrd/runner"
	"acrd/triggers"
)

func watchName(kind, id string) string { return "watch of " + kind + " " + id }

// Watches lists all of a kind.
func (db *DB) Watches(ctx context.Context, kind string) ([]triggers.Watch, error) {
	var all []triggers.Watch
	err := db.query(ctx, "list watches", func(rows *sql.Rows) error {
		w, err := db.scanWatch(kind, rows)
		all = append(all, w)
		return err
	}, "SELECT id, sealed, next_at, owner FROM watches WHERE kind = $1 ORDER BY id", kind)
	return all, err
}

func (db *DB) scanWatch(kind string, row interface{ Scan(into ...any) error }) (triggers.Watch, error) {
	var w triggers.Watch
	var sealed []byte
	var next int64
	if err := row.Scan(&w.ID, &sealed, &next, &w.Claim); err != nil {
		return w, err
	}
	w.Next = moment(next)
	return w, db.unseal(watchName(kind, w.ID), sealed, &w.Doc)
}

// AddWatch begins to watch something, unless it is watched.
func (db *DB) AddWatch(ctx context.Context, kind, id string, doc json.RawMessage, next time.Time) error {
	sealed, err := db.seal(watchName(kind, id), doc)
	if err != nil {
		return err
	}
	return db.change(ctx, "add watch", func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, "INSERT INTO watches (kind, id, sealed, next_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING", kind, id, sealed, micros(next))
		return err
	})
}

// newWatches makes watches, in place of others.
func (db *DB) newWatches(ctx context.Context, t *tx, all []triggers.NewWatch) error {
	for _, w := range all {
		if w.InPlaceOf != "" {
			if err := endWatches(ctx, t, w.Kind, w.InPlaceOf); err != nil {
				return err
			}
		}
		sealed, err := db.seal(watchName(w.Kind, w.ID), w.Doc)
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, `INSERT INTO watches (kind, id, sealed, next_at) VALUES ($1, $2, $3, $4)
			ON CONFLICT (kind, id) DO UPDATE SET sealed = excluded.sealed, next_at = excluded.next_at, owner = '', lease_until = 0`,
			w.Kind, w.ID, sealed, micros(w.Next))
		if err != nil {
			return err
		}
	}
	return nil
}

// endWatches ends those whose ids begin so.
func endWatches(ctx context.Context, t *tx, kind, prefix string) error {
	_, err := t.exec(ctx, "DELETE FROM watches WHERE kind = $1 AND substr(id, 1, $2) = $3", kind, utf8.RuneCountInString(prefix), prefix)
	return err
}

// ClaimWatches returns what is due at now, at most limit, longest due first.
// Nobody else gets it before it is saved, or the lease is over.
func (db *DB) ClaimWatches(ctx context.Context, kind string, now time.Time, limit int, lease time.Duration) ([]triggers.Watch, error) {
	var all []triggers.Watch
	err := db.change(ctx, "claim watches", func(ctx context.Context, t *tx) error {
		all = nil
		rows, err := t.QueryContext(ctx, t.dialect.sql(`UPDATE watches SET owner = $1, lease_until = $2
			WHERE kind = $3 AND id IN (SELECT id FROM watches WHERE kind = $3 AND {later}(next_at, lease_until) <= $4 ORDER BY {later}(next_at, lease_until) LIMIT $5 {skip})
			RETURNING id, sealed, next_at, owner`), rand.Text(), micros(now.Add(lease)), kind, micros(now), limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			w, err := db.scanWatch(kind, rows)
			if err != nil {
				return err
			}
			all = append(all, w)
		}
		return rows.Err()
	})
	return all, err
}

// SaveWatch keeps what was seen, and when to look next, and ends the claim. It
// is ErrFenced if the claim is not the caller's any more. If somebody has asked
// for a look in the meantime, that stands.
func (db *DB) SaveWatch(ctx context.Context, kind string, w triggers.Watch, next time.Time) error {
	sealed, err := db.seal(watchName(kind, w.ID), w.Doc)
	if err != nil {
		return err
	}
	return db.change(ctx, "save watch", func(ctx context.Context, t *tx) error {
		n, err := t.exec(ctx, `UPDATE watches SET sealed = $1, owner = '', lease_until = 0,
			next_at = CASE WHEN next_at = $2 THEN $3 ELSE next_at END WHERE kind = $4 AND id = $5 AND owner = $6`,
			sealed, micros(w.Next), micros(next), kind, w.ID, w.Claim)
		if err == nil && n == 0 {
			return runner.ErrFenced
		}
		return err
	})
}

// LookAt asks for a look at a watch at a time, if it was to be later. Whoever
// is looking just now looks again.
func (db *DB) LookAt(ctx context.Context, kind, id string, at time.Time) error {
	err := db.change(ctx, "look at watch", func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, "UPDATE watches SET next_at = $1 WHERE kind = $2 AND id = $3 AND (next_at > $1 OR lease_until > $1)", micros(at), kind, id)
		return err
	})
	if err == nil {
		db.callTriggers()
	}
	return err
}

// DeleteWatch ends a watch, claimed or not.
func (db *DB) DeleteWatch(ctx context.Context, kind, id string) error {
	return db.change(ctx, "delete watch", func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, "DELETE FROM watches WHERE kind = $1 AND id = $2", kind, id)
		return err
	})
}

// AddDelivery remembers that a webhook was taken. It is false if it had been
// before.
func (db *DB) AddDelivery(ctx context.Context, kind, id string) (bool, error) {
	var n int64
	err := db.change(ctx, "add delivery", func(ctx context.Context, t *tx) (err error) {
		n, err = t.exec(ctx, "INSERT INTO deliveries (kind, id, at) VALUES ($1, $2, {now}) ON CONFLICT DO NOTHING", kind, id)
		return err
	})
	return n > 0, err
}

// RemoveDelivery forgets one, whose webhook has to be taken again.
func (db *DB) RemoveDelivery(ctx context.Context, kind, id string) error {
	return db.change(ctx, "remove delivery", func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, "DELETE FROM deliveries WHERE kind = $1 AND id = $2", kind, id)
		return err
	})
}

// RemoveDeliveries forgets those that are older than age.
func (db *DB) RemoveDeliveries(ctx context.Context, age time.Duration) error {
	return db.change(ctx, "remove deliveries", func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, "DELETE FROM deliveries WHERE at < {now} - $1", age.Microseconds())
		return err
	})
}
