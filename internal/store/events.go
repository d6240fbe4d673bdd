package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"acrd/eventing"
)

// The outbox: events wait here, in the order of their numbers, until whoever
// passes them on has settled them. One with a lower number may appear after
// one with a higher, for transactions overlap; so nobody may remember a number
// as "seen up to here".

func insertEvents(ctx context.Context, t *tx, events []eventing.Event) error {
	t.events = t.events || len(events) > 0
	for _, e := range events {
		// Whoever had no answer the first time comes with the same events.
		_, err := t.exec(ctx, `INSERT INTO events (id, type, topic, subject, key, time, data_version, data, extensions)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING`,
			e.ID, e.Type, e.Topic, e.Subject, e.Key, micros(e.Time), e.DataVersion, string(e.Data), string(e.Extensions))
		if err != nil {
			return err
		}
	}
	return nil
}

// AddEvents writes events that report nothing of this store, such as a push
// to the registry.
func (db *DB) AddEvents(ctx context.Context, events ...eventing.Event) error {
	return db.change(ctx, "add events", func(ctx context.Context, t *tx) error { return insertEvents(ctx, t, events) })
}

// OpenEvents lists events that are not settled, oldest first, at most limit.
func (db *DB) OpenEvents(ctx context.Context, limit int) ([]eventing.Event, error) {
	var events []eventing.Event
	err := db.query(ctx, "list events", func(rows *sql.Rows) error {
		e, err := scanEvent(rows)
		events = append(events, e)
		return err
	}, "SELECT "+eventColumns+" FROM events WHERE settled = 0 ORDER BY seq LIMIT $1", limit)
	return events, err
}

// eventColumns are what scanEvent scans.
const eventColumns = "id, type, topic, subject, key, time, data_version, data, extensions"

func scanEvent(row interface{ Scan(into ...any) error }) (eventing.Event, error) {
	var e eventing.Event
	var at int64
	var data, extensions []byte
	err := row.Scan(&e.ID, &e.Type, &e.Topic, &e.Subject, &e.Key, &at, &e.DataVersion, &data, &extensions)
	e.Time, e.Data = moment(at), json.RawMessage(data)
	if len(extensions) > 0 {
		e.Extensions = extensions
	}
	return e, err
}

// SettleEvents says that these events were passed on.
func (db *DB) SettleEvents(ctx context.Context, ids ...string) error {
	return db.change(ctx, "settle events", func(ctx context.Context, t *tx) error {
		for _, id := range ids {
			if _, err := t.exec(ctx, "UPDATE events SET settled = 1 WHERE id = $1", id); err != nil {
				return err
			}
		}
		return nil
	})
}

// RemoveEvents forgets events that are older than age, settled or not, unless
// somebody is still to be told.
func (db *DB) RemoveEvents(ctx context.Context, age time.Duration) error {
	return db.change(ctx, "remove events", func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, `DELETE FROM events WHERE time < {now} - $1
			AND seq NOT IN (SELECT event FROM event_queue) AND seq NOT IN (SELECT event FROM event_dead WHERE due_at > 0)`, age.Microseconds())
		return err
	})
}
