package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"acrd/runner"
	"acrd/triggers"
)

var _ triggers.TimerStore = (*DB)(nil)

// never is next_at of a timer that does not fire any more.
const never = -1

const timerColumns = "task, name, doc, since, next_at, last_at, fired_at, held"

func scanTimer(row interface{ Scan(into ...any) error }) (triggers.TimerState, error) {
	var s triggers.TimerState
	var name string
	var doc []byte
	var since, next, last, fired, held int64
	if err := row.Scan(&s.Task, &name, &doc, &since, &next, &last, &fired, &held); err != nil {
		return s, err
	}
	s.Since, s.Last, s.Fired, s.Held = moment(since), moment(last), moment(fired), held != 0
	if s.Never = next == never; !s.Never {
		s.Next = moment(next)
	}
	return s, json.Unmarshal(doc, &s.Timer)
}

func nextMicros(s triggers.TimerState) int64 {
	if s.Never {
		return never
	}
	return micros(s.Next)
}

func (db *DB) timers(ctx context.Context, which string, args ...any) ([]triggers.TimerState, error) {
	var all []triggers.TimerState
	err := db.query(ctx, "list timers", func(rows *sql.Rows) error {
		s, err := scanTimer(rows)
		all = append(all, s)
		return err
	}, "SELECT "+timerColumns+" FROM timers "+which, args...)
	return all, err
}

// Timers implements triggers.TimerStore.
func (db *DB) Timers(ctx context.Context) ([]triggers.TimerState, error) {
	return db.timers(ctx, "ORDER BY task, name")
}

// TimersOf lists those of one task.
func (db *DB) TimersOf(ctx context.Context, task string) ([]triggers.TimerState, error) {
	return db.timers(ctx, "WHERE task = $1 ORDER BY name", task)
}

// DueTimers implements triggers.TimerStore.
func (db *DB) DueTimers(ctx context.Context, now time.Time, limit int) ([]triggers.TimerState, error) {
	return db.timers(ctx, "WHERE next_at >= 0 AND held = 0 AND next_at <= $1 ORDER BY next_at, task, name LIMIT $2", micros(now), limit)
}

// HeldTimers implements triggers.TimerStore.
func (db *DB) HeldTimers(ctx context.Context) ([]triggers.TimerState, error) {
	return db.timers(ctx, "WHERE held = 1 ORDER BY next_at, task, name")
}

// NextTimer implements triggers.TimerStore.
func (db *DB) NextTimer(ctx context.Context, after time.Time) (time.Time, error) {
	var next sql.NullInt64
	err := db.one(ctx, "next timer", "SELECT min(next_at) FROM timers WHERE next_at >= 0 AND held = 0 AND next_at > $1", []any{micros(after)}, &next)
	return moment(next.Int64), err
}

// MoveTimers implements triggers.TimerStore.
func (db *DB) MoveTimers(ctx context.Context, moves []triggers.TimerMove) ([]bool, error) {
	moved := make([]bool, len(moves))
	fired := false
	err := db.change(ctx, "move timers", func(ctx context.Context, t *tx) error {
		for i, m := range moves {
			var err error
			if moved[i], err = db.moveTimer(ctx, t, m); err != nil {
				return err
			}
			fired = fired || moved[i] && len(m.Fire) > 0
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if fired {
		db.callTriggers()
	}
	return moved, nil
}

func (db *DB) moveTimer(ctx context.Context, t *tx, m triggers.TimerMove) (bool, error) {
	// Since changes with whatever else does.
	n, err := t.exec(ctx, `UPDATE timers SET since = $1, next_at = $2, last_at = $3, fired_at = $4, held = $5
		WHERE task = $6 AND name = $7 AND since = $8 AND next_at = $9 AND last_at = $10 AND held = $11`,
		micros(m.To.Since), nextMicros(m.To), micros(m.To.Last), micros(m.To.Fired), bit(m.To.Held),
		m.From.Task, m.From.Timer.Name, micros(m.From.Since), nextMicros(m.From), micros(m.From.Last), bit(m.From.Held))
	if err != nil || n == 0 {
		return false, err
	}
	for _, s := range m.Skip {
		if _, err := db.insertIntent(ctx, t, s); err != nil {
			return false, err
		}
	}
	for _, in := range m.Fire {
		if _, err := db.insertIntent(ctx, t, triggers.Settled{Intent: in}); err != nil {
			return false, err
		}
	}
	return true, nil
}

// TimerRuns implements triggers.TimerStore.
func (db *DB) TimerRuns(ctx context.Context, task, timer string) (keys, runs []string, err error) {
	prefix := triggers.TimerKey(timer, time.Time{})
	err = db.query(ctx, "list undecided intents", func(rows *sql.Rows) error {
		var key string
		err := rows.Scan(&key)
		keys = append(keys, key)
		return err
	}, "SELECT key FROM intents WHERE decided_at = 0 AND task = $1 AND substr(key, 1, $2) = $3", task, len([]rune(prefix)), prefix)
	if err != nil {
		return nil, nil, err
	}
	err = db.query(ctx, "list runs of timer", func(rows *sql.Rows) error {
		var run int64
		err := rows.Scan(&run)
		runs = append(runs, formatID(run))
		return err
	}, `SELECT DISTINCT i.run FROM runs r JOIN intents i ON i.run = r.seq
		WHERE r.status IN ('Queued', 'Started', 'Running') AND i.task = $1 AND substr(i.key, 1, $2) = $3 ORDER BY i.run`, task, len([]rune(prefix)), prefix)
	return keys, runs, err
}

// SyncTimers implements triggers.TimerStore.
func (db *DB) SyncTimers(ctx context.Context) error {
	all, err := db.Timers(ctx)
	if err != nil {
		return err
	}
	have := map[string][]triggers.TimerState{}
	for _, s := range all {
		have[s.Task] = append(have[s.Task], s)
	}
	const page = 500
	for after := ""; ; {
		tasks, err := db.Tasks(ctx, after, page)
		if err != nil {
			return err
		}
		for _, task := range tasks {
			if err := db.syncTask(ctx, task, have[task.Name]); err != nil {
				return err
			}
			after = task.Name
		}
		if len(tasks) < page {
			return nil
		}
	}
}

// syncTask writes the timers of a task again, unless they are as they should.
func (db *DB) syncTask(ctx context.Context, task *runner.Task, have []triggers.TimerState) error {
	want := triggers.ActiveTimers(task)
	same := len(want) == len(have)
	for _, s := range have {
		same = same && want[s.Timer.Name] == s.Timer
	}
	if same {
		return nil
	}
	_, err := db.ChangeTask(ctx, task.Name, func(old *runner.Task) (*runner.Task, error) {
		if old == nil {
			return nil, runner.ErrNotFound // it was removed just now
		}
		return old, nil
	})
	if errors.Is(err, runner.ErrNotFound) {
		return nil
	}
	return err
}

// saveTimers keeps the timers of a task. One that is as it was stays where it
// is; one that is new, or enabled again, owes nothing of the past.
func saveTimers(ctx context.Context, t *tx, task *runner.Task) error {
	have, err := timersIn(ctx, t, task.Name)
	if err != nil {
		return err
	}
	want := triggers.ActiveTimers(task)
	for name := range have {
		if _, ok := want[name]; !ok {
			if _, err := t.exec(ctx, "DELETE FROM timers WHERE task = $1 AND name = $2", task.Name, name); err != nil {
				return err
			}
		}
	}
	for name, timer := range want {
		if old, ok := have[name]; ok && old.Timer == timer {
			continue
		}
		doc, err := json.Marshal(timer)
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, `INSERT INTO timers (task, name, doc, since) VALUES ($1, $2, $3, $4)
			ON CONFLICT (task, name) DO UPDATE SET doc = excluded.doc, since = excluded.since, next_at = 0, held = 0`,
			task.Name, name, string(doc), micros(time.Now()))
		if err != nil {
			return err
		}
	}
	return nil
}

func timersIn(ctx context.Context, t *tx, task string) (map[string]triggers.TimerState, error) {
	rows, err := t.QueryContext(ctx, t.dialect.sql("SELECT "+timerColumns+" FROM timers WHERE task = $1"), task)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	have := map[string]triggers.TimerState{}
	for rows.Next() {
		s, err := scanTimer(rows)
		if err != nil {
			return nil, err
		}
		have[s.Timer.Name] = s
	}
	return have, rows.Err()
}

// TimersChanged implements triggers.TimerStore.
func (db *DB) TimersChanged() <-chan struct{} { return db.triggers.wait() }

// TriggersChanged returns a channel that is closed when an intent is new, a
// look is asked for, or a task has changed, here or on another daemon. It may
// miss changes.
func (db *DB) TriggersChanged() <-chan struct{} { return db.triggers.wait() }

// callTriggers wakes those who wait for that, here and elsewhere.
func (db *DB) callTriggers() {
	db.triggers.ring()
	db.call(callTriggers)
}
