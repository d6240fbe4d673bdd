package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"acrd/eventing"
	"acrd/eventing/inbound"
)

var _ inbound.Queue = (*DB)(nil)

// AddNotices implements inbound.Queue. A notice that was received before is
// one with its id, for as long as that is kept.
func (db *DB) AddNotices(ctx context.Context, source string, notices []inbound.Notice, most int) (fresh int, err error) {
	err = db.change(ctx, "add notices", func(ctx context.Context, t *tx) error {
		fresh = 0
		var open int
		if err := t.QueryRowContext(ctx, t.dialect.sql("SELECT count(*) FROM notices WHERE source = $1 AND ended = 0"), source).Scan(&open); err != nil {
			return err
		}
		if open+len(notices) > most {
			return inbound.ErrFull
		}
		for _, n := range notices {
			doc, err := json.Marshal(n)
			if err != nil {
				return err
			}
			added, err := t.exec(ctx, `INSERT INTO notices (source, id, about, action, digest, doc, at, next_at)
				VALUES ($1, $2, $3, $4, $5, $6, {now}, {now}) ON CONFLICT DO NOTHING`,
				source, n.ID, n.Ref(), string(n.Action), n.Digest, string(doc))
			if err != nil {
				return err
			}
			fresh += int(added)
		}
		return nil
	})
	return fresh, err
}

// ClaimSource implements inbound.Queue. What is due is looked for before it is
// claimed, which costs a write.
func (db *DB) ClaimSource(ctx context.Context, now time.Time, lease time.Duration) (inbound.Claim, bool, error) {
	next, ok, err := db.NextNotice(ctx)
	if err != nil || !ok || next.After(now) {
		return inbound.Claim{}, false, err
	}
	c := inbound.Claim{Key: rand.Text()}
	err = db.change(ctx, "claim event source", func(ctx context.Context, t *tx) error {
		return t.QueryRowContext(ctx, t.dialect.sql(`UPDATE event_sources SET owner = $1, lease_until = $2
			WHERE name = (SELECT s.name FROM event_sources s WHERE s.lease_until <= $3 AND EXISTS
				(SELECT 1 FROM notices n WHERE n.source = s.name AND n.ended = 0 AND n.next_at <= $3) ORDER BY s.lease_until, s.name LIMIT 1 {skip})
			RETURNING name`), c.Key, micros(now.Add(lease)), micros(now)).Scan(&c.Source)
	})
	if errors.Is(err, sql.ErrNoRows) || err == nil && c.Source == "" {
		return inbound.Claim{}, false, nil
	}
	return c, err == nil, err
}

// FreeSources implements inbound.Queue.
func (db *DB) FreeSources(ctx context.Context) error {
	return db.change(ctx, "free event sources", func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, "UPDATE event_sources SET owner = '', lease_until = 0 WHERE owner <> ''")
		return err
	})
}

// ReleaseSource implements inbound.Queue. Whose turn was longest ago is next.
func (db *DB) ReleaseSource(ctx context.Context, c inbound.Claim) error {
	return db.change(ctx, "release event source", func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, "UPDATE event_sources SET owner = '', lease_until = $1 WHERE name = $2 AND owner = $3", micros(time.Now()), c.Source, c.Key)
		return err
	})
}

// DueNotices implements inbound.Queue.
func (db *DB) DueNotices(ctx context.Context, source string, now time.Time, limit int) ([]inbound.Received, error) {
	return db.notices(ctx, "WHERE source = $1 AND ended = 0 AND next_at <= $2 ORDER BY next_at, at, id LIMIT $3", source, micros(now), limit)
}

// NextNotice implements inbound.Queue. Those of a source that is claimed are
// its owner's, until the lease is over.
func (db *DB) NextNotice(ctx context.Context) (time.Time, bool, error) {
	var next sql.NullInt64
	err := db.one(ctx, "next notice", `SELECT min({later}(n.next_at, s.lease_until)) FROM event_sources s JOIN notices n ON n.source = s.name
		WHERE n.ended = 0`, nil, &next)
	return moment(next.Int64), next.Valid, err
}

// PutOffNotice implements inbound.Queue.
func (db *DB) PutOffNotice(ctx context.Context, c inbound.Claim, r inbound.Received, until time.Time) error {
	return db.change(ctx, "put off notice", func(ctx context.Context, t *tx) error {
		return oneOf(t.exec(ctx, "UPDATE notices SET next_at = $1, tries = $2, why = $3 WHERE source = $4 AND id = $5 AND ended = 0 AND "+ours,
			micros(until), r.Tries, r.Why, c.Source, r.ID, c.Key))
	})
}

// EndNotice implements inbound.Queue.
func (db *DB) EndNotice(ctx context.Context, c inbound.Claim, r inbound.Received, events ...eventing.Event) error {
	return db.changeAnyway(ctx, "end notice", func(ctx context.Context, t *tx) error {
		err := oneOf(t.exec(ctx, "UPDATE notices SET ended = {now}, outcome = $1, tries = $2, why = $3, digest = $7 WHERE source = $4 AND id = $5 AND ended = 0 AND "+ours,
			string(r.Outcome), r.Tries, r.Why, c.Source, r.ID, c.Key, r.Digest))
		if err != nil {
			return err
		}
		return insertEvents(ctx, t, events)
	})
}

// ours says that the source of a notice is still the caller's.
const ours = "EXISTS (SELECT 1 FROM event_sources s WHERE s.name = source AND s.owner = $6)"

func oneOf(n int64, err error) error {
	if err == nil && n == 0 {
		return inbound.ErrFenced
	}
	return err
}

// LastPush implements inbound.Queue.
func (db *DB) LastPush(ctx context.Context, source, repository, tag string) (string, error) {
	action, digest, ended, err := db.lastAbout(ctx, source, repository+":"+tag)
	if err != nil || action != string(inbound.Push) {
		return "", err
	}
	action, _, after, err := db.lastAbout(ctx, source, repository+"@"+digest)
	if err != nil || action != "" && after > ended {
		return "", err
	}
	return digest, nil
}

// lastAbout is the latest confirmed notice about a reference.
func (db *DB) lastAbout(ctx context.Context, source, about string) (action, digest string, ended int64, err error) {
	err = db.query(ctx, "last notice", func(rows *sql.Rows) error { return rows.Scan(&action, &digest, &ended) },
		"SELECT action, digest, ended FROM notices WHERE source = $1 AND about = $2 AND ended > 0 AND outcome = 'confirmed' ORDER BY ended DESC LIMIT 1", source, about)
	return action, digest, ended, err
}

// RemoveNotices forgets those that ended before age.
func (db *DB) RemoveNotices(ctx context.Context, age time.Duration) error {
	return db.change(ctx, "remove notices", func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, "DELETE FROM notices WHERE ended > 0 AND at < {now} - $1", age.Microseconds())
		return err
	})
}
