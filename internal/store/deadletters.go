package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"acrd/eventing"
)

const deadColumns = "d.seq, d.subscription, d.event, d.dead_at, d.due_at, d.reason, d.queued_at, d.attempts, d.tried_at, d.outcome, d.status"

func scanDead(rows *sql.Rows, more ...any) (eventing.DeadLetter, error) {
	var d eventing.DeadLetter
	var at, due, queued, tried int64
	err := rows.Scan(append([]any{&d.Seq, &d.Subscription, &d.Event, &at, &due, (*string)(&d.Reason), &queued, &d.Attempts, &tried, (*string)(&d.Outcome), &d.Status}, more...)...)
	d.At, d.Due, d.Queued.Queued, d.Tried = moment(at), moment(due), moment(queued), moment(tried)
	return d, err
}

// DueDead implements eventing.Store.
func (db *DB) DueDead(ctx context.Context, subscription int64, limit int) ([]eventing.DeadLetter, error) {
	var all []eventing.DeadLetter
	err := db.query(ctx, "due dead letters", func(rows *sql.Rows) error {
		d, err := scanDead(rows)
		all = append(all, d)
		return err
	}, "SELECT "+deadColumns+" FROM event_dead d WHERE d.subscription = $1 AND d.due_at > 0 ORDER BY d.due_at, d.seq LIMIT $2", subscription, limit)
	return all, err
}

// BuryDead implements eventing.Store.
func (db *DB) BuryDead(ctx context.Context, owner string, subscription int64, letters []int64) error {
	return db.change(ctx, "settle dead letters", func(ctx context.Context, t *tx) error {
		if err := mustOwn(ctx, t, owner, subscription); err != nil {
			return err
		}
		_, err := t.exec(ctx, "UPDATE event_dead SET due_at = 0 WHERE seq IN (SELECT CAST(l.value AS BIGINT) FROM {list(}$1{)} l)", jsonOf(letters))
		return err
	})
}

// DeadLetters lists the newest first, at most limit; eventing.ErrNotFound if
// there is no such subscription.
func (db *DB) DeadLetters(ctx context.Context, kind eventing.Kind, name string, limit int) ([]eventing.DeadLetter, error) {
	subscription, err := db.subscriptionSeq(ctx, kind, name)
	if err != nil {
		return nil, err
	}
	var all []eventing.DeadLetter
	err = db.query(ctx, "list dead letters", func(rows *sql.Rows) error {
		var id, what, subject string
		d, err := scanDead(rows, &id, &what, &subject)
		d.ID, d.Type, d.Subject = id, what, subject
		all = append(all, d)
		return err
	}, "SELECT "+deadColumns+`, coalesce(e.id, ''), coalesce(e.type, ''), coalesce(e.subject, '') FROM event_dead d LEFT JOIN events e ON e.seq = d.event
		WHERE d.subscription = $1 ORDER BY d.seq DESC LIMIT $2`, subscription, limit)
	return all, err
}

func (db *DB) subscriptionSeq(ctx context.Context, kind eventing.Kind, name string) (int64, error) {
	var seq int64
	err := db.one(ctx, subscriptionWords(kind, name), "SELECT seq FROM subscriptions WHERE kind = $1 AND name = $2", []any{string(kind), subscriptionKey(name)}, &seq)
	return seq, noSubscription(err)
}

// History lists the newest attempts first, at most limit; eventing.ErrNotFound
// if there is no such subscription.
func (db *DB) History(ctx context.Context, kind eventing.Kind, name string, limit int) ([]eventing.Attempt, error) {
	subscription, err := db.subscriptionSeq(ctx, kind, name)
	if err != nil {
		return nil, err
	}
	var all []eventing.Attempt
	err = db.query(ctx, "list history", func(rows *sql.Rows) error {
		var sealed []byte
		if err := rows.Scan(&sealed); err != nil {
			return err
		}
		var a eventing.Attempt
		err := db.unseal(historyName(subscription), sealed, &a)
		all = append(all, a)
		return err
	}, "SELECT sealed FROM event_history WHERE subscription = $1 ORDER BY at DESC, slot DESC LIMIT $2", subscription, limit)
	return all, err
}

// RemoveDead forgets dead letters that are older than age.
func (db *DB) RemoveDead(ctx context.Context, age time.Duration) error {
	return db.change(ctx, "remove dead letters", func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, "DELETE FROM event_dead WHERE dead_at < {now} - $1 AND due_at = 0", age.Microseconds())
		if err != nil {
			return fmt.Errorf("dead letters: %w", err)
		}
		return nil
	})
}

// TrimDead implements eventing.Store.
func (db *DB) TrimDead(ctx context.Context, subscription int64, keep int) error {
	last, err := db.numbers(ctx, "count dead letters", "SELECT seq FROM event_dead WHERE subscription = $1 ORDER BY seq DESC LIMIT 1 OFFSET $2", subscription, keep)
	if err != nil || len(last) == 0 {
		return err
	}
	return db.change(ctx, "trim dead letters", func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, "DELETE FROM event_dead WHERE subscription = $1 AND seq <= $2 AND due_at = 0", subscription, last[0])
		return err
	})
}
