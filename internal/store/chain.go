package store

import (
	"context"
	"database/sql"
	"time"

	"acrd/triggers"
)

var _ triggers.Runs = (*DB)(nil)

// ActiveRuns implements triggers.Runs.
func (db *DB) ActiveRuns(ctx context.Context) ([]triggers.Active, error) {
	return db.taskRuns(ctx, "list active runs", "status IN ('Queued', 'Started', 'Running')")
}

// EndedRuns implements triggers.Runs.
func (db *DB) EndedRuns(ctx context.Context, since time.Time) ([]triggers.Active, error) {
	return db.taskRuns(ctx, "list ended runs", "finished >= $1 AND status NOT IN ('Queued', 'Started', 'Running') ORDER BY finished, seq", micros(since))
}

// taskRuns are what chains need to know of runs, without their records. Those
// of no task count too: what they push may be what others build on.
func (db *DB) taskRuns(ctx context.Context, what, which string, args ...any) ([]triggers.Active, error) {
	var all []triggers.Active
	err := db.query(ctx, what, func(rows *sql.Rows) error {
		var r triggers.Active
		var seq int64
		var priority int
		err := rows.Scan(&seq, &r.Task, &priority)
		r.Run, r.Automatic = formatID(seq), priority > 0
		all = append(all, r)
		return err
	}, "SELECT seq, task, priority FROM runs WHERE "+which, args...)
	return all, err
}
