package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"acrd/runner"
)

// Runs implements runner.Records. Pages are found by the last id of the page
// before, for counting rows takes as long as reading them. Where a time is
// bounded, that time orders the runs, so that its index is of use.
func (db *DB) Runs(ctx context.Context, f runner.Filter) ([]*runner.Run, error) {
	var w where
	if f.Task != "" {
		w.add("task = $?", f.Task)
	}
	if f.Type != "" {
		w.add("type = $?", f.Type)
	}
	if len(f.Statuses) > 0 {
		w.addAny("status", f.Statuses)
	}
	if f.Archived != nil {
		w.add("archived = $?", bit(*f.Archived))
	}
	if f.Image != "" {
		w.add("seq IN (SELECT seq FROM run_images WHERE image = $?)", f.Image)
	}
	w.addTimes("created", f.CreatedFrom, f.CreatedTo)
	w.addTimes("finished", f.FinishedFrom, f.FinishedTo)
	order := "seq DESC"
	switch by := timeBounded(&f); {
	case by != "":
		order = by + " DESC, seq DESC"
		if f.Before != "" { // the run itself may be gone
			w.add("("+by+", seq) < ((SELECT "+by+" FROM runs WHERE seq <= $? ORDER BY seq DESC LIMIT 1), $?)", parseID(f.Before))
		}
	case f.Before != "":
		w.add("seq < $?", parseID(f.Before))
	}
	query := "SELECT " + runColumns + " FROM runs" + w.String() + " ORDER BY " + order
	if f.Limit > 0 {
		query += fmt.Sprintf(" LIMIT %d", f.Limit)
	}
	var runs []*runner.Run
	err := db.query(ctx, "list runs", func(rows *sql.Rows) error {
		run, err := scanRun(rows)
		runs = append(runs, run)
		return err
	}, query, w.args...)
	return runs, err
}

// timeBounded is the time that f bounds; empty if it bounds none.
func timeBounded(f *runner.Filter) string {
	switch {
	case !f.CreatedFrom.IsZero() || !f.CreatedTo.IsZero():
		return "created"
	case !f.FinishedFrom.IsZero() || !f.FinishedTo.IsZero():
		return "finished"
	}
	return ""
}

// where collects conditions, all of which must hold.
type where struct {
	all  []string
	args []any
}

// add takes a condition with $? where its argument goes.
func (w *where) add(condition string, arg any) {
	w.args = append(w.args, arg)
	w.all = append(w.all, strings.ReplaceAll(condition, "$?", fmt.Sprintf("$%d", len(w.args))))
}

func (w *where) addAny(column string, values []runner.Status) {
	var places []string
	for _, v := range values {
		w.args = append(w.args, v)
		places = append(places, fmt.Sprintf("$%d", len(w.args)))
	}
	w.all = append(w.all, column+" IN ("+strings.Join(places, ", ")+")")
}

// addTimes bounds a time that is there.
func (w *where) addTimes(column string, from, to time.Time) {
	if !from.IsZero() {
		w.add(column+" >= $?", micros(from))
	}
	if !to.IsZero() {
		w.add(column+" > 0 AND "+column+" < $?", micros(to))
	}
}

func (w *where) String() string {
	if len(w.all) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.all, " AND ")
}

// Expired implements runner.Records.
func (db *DB) Expired(ctx context.Context, p runner.Retention, limit int) ([]string, error) {
	var w where
	for _, c := range []struct {
		set       bool
		condition string
		arg       any
	}{
		{p.Age > 0, "finished < {now} - $?", p.Age.Microseconds()},
		{p.Count > 0, "place > $?", p.Count},
		{p.Bytes > 0, "bytes > $?", p.Bytes},
	} {
		if c.set {
			w.add(c.condition, c.arg)
		}
	}
	if len(w.all) == 0 {
		return nil, nil
	}
	var ids []string
	err := db.query(ctx, "list expired runs", func(rows *sql.Rows) error {
		var seq int64
		err := rows.Scan(&seq)
		ids = append(ids, formatID(seq))
		return err
	}, `SELECT seq FROM (
			SELECT seq, finished, row_number() OVER (ORDER BY seq DESC) AS place, sum(log_bytes) OVER (ORDER BY seq DESC) AS bytes
			FROM runs WHERE archived = 0 AND status NOT IN ('Queued', 'Started', 'Running')) AS ended
		WHERE `+strings.Join(w.all, " OR ")+fmt.Sprintf(" ORDER BY seq LIMIT %d", limit), w.args...)
	return ids, err
}
