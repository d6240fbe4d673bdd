package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"acrd/eventing"
	"acrd/runner"
)

// priority orders the queue: what a person asks for goes first.
func priority(req *runner.Request) int {
	if req.Cause != nil {
		return 1
	}
	return 0
}

// AddRun implements runner.Records.
func (db *DB) AddRun(ctx context.Context, r *runner.Run, ready func(*runner.Run) ([]eventing.Event, error)) error {
	seq, err := db.nextID(ctx)
	if err != nil {
		return err
	}
	id := formatID(seq)
	sealed, err := db.seal("run "+id, &r.Request)
	if err != nil {
		return err
	}
	r.ID = id
	events, err := ready(r)
	if err != nil {
		return err
	}
	err = db.change(ctx, "add run "+id, func(ctx context.Context, t *tx) error {
		if err := insertRun(ctx, t, seq, r, sealed); err != nil {
			return err
		}
		if err := db.answer(ctx, t, r); err != nil {
			return err
		}
		return insertEvents(ctx, t, events)
	})
	if err == nil {
		db.queue.ring()
		db.call(callQueue)
	}
	return err
}

func insertRun(ctx context.Context, t *tx, seq int64, r *runner.Run, sealed []byte) error {
	request, err := json.Marshal(r.Request.Public())
	if err != nil {
		return err
	}
	record, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO runs (seq, status, type, task, task_limit, priority, pinned, created, archived, request, record)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		seq, r.Status, r.Type, r.Request.Task, r.Request.TaskLimit, priority(&r.Request), r.Pinned,
		micros(r.Created), bit(r.Archived), string(request), string(record))
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, "INSERT INTO run_requests (seq, sealed) VALUES ($1, $2)", seq, sealed)
	return err
}

// ChangeRun implements runner.Records.
func (db *DB) ChangeRun(ctx context.Context, id string, change func(*runner.Run) ([]eventing.Event, error)) (*runner.Run, error) {
	var before, after *runner.Run
	err := db.changeAnyway(ctx, "run "+id, func(ctx context.Context, t *tx) error {
		run, err := scanRun(t.row(ctx, "SELECT "+runColumns+" FROM runs WHERE seq = $1 {lock}", parseID(id)))
		if err != nil {
			return err
		}
		before, after = run.Clone(), run
		events, err := change(after)
		if err != nil {
			return err
		}
		if after.Status != before.Status {
			after.Owner = ""
		}
		if err := updateRun(ctx, t, after); err != nil {
			return err
		}
		return insertEvents(ctx, t, events)
	})
	if err != nil {
		return nil, err
	}
	if after.Status != before.Status {
		db.queue.ring()
		db.call(callQueue)
	}
	if after.Cancel && !before.Cancel {
		db.call(callOthers)
	}
	return after, nil
}

// updateRun writes all of a run that may change. The cancel mark of a run that
// goes back to the queue stays: it is still wanted.
func updateRun(ctx context.Context, t *tx, r *runner.Run) error {
	record, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `UPDATE runs SET status = $1, finished = $2, archived = $3, cancel = $4, owner = $5, log_bytes = $6, record = $7 WHERE seq = $8`,
		r.Status, micros(r.Finished), bit(r.Archived), bit(r.Cancel), r.Owner, r.LogBytes, string(record), parseID(r.ID))
	return err
}

// RemoveRun implements runner.Records.
func (db *DB) RemoveRun(ctx context.Context, id string) error {
	return db.change(ctx, "remove run "+id, func(ctx context.Context, t *tx) error {
		n, err := t.exec(ctx, "DELETE FROM runs WHERE seq = $1 AND status NOT IN ('Queued', 'Started', 'Running')", parseID(id))
		if err == nil && n == 0 {
			return sql.ErrNoRows
		}
		return err
	})
}

// Run implements runner.Records.
func (db *DB) Run(ctx context.Context, id string) (*runner.Run, error) {
	var run *runner.Run
	err := db.query(ctx, "run "+id, func(rows *sql.Rows) (err error) {
		run, err = scanRun(rows)
		return err
	}, "SELECT "+runColumns+" FROM runs WHERE seq = $1", parseID(id))
	if err == nil && run == nil {
		err = fmt.Errorf("run %s: %w", id, runner.ErrNotFound)
	}
	return run, err
}

// Request implements runner.Records.
func (db *DB) Request(ctx context.Context, id string) (*runner.Request, error) {
	var sealed []byte
	if err := db.one(ctx, "request of run "+id, "SELECT sealed FROM run_requests WHERE seq = $1", []any{parseID(id)}, &sealed); err != nil {
		return nil, err
	}
	req := new(runner.Request)
	return req, db.unseal("run "+id, sealed, req)
}

// runColumns are what scanRun reads.
const runColumns = "seq, status, task, archived, cancel, attempt, owner, pinned, log_bytes, request, record"

// scanRun reads a run. Where a column says the same as the record, the column
// is the truth.
func scanRun(row interface{ Scan(into ...any) error }) (*runner.Run, error) {
	var (
		run             runner.Run
		seq             int64
		status, task    string
		archived, wants int
		attempt         int
		owner, pinned   string
		logBytes        int64
		request, record []byte
	)
	if err := row.Scan(&seq, &status, &task, &archived, &wants, &attempt, &owner, &pinned, &logBytes, &request, &record); err != nil {
		return nil, err
	}
	id := formatID(seq)
	if err := json.Unmarshal(record, &run); err != nil {
		return nil, fmt.Errorf("record of run %s: %w", id, err)
	}
	if err := json.Unmarshal(request, &run.Request); err != nil {
		return nil, fmt.Errorf("request of run %s: %w", id, err)
	}
	run.ID, run.Status, run.Archived, run.Cancel = id, runner.Status(status), archived != 0, wants != 0
	run.Attempt, run.Owner, run.Pinned, run.LogBytes = attempt, owner, pinned, logBytes
	return &run, nil
}

// seal makes v unreadable but for this store, under its name.
func (db *DB) seal(name string, v any) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", name, err)
	}
	sealed, err := db.sealer.SealFor(name, plain)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", name, err)
	}
	return sealed, nil
}

func (db *DB) unseal(name string, sealed []byte, into any) error {
	plain, err := db.sealer.OpenFor(name, sealed)
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	if err := json.Unmarshal(plain, into); err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	return nil
}

// micros is how times are stored, 0 being none.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func moment(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
