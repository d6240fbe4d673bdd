package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"acrd/eventing"
	"acrd/eventing/inbound"
	"acrd/runner"
	"acrd/triggers"
)

// SaveBases replaces what a task was built on, by what a build was. No scan of
// its source is needed any more.
func (db *DB) SaveBases(ctx context.Context, task string, bases []triggers.Base) error {
	return db.change(ctx, "save bases of "+task, func(ctx context.Context, t *tx) error {
		if err := endWatches(ctx, t, triggers.ScanWatch, task+"/"); err != nil {
			return err
		}
		return replaceBases(ctx, t, task, bases)
	})
}

// SaveScan ends the scan of a task's source, and replaces what the task is
// built on. It is ErrFenced if the scan is not the caller's any more.
func (db *DB) SaveScan(ctx context.Context, w triggers.Watch, task string, bases []triggers.Base) error {
	return db.change(ctx, "save scan of "+task, func(ctx context.Context, t *tx) error {
		n, err := t.exec(ctx, "DELETE FROM watches WHERE kind = $1 AND id = $2 AND owner = $3", triggers.ScanWatch, w.ID, w.Claim)
		if err != nil {
			return err
		}
		if n == 0 {
			return runner.ErrFenced
		}
		return replaceBases(ctx, t, task, bases)
	})
}

func replaceBases(ctx context.Context, t *tx, task string, bases []triggers.Base) error {
	if _, err := t.exec(ctx, "DELETE FROM bases WHERE task = $1", task); err != nil {
		return err
	}
	for _, b := range bases {
		_, err := t.exec(ctx, `INSERT INTO bases (task, ref, platform, role, digest, run, scanned) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (task, ref, platform, role) DO UPDATE SET digest = excluded.digest, run = excluded.run, scanned = excluded.scanned`,
			task, b.Ref, b.Platform, b.Role, b.Digest, b.Run, micros(b.Scanned))
		if err != nil {
			return err
		}
	}
	return nil
}

// SeeBase keeps what was there of a base that a scan has found, unless that is
// known.
func (db *DB) SeeBase(ctx context.Context, b triggers.Base) error {
	return db.change(ctx, "see base of "+b.Task, func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, "UPDATE bases SET digest = $1 WHERE task = $2 AND ref = $3 AND platform = $4 AND role = $5 AND scanned = $6 AND digest = ''",
			b.Digest, b.Task, b.Ref, b.Platform, b.Role, micros(b.Scanned))
		return err
	})
}

// PushedSince is the digest that a tag of our own registry was put to last since
// a time, or that a push under way puts it to; empty if there is none. A draft
// becomes an event in one transaction, so that one of the two looks finds it.
func (db *DB) PushedSince(ctx context.Context, repository, tag string, since time.Time) (digest string, err error) {
	subject := repository + ":" + tag
	err = db.query(ctx, "list drafts", func(rows *sql.Rows) error {
		var text []byte
		var d eventing.Draft
		if err := rows.Scan(&text); err != nil {
			return err
		}
		if err := json.Unmarshal(text, &d); err != nil {
			return err
		}
		if d.Event.Type == eventing.ImagePushed && d.Event.Subject == subject {
			digest = pushedDigest(d.Event.Data)
		}
		return nil
	}, "SELECT draft FROM drafts WHERE at >= $1 ORDER BY at", micros(since))
	if err != nil || digest != "" {
		return digest, err
	}
	err = db.query(ctx, "pushes of "+subject, func(rows *sql.Rows) error {
		var data []byte
		err := rows.Scan(&data)
		digest = pushedDigest(data)
		return err
	}, "SELECT data FROM events WHERE time >= $1 AND type = $2 AND subject = $3 ORDER BY time DESC, seq DESC LIMIT 1",
		micros(since), eventing.ImagePushed, subject)
	return digest, err
}

// pushedDigest is what an event about a push has been made of.
func pushedDigest(data []byte) string {
	var push struct{ Target struct{ Digest string } }
	_ = json.Unmarshal(data, &push) // ours have it
	return push.Target.Digest
}

// ToldSince says that another registry has told of a push of a tag since a
// time, as it turned out with good reason. It does not tell registries apart.
func (db *DB) ToldSince(ctx context.Context, repository, tag string, since time.Time) (bool, error) {
	n := 0
	err := db.one(ctx, "notices of "+repository, "SELECT count(*) FROM notices WHERE about = $1 AND action = $2 AND outcome = $3 AND at >= $4",
		[]any{repository + ":" + tag, string(inbound.Push), string(inbound.Confirmed), micros(since)}, &n)
	return n > 0, err
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
		var scanned int64
		err := rows.Scan(&b.Task, &b.Ref, &b.Platform, &b.Role, &b.Digest, &b.Run, &scanned)
		b.Scanned = moment(scanned)
		all = append(all, b)
		return err
	}, "SELECT task, ref, platform, role, digest, run, scanned FROM bases "+which+" ORDER BY task, ref, platform, role", args...)
	return all, err
}
