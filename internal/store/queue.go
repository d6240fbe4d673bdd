package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"acrd/eventing"
	"acrd/runner"
)

// lookEvery is how often a daemon that waits for a run looks, whatever it has
// been told.
const lookEvery = time.Second

// TakeRun implements runner.Queue.
func (db *DB) TakeRun(ctx context.Context, d runner.Daemon) (*runner.Run, error) {
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	for {
		rung := db.queue.wait()
		run, err := db.takeOnce(ctx, d)
		if run != nil || err != nil {
			return run, err
		}
		timer.Reset(lookEvery)
		select {
		case <-rung:
		case <-timer.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// takeOnce returns nil if there is nothing to take.
func (db *DB) takeOnce(ctx context.Context, d runner.Daemon) (*runner.Run, error) {
	if some, err := db.anyQueued(ctx); err != nil || !some {
		return nil, err
	}
	var run *runner.Run
	var sealed []byte
	err := db.change(ctx, "take run", func(ctx context.Context, t *tx) error {
		run = nil
		if err := lockClaim(ctx, t); err != nil {
			return err
		}
		r, err := scanRun(t.row(ctx, claim, d.ID, d.Name, d.Global))
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		run = r
		return t.row(ctx, "SELECT sealed FROM run_requests WHERE seq = $1", parseID(r.ID)).Scan(&sealed)
	})
	if err != nil || run == nil {
		return nil, err
	}
	run.Updated = time.Now()
	whole := new(runner.Request)
	if err := db.unseal("run "+run.ID, sealed, whole); err != nil {
		return nil, &runner.UnreadableError{Run: run, Err: err}
	}
	run.Request = *whole
	return run, nil
}

func (db *DB) anyQueued(ctx context.Context) (bool, error) {
	some := false
	err := db.query(ctx, "look into queue", func(rows *sql.Rows) error {
		some = true
		return nil
	}, "SELECT 1 FROM runs WHERE status = 'Queued' LIMIT 1")
	return some, err
}

// lockClaim lets one daemon claim at a time, so that limits hold. It is held
// for a statement or two.
func lockClaim(ctx context.Context, t *tx) error {
	var value string
	return t.row(ctx, "SELECT value FROM meta WHERE name = 'claim' {lock}").Scan(&value)
}

// claim takes the next run that this daemon can execute and that no limit
// holds back. Whatever its attempt writes from now on carries owner and
// attempt, see SaveRun.
const claim = `UPDATE runs SET status = 'Started', attempt = attempt + 1, owner = $1
	WHERE seq = (
		SELECT seq FROM runs q
		WHERE status = 'Queued' AND (pinned = '' OR pinned = $2)
		  AND (task_limit = 0 OR task_limit > (SELECT count(*) FROM runs b WHERE b.status IN ('Started', 'Running') AND b.task = q.task))
		  AND ($3 = 0 OR $3 > (SELECT count(*) FROM runs b WHERE b.status IN ('Started', 'Running')))
		ORDER BY priority, seq LIMIT 1 {skip})
	RETURNING ` + runColumns

// SaveRun implements runner.Queue.
func (db *DB) SaveRun(ctx context.Context, r *runner.Run, events ...eventing.Event) error {
	record, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("save run %s: %w", r.ID, err)
	}
	err = db.changeAnyway(ctx, "save run "+r.ID, func(ctx context.Context, t *tx) error {
		n, err := t.exec(ctx, `UPDATE runs SET status = $1, finished = $2, log_bytes = $3, record = $4
			WHERE seq = $5 AND owner = $6 AND attempt = $7 AND status IN ('Started', 'Running')`,
			r.Status, micros(r.Finished), r.LogBytes, string(record), parseID(r.ID), r.Owner, r.Attempt)
		if err != nil {
			return err
		}
		if n == 0 {
			return savedAlready(ctx, t, r)
		}
		if r.Status.Final() {
			if err := insertImages(ctx, t, r); err != nil {
				return err
			}
		}
		return insertEvents(ctx, t, events)
	})
	if err == nil && r.Status.Final() { // a limit may have room now
		db.triggers.ring()
		db.queue.ring()
		db.call(callQueue)
	}
	return err
}

// savedAlready forgives whoever repeats a run's end because the answer to the
// first time was lost.
func savedAlready(ctx context.Context, t *tx, r *runner.Run) error {
	var status, owner string
	var attempt int
	err := t.row(ctx, "SELECT status, owner, attempt FROM runs WHERE seq = $1", parseID(r.ID)).Scan(&status, &owner, &attempt)
	if err != nil {
		return err
	}
	if r.Status.Final() && status == string(r.Status) && owner == r.Owner && attempt == r.Attempt {
		return nil
	}
	return runner.ErrFenced
}

// insertImages makes the run be found by what it pushed.
func insertImages(ctx context.Context, t *tx, r *runner.Run) error {
	for _, name := range imageNames(r) {
		if _, err := t.exec(ctx, "INSERT INTO run_images (image, seq) VALUES ($1, $2) ON CONFLICT DO NOTHING", name, parseID(r.ID)); err != nil {
			return err
		}
	}
	return nil
}

// imageNames are the ways in which one may ask for the images that a run
// pushed: by digest, tag or both, with and without the registry.
func imageNames(r *runner.Run) []string {
	var names []string
	for _, p := range r.Pushed {
		ref := runner.NewReference(p.Ref, p.Digest)
		for _, repository := range []string{ref.Repository, ref.Registry + "/" + ref.Repository} {
			names = append(names, repository, repository+"@"+ref.Digest, repository+":"+ref.Tag)
		}
		names = append(names, ref.Digest)
	}
	return names
}

// Position implements runner.Queue.
func (db *DB) Position(ctx context.Context, id string) (int, error) {
	var status string
	var before int
	err := db.one(ctx, "position of run "+id, `SELECT r.status, (SELECT count(*) FROM runs q WHERE q.status = 'Queued'
		AND (q.priority < r.priority OR q.priority = r.priority AND q.seq < r.seq)) FROM runs r WHERE r.seq = $1`,
		[]any{parseID(id)}, &status, &before)
	if err != nil || runner.Status(status) != runner.Queued {
		return 0, err
	}
	return before + 1, nil
}

// Hint implements runner.Queue.
func (db *DB) Hint() <-chan struct{} { return db.others.wait() }
