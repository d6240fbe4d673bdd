package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"acrd/eventing"
	"acrd/runner"
	"acrd/triggers"
)

var _ triggers.Intents = (*DB)(nil)

func intentName(task, key string) string { return "intent of " + task + " " + key }

// Intend implements triggers.Intents.
func (db *DB) Intend(ctx context.Context, all ...triggers.Intent) (int, error) {
	fresh := 0
	err := db.change(ctx, "add intents", func(ctx context.Context, t *tx) error {
		fresh = 0
		for _, in := range all {
			is, err := db.insertIntent(ctx, t, triggers.Settled{Intent: in})
			if err != nil {
				return err
			}
			fresh += bit(is)
		}
		return nil
	})
	if err == nil && fresh > 0 {
		db.callTriggers()
	}
	return fresh, err
}

// insertIntent keeps an intent that is not known yet, and tells whether it was
// not. It may have been decided as it was made.
func (db *DB) insertIntent(ctx context.Context, t *tx, s triggers.Settled) (bool, error) {
	if s.Intent.At.IsZero() {
		s.Intent.At = time.Now()
	}
	sealed, err := db.seal(intentName(s.Task, s.Key), s.Intent)
	if err != nil {
		return false, err
	}
	n, err := t.exec(ctx, `INSERT INTO intents (task, key, at, sealed, decided_at, why) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`,
		s.Task, s.Key, micros(s.Intent.At), sealed, micros(s.Decision.At), s.Why)
	if err != nil || n == 0 {
		return false, err
	}
	what, at := eventing.TriggerFired, s.Intent.At
	if !s.Decision.At.IsZero() {
		what, at = eventing.TriggerSkipped, s.Decision.At
	}
	return true, insertEvents(ctx, t, []eventing.Event{triggers.NewEvent(what, s.Intent, s.Decision, at)})
}

// Open implements triggers.Intents.
func (db *DB) Open(ctx context.Context) ([]triggers.Intent, error) {
	var all []triggers.Intent
	settled, err := db.intents(ctx, "WHERE decided_at = 0 ORDER BY at, seq")
	for _, s := range settled {
		all = append(all, s.Intent)
	}
	return all, err
}

// Decided implements triggers.Intents.
func (db *DB) Decided(ctx context.Context, task string, limit int) ([]triggers.Settled, error) {
	return db.intents(ctx, "WHERE task = $1 AND decided_at > 0 ORDER BY decided_at DESC, seq DESC LIMIT $2", task, limit)
}

func (db *DB) intents(ctx context.Context, which string, args ...any) ([]triggers.Settled, error) {
	var all []triggers.Settled
	err := db.query(ctx, "list intents", func(rows *sql.Rows) error {
		s, err := db.scanIntent(rows)
		all = append(all, s)
		return err
	}, "SELECT task, key, sealed, decided_at, run, why FROM intents "+which, args...)
	return all, err
}

func (db *DB) scanIntent(row interface{ Scan(into ...any) error }) (triggers.Settled, error) {
	var s triggers.Settled
	var task, key string
	var sealed []byte
	var decided, run int64
	if err := row.Scan(&task, &key, &sealed, &decided, &run, &s.Why); err != nil {
		return s, err
	}
	s.Decision.At = moment(decided)
	if run > 0 {
		s.Run = formatID(run)
	}
	return s, db.unseal(intentName(task, key), sealed, &s.Intent)
}

// Decide implements triggers.Intents.
func (db *DB) Decide(ctx context.Context, task string, keys []string, d triggers.Decision) error {
	return db.change(ctx, "decide intents of "+task, func(ctx context.Context, t *tx) error {
		_, err := db.decide(ctx, t, task, keys, d)
		return err
	})
}

// decide settles what is undecided of the keys, and says how many they were.
func (db *DB) decide(ctx context.Context, t *tx, task string, keys []string, d triggers.Decision) (int, error) {
	if d.At.IsZero() {
		d.At = time.Now()
	}
	settled := 0
	for _, key := range keys {
		in, err := db.scanIntent(t.row(ctx, `UPDATE intents SET decided_at = $1, run = $2, why = $3 WHERE task = $4 AND key = $5 AND decided_at = 0
			RETURNING task, key, sealed, decided_at, run, why`, micros(d.At), max(0, parseID(d.Run)), d.Why, task, key))
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return settled, err
		}
		settled++
		if d.Run != "" {
			continue // the run's own events say it
		}
		if err := insertEvents(ctx, t, []eventing.Event{triggers.NewEvent(eventing.TriggerSkipped, in.Intent, d, d.At)}); err != nil {
			return settled, err
		}
	}
	return settled, nil
}

// answer decides the intents that a run is for, and those that it makes
// needless.
func (db *DB) answer(ctx context.Context, t *tx, r *runner.Run) error {
	if len(r.Request.Intents) == 0 {
		return nil
	}
	n, err := db.decide(ctx, t, r.Request.Task, r.Request.Intents, triggers.Decision{Run: r.ID, Why: r.Request.Reason, At: r.Created})
	if err == nil && n < len(r.Request.Intents) {
		return runner.ErrDecided
	}
	if err != nil {
		return err
	}
	why := "superseded by a newer commit, which run " + r.ID + " builds"
	_, err = db.decide(ctx, t, r.Request.Task, r.Request.Superseded, triggers.Decision{Why: why, At: r.Created})
	return err
}

// RemoveIntents forgets intents that were decided longer ago than age. Noticed
// again, they are new.
func (db *DB) RemoveIntents(ctx context.Context, age time.Duration) error {
	return db.change(ctx, "remove intents", func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, "DELETE FROM intents WHERE decided_at > 0 AND decided_at < {now} - $1", age.Microseconds())
		return err
	})
}

// removeTriggers forgets all that triggers know of a task.
func removeTriggers(ctx context.Context, t *tx, task string) error {
	for _, table := range []string{"intents", "timers", "bases"} {
		if _, err := t.exec(ctx, fmt.Sprintf("DELETE FROM %s WHERE task = $1", table), task); err != nil {
			return err
		}
	}
	for _, kind := range triggers.TaskWatches() {
		if err := endWatches(ctx, t, kind, task+"/"); err != nil {
			return err
		}
	}
	return nil
}
