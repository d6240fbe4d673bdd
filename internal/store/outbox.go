package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"
	"time"

	"acrd/eventing"
)

var _ eventing.Store = (*DB)(nil)

// jsonOf is how lists get into statements: one parameter, whatever their
// length, see {list} and {rows} of the dialects.
func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // numbers and texts
	}
	return string(b)
}

func (db *DB) storedEvents(ctx context.Context, where string, args ...any) ([]eventing.Stored, error) {
	var all []eventing.Stored
	err := db.query(ctx, "list events", func(rows *sql.Rows) error {
		var seq int64
		e, err := scanEvent(numbered{rows, &seq})
		all = append(all, eventing.Stored{Seq: seq, Event: e})
		return err
	}, "SELECT seq, "+eventColumns+" FROM events "+where, args...)
	return all, err
}

// numbered scans a number before the rest.
type numbered struct {
	row interface{ Scan(into ...any) error }
	seq *int64
}

func (n numbered) Scan(into ...any) error { return n.row.Scan(append([]any{n.seq}, into...)...) }

// Outbox implements eventing.Store.
func (db *DB) Outbox(ctx context.Context, limit int) ([]eventing.Stored, error) {
	return db.storedEvents(ctx, "WHERE settled = 0 ORDER BY seq LIMIT $1", limit)
}

// Stored implements eventing.Store.
func (db *DB) Stored(ctx context.Context, events []int64) ([]eventing.Stored, error) {
	return db.storedEvents(ctx, "WHERE seq IN (SELECT CAST(l.value AS BIGINT) FROM {list(}$1{)} l)", jsonOf(events))
}

// FindEvent implements eventing.Store.
func (db *DB) FindEvent(ctx context.Context, id string) (*eventing.Stored, error) {
	found, err := db.storedEvents(ctx, "WHERE id = $1", id)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, eventing.ErrNotFound
	}
	return &found[0], nil
}

// EventsSince implements eventing.Store.
func (db *DB) EventsSince(ctx context.Context, since time.Time, after int64, limit int) ([]eventing.Stored, error) {
	if after == 0 { // what is older need not be read
		var first sql.NullInt64
		if err := db.one(ctx, "first event", "SELECT min(seq) FROM events WHERE time >= $1", []any{micros(since)}, &first); err != nil || !first.Valid {
			return nil, err
		}
		after = first.Int64 - 1
	}
	return db.storedEvents(ctx, "WHERE seq > $1 AND time >= $2 ORDER BY seq LIMIT $3", after, micros(since), limit)
}

// Pass implements eventing.Store.
func (db *DB) Pass(ctx context.Context, events []int64, into []eventing.Fan, at time.Time) (int, error) {
	var left []int64
	err := db.change(ctx, "pass events on", func(ctx context.Context, t *tx) (err error) {
		if left, err = settleEvents(ctx, t, events); err != nil {
			return err
		}
		for _, f := range into {
			if len(left) < len(events) {
				f = only(f, left)
			}
			if err := insertFan(ctx, t, f, at); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && len(into) > 0 {
		db.call(callEvents) // another daemon may empty the queues
	}
	return len(left), err
}

func settleEvents(ctx context.Context, t *tx, events []int64) ([]int64, error) {
	return t.numbers(ctx, `UPDATE events SET settled = 1
		WHERE settled = 0 AND seq IN (SELECT CAST(l.value AS BIGINT) FROM {list(}$1{)} l) RETURNING seq`, jsonOf(events))
}

func scanNumbers(rows *sql.Rows) ([]int64, error) {
	defer rows.Close()
	var all []int64
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, rows.Err()
}

// only leaves the events that somebody else has not passed on.
func only(f eventing.Fan, left []int64) eventing.Fan {
	kept := eventing.Fan{Subscriptions: f.Subscriptions}
	for i, e := range f.Events {
		if !slices.Contains(left, e) {
			continue
		}
		kept.Events = append(kept.Events, e)
		if f.Lanes != nil {
			kept.Lanes = append(kept.Lanes, f.Lanes[i])
		}
	}
	return kept
}

// insertFan leaves out subscriptions that have been removed since.
func insertFan(ctx context.Context, t *tx, f eventing.Fan, at time.Time) error {
	if len(f.Events) == 0 || len(f.Subscriptions) == 0 {
		return nil
	}
	const into = `INSERT INTO event_queue (subscription, next_at, event, queued_at, lane) `
	const subscriptions = ` FROM subscriptions s, `
	const those = ` WHERE s.seq IN (SELECT CAST(i.value AS BIGINT) FROM {list(}$2{)} i) ON CONFLICT DO NOTHING`
	if f.Lanes == nil {
		_, err := t.exec(ctx, into+"SELECT s.seq, 0, CAST(l.value AS BIGINT), CAST($3 AS BIGINT), 0"+subscriptions+"{list(}$1{)} l"+those,
			jsonOf(f.Events), jsonOf(f.Subscriptions), micros(at))
		return err
	}
	pairs := make([][2]int64, len(f.Events))
	for i := range f.Events {
		pairs[i] = [2]int64{f.Events[i], f.Lanes[i]}
	}
	_, err := t.exec(ctx, into+"SELECT s.seq, 0, CAST(l.value ->> 0 AS BIGINT), CAST($3 AS BIGINT), CAST(l.value ->> 1 AS BIGINT)"+subscriptions+"{rows(}$1{)} l"+those,
		jsonOf(pairs), jsonOf(f.Subscriptions), micros(at))
	return err
}

// SettleAll implements eventing.Store. One statement sees what is open and the
// version at one moment.
func (db *DB) SettleAll(ctx context.Context, version string) error {
	if open, err := db.OpenEvents(ctx, 1); err != nil || len(open) == 0 {
		return err
	}
	return db.change(ctx, "settle events", func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, `UPDATE events SET settled = 1
			WHERE settled = 0 AND coalesce((SELECT value FROM meta WHERE name = 'subscriptions'), '') = $1`, version)
		return err
	})
}

func settleAll(ctx context.Context, t *tx) error {
	_, err := t.exec(ctx, "UPDATE events SET settled = 1 WHERE settled = 0")
	return err
}

// Requeue implements eventing.Store.
func (db *DB) Requeue(ctx context.Context, f eventing.Fan, at time.Time) error {
	err := db.change(ctx, "redeliver", func(ctx context.Context, t *tx) error {
		// What waits for another attempt is tried now, and its time begins anew.
		_, err := t.exec(ctx, `DELETE FROM event_queue WHERE subscription IN (SELECT CAST(i.value AS BIGINT) FROM {list(}$1{)} i)
			AND event IN (SELECT CAST(l.value AS BIGINT) FROM {list(}$2{)} l)`, jsonOf(f.Subscriptions), jsonOf(f.Events))
		if err != nil {
			return err
		}
		return insertFan(ctx, t, f, at)
	})
	if err == nil {
		db.callEvents()
	}
	return err
}

// AddEventFor implements eventing.Store.
func (db *DB) AddEventFor(ctx context.Context, kind eventing.Kind, name string, e eventing.Event) (int64, error) {
	var subscription, event int64
	err := db.change(ctx, "add event for "+name, func(ctx context.Context, t *tx) error {
		err := t.row(ctx, "SELECT seq FROM subscriptions WHERE kind = $1 AND name = $2", string(kind), subscriptionKey(name)).Scan(&subscription)
		if err != nil {
			return err
		}
		if err := insertEvents(ctx, t, []eventing.Event{e}); err != nil {
			return err
		}
		if err := t.row(ctx, "UPDATE events SET settled = 1 WHERE id = $1 RETURNING seq", e.ID).Scan(&event); err != nil {
			return err
		}
		return insertFan(ctx, t, eventing.Fan{Subscriptions: []int64{subscription}, Events: []int64{event}}, time.Now())
	})
	if err == nil {
		db.call(callEvents)
	}
	return subscription, noSubscription(err)
}
