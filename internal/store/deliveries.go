package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"acrd/eventing"
)

// Subscribers implements eventing.Store.
func (db *DB) Subscribers(ctx context.Context) ([]eventing.Subscriber, error) {
	var all []eventing.Subscriber
	err := db.query(ctx, "list subscribers", func(rows *sql.Rows) error {
		var r eventing.Subscriber
		var kind, key, health string
		var sealed []byte
		if err := rows.Scan(&r.Seq, &kind, &key, &sealed, &health); err != nil {
			return err
		}
		s, err := db.openSubscription(eventing.Kind(kind), key, sealed)
		if err != nil {
			return err
		}
		r.Subscription = *s
		all = append(all, r)
		if health == "" {
			return nil
		}
		return json.Unmarshal([]byte(health), &all[len(all)-1].Health)
	}, "SELECT seq, kind, name, sealed, health FROM subscriptions ORDER BY seq")
	return all, err
}

// TakeQueues implements eventing.Store. Daemons take queues one after the other,
// or two could take more than their shares.
func (db *DB) TakeQueues(ctx context.Context, owner string, lease time.Duration, alone bool) (held []int64, share int, err error) {
	mine := "owner = $1"
	if alone {
		mine = "TRUE"
	}
	const take = "UPDATE subscriptions SET owner = $1, lease_until = {now} + $2 WHERE "
	err = db.change(ctx, "take queues", func(ctx context.Context, t *tx) error {
		if err := lockClaim(ctx, t); err != nil {
			return err
		}
		if held, err = t.numbers(ctx, take+mine+" RETURNING seq", owner, lease.Microseconds()); err != nil || alone {
			share = len(held)
			return err
		}
		if share, err = fairShare(ctx, t, owner, lease); err != nil || share <= len(held) {
			return err
		}
		free, err := t.numbers(ctx, take+"seq IN (SELECT seq FROM subscriptions WHERE lease_until <= {now} ORDER BY seq LIMIT $3) RETURNING seq",
			owner, lease.Microseconds(), share-len(held))
		held = append(held, free...)
		return err
	})
	return held, share, err
}

// fairShare says that owner is alive, and how many queues each of those is to
// empty that are.
func fairShare(ctx context.Context, t *tx, owner string, lease time.Duration) (int, error) {
	if _, err := t.exec(ctx, "DELETE FROM dispatchers WHERE lease_until <= {now}"); err != nil {
		return 0, err
	}
	_, err := t.exec(ctx, `INSERT INTO dispatchers (owner, lease_until) VALUES ($1, {now} + $2)
		ON CONFLICT (owner) DO UPDATE SET lease_until = excluded.lease_until`, owner, lease.Microseconds())
	if err != nil {
		return 0, err
	}
	var queues, owners int
	err = t.row(ctx, "SELECT (SELECT count(*) FROM subscriptions), (SELECT count(*) FROM dispatchers)").Scan(&queues, &owners)
	return (queues + owners - 1) / max(1, owners), err
}

const leave = "UPDATE subscriptions SET owner = '', lease_until = 0 WHERE owner = $1"

// LeaveQueue implements eventing.Store.
func (db *DB) LeaveQueue(ctx context.Context, owner string, subscription int64) error {
	err := db.change(ctx, "leave queue", func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, leave+" AND seq = $2", owner, subscription)
		return err
	})
	if err == nil {
		db.call(callEvents)
	}
	return err
}

// LeaveQueues implements eventing.Store.
func (db *DB) LeaveQueues(ctx context.Context, owner string) error {
	some, err := db.numbers(ctx, "held queues", "SELECT 1 FROM subscriptions WHERE owner = $1 UNION ALL SELECT 1 FROM dispatchers WHERE owner = $1", owner)
	if err != nil || len(some) == 0 {
		return err
	}
	err = db.change(ctx, "leave queues", func(ctx context.Context, t *tx) error {
		if _, err := t.exec(ctx, leave, owner); err != nil {
			return err
		}
		_, err := t.exec(ctx, "DELETE FROM dispatchers WHERE owner = $1", owner)
		return err
	})
	if err == nil {
		db.call(callEvents)
	}
	return err
}

// Waiting implements eventing.Store.
func (db *DB) Waiting(ctx context.Context, owner string, now time.Time) ([]int64, error) {
	return db.numbers(ctx, "waiting queues", `SELECT s.seq FROM subscriptions s WHERE (s.owner = $1 OR s.lease_until <= {now})
		AND EXISTS (SELECT 1 FROM event_queue q WHERE q.subscription = s.seq AND q.next_at <= $2)`, owner, micros(now))
}

func (t *tx) numbers(ctx context.Context, query string, args ...any) ([]int64, error) {
	rows, err := t.QueryContext(ctx, t.dialect.sql(query), args...)
	if err != nil {
		return nil, err
	}
	return scanNumbers(rows)
}

func (db *DB) numbers(ctx context.Context, what, query string, args ...any) ([]int64, error) {
	var all []int64
	err := db.query(ctx, what, func(rows *sql.Rows) error {
		var n int64
		err := rows.Scan(&n)
		all = append(all, n)
		return err
	}, query, args...)
	return all, err
}

const queuedColumns = "subscription, event, next_at, queued_at, lane, attempts, tried_at, outcome, status"

// Due implements eventing.Store.
func (db *DB) Due(ctx context.Context, c eventing.Cursor, now time.Time, limit int) ([]eventing.Queued, error) {
	which, args := "next_at = 0 AND event > $2 ORDER BY event LIMIT $3", []any{c.Subscription, c.After, limit}
	if c.Retries {
		which, args = "next_at > 0 AND next_at <= $2 ORDER BY next_at, event LIMIT $3", []any{c.Subscription, micros(now), limit}
	}
	var all []eventing.Queued
	err := db.query(ctx, "read queue", func(rows *sql.Rows) error {
		var q eventing.Queued
		var next, queued, tried int64
		err := rows.Scan(&q.Subscription, &q.Event, &next, &queued, &q.Lane, &q.Attempts, &tried, (*string)(&q.Outcome), &q.Status)
		q.Next, q.Queued, q.Tried = moment(next), moment(queued), moment(tried)
		all = append(all, q)
		return err
	}, "SELECT "+queuedColumns+" FROM event_queue WHERE subscription = $1 AND "+which, args...)
	return all, err
}

// NextDue implements eventing.Store.
func (db *DB) NextDue(ctx context.Context, subscription int64, now time.Time) (time.Time, error) {
	var next sql.NullInt64
	err := db.one(ctx, "next due", "SELECT min(next_at) FROM event_queue WHERE subscription = $1 AND next_at > $2", []any{subscription, micros(now)}, &next)
	return moment(next.Int64), err
}

// Depths implements eventing.Store.
func (db *DB) Depths(ctx context.Context) (map[int64]eventing.Depth, error) {
	all := map[int64]eventing.Depth{}
	err := db.query(ctx, "count queues", func(rows *sql.Rows) error {
		var seq, oldest int64
		var d eventing.Depth
		err := rows.Scan(&seq, &d.Events, &oldest)
		d.Oldest = moment(oldest)
		all[seq] = d
		return err
	}, "SELECT subscription, count(*), min(queued_at) FROM event_queue GROUP BY subscription")
	return all, err
}

// Lanes implements eventing.Store.
func (db *DB) Lanes(ctx context.Context, subscription int64) ([]eventing.Lane, error) {
	var all []eventing.Lane
	err := db.query(ctx, "waiting lanes", func(rows *sql.Rows) error {
		var l eventing.Lane
		var until int64
		err := rows.Scan(&l.ID, &until)
		l.Until = moment(until)
		all = append(all, l)
		return err
	}, "SELECT lane, max(next_at) FROM event_queue WHERE subscription = $1 AND next_at > 0 GROUP BY lane", subscription)
	return all, err
}

// moveRows gives rows of a queue another time. An event may be there more than
// once, for it was redelivered while it was delivered: one row of it is left.
func moveRows(ctx context.Context, t *tx, to int64, subscription int64, which string, args ...any) error {
	args = append([]any{to, subscription}, args...)
	const moved = "subscription, event, CAST($1 AS BIGINT), queued_at, lane, attempts, tried_at, outcome, status"
	_, err := t.exec(ctx, "INSERT INTO event_queue ("+queuedColumns+") SELECT "+moved+" FROM event_queue WHERE subscription = $2 AND "+which+
		" ORDER BY next_at ON CONFLICT DO NOTHING", args...)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, "DELETE FROM event_queue WHERE subscription = $2 AND next_at <> $1 AND "+which, args...)
	return err
}

// ReleaseLanes implements eventing.Store.
func (db *DB) ReleaseLanes(ctx context.Context, owner string, subscription int64, lanes []int64) error {
	return db.change(ctx, "release lanes", func(ctx context.Context, t *tx) error {
		if err := mustOwn(ctx, t, owner, subscription); err != nil {
			return err
		}
		return moveRows(ctx, t, 0, subscription, "next_at > 0 AND lane IN (SELECT CAST(l.value AS BIGINT) FROM {list(}$3{)} l)", jsonOf(lanes))
	})
}

// owned are those of the subscriptions whose queues are the owner's, until the
// transaction ends.
func owned(ctx context.Context, t *tx, owner string, subscriptions []int64) ([]int64, error) {
	return t.numbers(ctx, "SELECT seq FROM subscriptions WHERE owner = $1 AND seq IN (SELECT CAST(l.value AS BIGINT) FROM {list(}$2{)} l) ORDER BY seq {lock}",
		owner, jsonOf(subscriptions))
}

func mustOwn(ctx context.Context, t *tx, owner string, subscription int64) error {
	own, err := owned(ctx, t, owner, []int64{subscription})
	if err == nil && len(own) == 0 {
		return eventing.ErrFenced
	}
	return err
}

// Settle implements eventing.Store.
func (db *DB) Settle(ctx context.Context, owner string, all []eventing.Settlement) ([]int64, error) {
	var subscriptions, lost []int64
	for _, st := range all {
		if !slices.Contains(subscriptions, st.Subscription) {
			subscriptions = append(subscriptions, st.Subscription)
		}
	}
	err := db.changeAnyway(ctx, "settle deliveries", func(ctx context.Context, t *tx) error {
		own, err := owned(ctx, t, owner, subscriptions)
		if err != nil {
			return err
		}
		lost = nil
		for _, s := range subscriptions {
			if !slices.Contains(own, s) {
				lost = append(lost, s)
			}
		}
		var mine []eventing.Settlement
		for _, st := range all {
			if slices.Contains(own, st.Subscription) {
				mine = append(mine, st)
			}
		}
		return db.settleMine(ctx, t, mine)
	})
	return lost, err
}

// settleMine needs few statements, however many deliveries there were.
func (db *DB) settleMine(ctx context.Context, t *tx, all []eventing.Settlement) error {
	var done, again, dead [][]any
	for _, st := range all {
		for _, q := range st.Done {
			done = append(done, []any{q.Subscription, micros(q.Next), q.Event})
		}
		for _, q := range st.Again {
			again = append(again, []any{q.Subscription, micros(q.Next), q.Event, micros(q.Queued), q.Lane, q.Attempts, micros(q.Tried), q.Outcome, q.Status})
		}
		for _, d := range st.Dead {
			dead = append(dead, []any{d.Subscription, d.Event, micros(d.At), micros(d.Due), d.Reason, micros(d.Queued.Queued), d.Attempts, micros(d.Tried), d.Outcome, d.Status})
		}
	}
	if err := deleteQueued(ctx, t, done); err != nil {
		return err
	}
	if err := insertRows(ctx, t, "event_queue (subscription, next_at, event, queued_at, lane, attempts, tried_at, outcome, status)", "NNNNNNNTN", again); err != nil {
		return err
	}
	if err := insertRows(ctx, t, "event_dead (subscription, event, dead_at, due_at, reason, queued_at, attempts, tried_at, outcome, status)", "NNNNTNNNTN", dead); err != nil {
		return err
	}
	for _, st := range all {
		if err := db.settleRest(ctx, t, st); err != nil {
			return err
		}
	}
	return nil
}

func deleteQueued(ctx context.Context, t *tx, rows [][]any) error {
	if len(rows) == 0 {
		return nil
	}
	_, err := t.exec(ctx, `DELETE FROM event_queue WHERE (subscription, next_at, event) IN
		(SELECT CAST(l.value ->> 0 AS BIGINT), CAST(l.value ->> 1 AS BIGINT), CAST(l.value ->> 2 AS BIGINT) FROM {rows(}$1{)} l)`, jsonOf(rows))
	return err
}

// insertRows inserts rows whose columns are numbers (N) and texts (T).
func insertRows(ctx context.Context, t *tx, into, kinds string, rows [][]any) error {
	if len(rows) == 0 {
		return nil
	}
	var values []string
	for i, k := range kinds {
		value := fmt.Sprintf("l.value ->> %d", i)
		if k == 'N' {
			value = "CAST(" + value + " AS BIGINT)"
		}
		values = append(values, value)
	}
	// WHERE TRUE tells SQLite that ON is not of a join.
	_, err := t.exec(ctx, "INSERT INTO "+into+" SELECT "+strings.Join(values, ", ")+" FROM {rows(}$1{)} l WHERE TRUE ON CONFLICT DO NOTHING", jsonOf(rows))
	return err
}

// settleRest is what few settlements have.
func (db *DB) settleRest(ctx context.Context, t *tx, st eventing.Settlement) error {
	if !st.Recovered.IsZero() {
		now := micros(st.Recovered)
		if err := moveRows(ctx, t, now, st.Subscription, "next_at > $1"); err != nil {
			return err
		}
	}
	for _, l := range st.Park {
		if err := moveRows(ctx, t, micros(l.Until), st.Subscription, "next_at < $1 AND lane = $3", l.ID); err != nil {
			return err
		}
	}
	for i, a := range st.History {
		sealed, err := db.seal(historyName(st.Subscription), a)
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, `INSERT INTO event_history (subscription, slot, at, sealed) VALUES ($1, $2, $3, $4)
			ON CONFLICT (subscription, slot) DO UPDATE SET at = excluded.at, sealed = excluded.sealed`,
			st.Subscription, (st.Slot+i)%eventing.HistorySlots, micros(a.Time), sealed)
		if err != nil {
			return err
		}
	}
	if st.Health == nil {
		return nil
	}
	_, err := t.exec(ctx, "UPDATE subscriptions SET health = $1 WHERE seq = $2", jsonOf(st.Health), st.Subscription)
	return err
}

func historyName(subscription int64) string {
	return fmt.Sprintf("history of subscription %d", subscription)
}

// LastSlot implements eventing.Store.
func (db *DB) LastSlot(ctx context.Context, subscription int64) (int, error) {
	slots, err := db.numbers(ctx, "last slot", "SELECT slot FROM event_history WHERE subscription = $1 ORDER BY at DESC, slot DESC LIMIT 1", subscription)
	if err != nil || len(slots) == 0 {
		return 0, err
	}
	return int(slots[0]), nil
}

// Overflow implements eventing.Store.
func (db *DB) Overflow(ctx context.Context, owner string, subscription int64, keep int, d eventing.DeadLetter) (int, error) {
	var n int64
	err := db.change(ctx, "bound queue", func(ctx context.Context, t *tx) error {
		if err := mustOwn(ctx, t, owner, subscription); err != nil {
			return err
		}
		var events int
		if err := t.row(ctx, "SELECT count(*) FROM event_queue WHERE subscription = $1", subscription).Scan(&events); err != nil || events <= keep {
			return err
		}
		// All up to the event that makes room for the rest. One that is there twice goes
		// twice.
		var last int64
		if err := t.row(ctx, "SELECT event FROM event_queue WHERE subscription = $1 ORDER BY event LIMIT 1 OFFSET $2", subscription, events-keep-1).Scan(&last); err != nil {
			return err
		}
		_, err := t.exec(ctx, `INSERT INTO event_dead (subscription, event, dead_at, due_at, reason, queued_at, attempts, tried_at, outcome, status)
			SELECT subscription, event, CAST($1 AS BIGINT), CAST($2 AS BIGINT), CAST($3 AS TEXT), queued_at, attempts, tried_at, outcome, status
			FROM event_queue WHERE subscription = $4 AND event <= $5`, micros(d.At), micros(d.Due), string(d.Reason), subscription, last)
		if err != nil {
			return err
		}
		n, err = t.exec(ctx, "DELETE FROM event_queue WHERE subscription = $1 AND event <= $2", subscription, last)
		return err
	})
	return int(n), err
}
