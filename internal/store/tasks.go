package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"acrd/runner"
	"acrd/triggers"
)

// A definition is what tasks and task runs have in common: their JSON leaves
// out their secrets.
type definition interface {
	Secrets() map[string]string
	SetSecrets(secrets map[string]string)
}

// A sealedDefinition is how one is stored, as a whole: the parts that are not
// said to be secret may well be.
type sealedDefinition[T any] struct {
	Definition T
	Secrets    map[string]string
}

// A table keeps definitions by their names.
type table[T definition] struct {
	name string // of the table, and of what it holds
	kind string
	new  func() T
}

var (
	taskTable    = table[*runner.Task]{"tasks", "task", func() *runner.Task { return new(runner.Task) }}
	taskRunTable = table[*runner.TaskRun]{"task_runs", "task run", func() *runner.TaskRun { return new(runner.TaskRun) }}
)

func (tb table[T]) what(name string) string { return tb.kind + " " + name }

func (tb table[T]) open(db *DB, name string, sealed []byte) (T, error) {
	stored := sealedDefinition[T]{Definition: tb.new()}
	if err := db.unseal(tb.what(name), sealed, &stored); err != nil {
		return stored.Definition, err
	}
	stored.Definition.SetSecrets(stored.Secrets)
	return stored.Definition, nil
}

func (tb table[T]) one(ctx context.Context, db *DB, name string) (T, error) {
	var none T
	var sealed []byte
	err := db.one(ctx, tb.what(name), "SELECT sealed FROM "+tb.name+" WHERE name = $1", []any{name}, &sealed)
	if err != nil {
		return none, err
	}
	return tb.open(db, name, sealed)
}

func (tb table[T]) list(ctx context.Context, db *DB, after string, limit int) ([]T, error) {
	var all []T
	err := db.query(ctx, "list "+tb.name, func(rows *sql.Rows) error {
		var name string
		var sealed []byte
		if err := rows.Scan(&name, &sealed); err != nil {
			return err
		}
		t, err := tb.open(db, name, sealed)
		all = append(all, t)
		return err
	}, "SELECT name, sealed FROM "+tb.name+" WHERE name > $1 ORDER BY name"+fmt.Sprintf(" LIMIT %d", limit), after)
	return all, err
}

func (tb table[T]) save(ctx context.Context, db *DB, t *tx, name string, v T) error {
	sealed, err := db.seal(tb.what(name), sealedDefinition[T]{v, v.Secrets()})
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, "INSERT INTO "+tb.name+" (name, updated, sealed) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE SET updated = excluded.updated, sealed = excluded.sealed",
		name, micros(time.Now()), sealed)
	return err
}

func (tb table[T]) remove(ctx context.Context, db *DB, name string) error {
	return db.change(ctx, tb.what(name), func(ctx context.Context, t *tx) error { return tb.delete(ctx, t, name) })
}

func (tb table[T]) delete(ctx context.Context, t *tx, name string) error {
	n, err := t.exec(ctx, "DELETE FROM "+tb.name+" WHERE name = $1", name)
	if err == nil && n == 0 {
		return sql.ErrNoRows
	}
	return err
}

// Task finds a task by its name; runner.ErrNotFound if there is none.
func (db *DB) Task(ctx context.Context, name string) (*runner.Task, error) {
	return taskTable.one(ctx, db, name)
}

// Tasks are at most limit, by name, from the one after the name.
func (db *DB) Tasks(ctx context.Context, after string, limit int) ([]*runner.Task, error) {
	return taskTable.list(ctx, db, after, limit)
}

// ChangeTask saves what change makes of a task, which is nil if there is none,
// in one transaction; or nothing, if change fails. Change may be called again.
func (db *DB) ChangeTask(ctx context.Context, name string, change func(old *runner.Task) (*runner.Task, error)) (*runner.Task, error) {
	return db.ChangeTaskWith(ctx, name, change, func(_, _ *runner.Task) []triggers.NewWatch { return nil })
}

// ChangeTaskWith is ChangeTask, and makes the watches in the same transaction
// that follow says.
func (db *DB) ChangeTaskWith(ctx context.Context, name string, change func(old *runner.Task) (*runner.Task, error), follow func(old, t *runner.Task) []triggers.NewWatch) (*runner.Task, error) {
	var changed *runner.Task
	err := db.change(ctx, taskTable.what(name), func(ctx context.Context, t *tx) error {
		// Two that make the same task must wait for each other as well.
		if err := lockClaim(ctx, t); err != nil {
			return err
		}
		old, err := oldTask(ctx, db, t, name)
		if err != nil {
			return err
		}
		var was *runner.Task // change may keep parts of old
		if old != nil {
			was = old.Clone()
		}
		if changed, err = change(old); err != nil {
			return err
		}
		if err := taskTable.save(ctx, db, t, name, changed); err != nil {
			return err
		}
		return errors.Join(saveTimers(ctx, t, changed), db.newWatches(ctx, t, follow(was, changed)), newVersion(ctx, t))
	})
	if err != nil {
		return nil, err
	}
	db.callTriggers()
	return changed, nil
}

func oldTask(ctx context.Context, db *DB, t *tx, name string) (*runner.Task, error) {
	var sealed []byte
	err := t.row(ctx, "SELECT sealed FROM tasks WHERE name = $1", name).Scan(&sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return taskTable.open(db, name, sealed)
}

// RemoveTask is runner.ErrNotFound if there is none. What triggers know of the
// task goes with it.
func (db *DB) RemoveTask(ctx context.Context, name string) error {
	err := db.change(ctx, taskTable.what(name), func(ctx context.Context, t *tx) error {
		if err := taskTable.delete(ctx, t, name); err != nil {
			return err
		}
		return errors.Join(removeTriggers(ctx, t, name), newVersion(ctx, t))
	})
	if err == nil {
		db.callTriggers()
	}
	return err
}

// TaskRun finds a task run by its name; runner.ErrNotFound if there is none.
func (db *DB) TaskRun(ctx context.Context, name string) (*runner.TaskRun, error) {
	return taskRunTable.one(ctx, db, name)
}

// TaskRuns are at most limit, by name, from the one after the name.
func (db *DB) TaskRuns(ctx context.Context, after string, limit int) ([]*runner.TaskRun, error) {
	return taskRunTable.list(ctx, db, after, limit)
}

// SaveTaskRun keeps a task run in place of the one of its name.
func (db *DB) SaveTaskRun(ctx context.Context, t *runner.TaskRun) error {
	return db.change(ctx, taskRunTable.what(t.Name), func(ctx context.Context, tx *tx) error {
		return taskRunTable.save(ctx, db, tx, t.Name, t)
	})
}

// RemoveTaskRun is runner.ErrNotFound if there is none.
func (db *DB) RemoveTaskRun(ctx context.Context, name string) error {
	return taskRunTable.remove(ctx, db, name)
}

// TasksVersion is another text after each change of a task. Asking costs next to
// nothing.
func (db *DB) TasksVersion(ctx context.Context) (string, error) {
	var version string
	err := db.one(ctx, "version of tasks", "SELECT value FROM meta WHERE name = 'tasks'", nil, &version)
	if errors.Is(err, runner.ErrNotFound) {
		return "", nil // none has been changed yet
	}
	return version, err
}

// newVersion goes with each change of a task.
func newVersion(ctx context.Context, t *tx) error {
	_, err := t.exec(ctx, "INSERT INTO meta (name, value) VALUES ('tasks', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value", rand.Text())
	return err
}
