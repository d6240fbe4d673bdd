package store

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
)

// A run's id is a number in base 36, behind the letter c and one that says how
// many digits follow: ca1, caz, cb10, cbzz, cc100. So ids look like ACR's, and
// sort as text in the order in which they were given.

// formatID is the id of the n-th run.
func formatID(n int64) string {
	digits := strconv.FormatInt(n, 36)
	return "c" + string(rune('a'+len(digits)-1)) + digits
}

// parseID is 0 if there can be no such run.
func parseID(id string) int64 {
	if len(id) < 3 || len(id) > 15 {
		return 0
	}
	n, err := strconv.ParseInt(id[2:], 36, 64)
	if err != nil || n < 1 || n == math.MaxInt64 || formatID(n) != id {
		return 0
	}
	return n
}

// ids are the numbers that this process may give to runs. A number is taken
// before the transaction that uses it, so that none is given twice even if
// that fails.
type ids struct {
	mu         sync.Mutex // guards what follows
	next, last int64
}

// reserve is how many numbers are taken from SQLite at a time, so that not
// every run waits for a disk twice.
const reserve = 32

// nextID takes a number.
func (db *DB) nextID(ctx context.Context) (int64, error) {
	if db.dialect.notifies { // PostgreSQL has something for this
		var n int64
		err := db.write.QueryRowContext(ctx, "SELECT nextval('run_ids')").Scan(&n)
		return n, db.fail(ctx, "next run id", err)
	}
	db.ids.mu.Lock()
	defer db.ids.mu.Unlock()
	if db.ids.next == db.ids.last {
		if err := db.reserveIDs(ctx); err != nil {
			return 0, err
		}
	}
	n := db.ids.next
	db.ids.next++
	return n, nil
}

const nextRun = "next run" // the name in meta

func (db *DB) reserveIDs(ctx context.Context) error {
	return db.change(ctx, "reserve run ids", func(ctx context.Context, t *tx) error {
		next, err := readNext(ctx, t)
		if err != nil {
			return err
		}
		db.ids.next, db.ids.last = next, next+reserve
		return writeNext(ctx, t, db.ids.last)
	})
}

// returnIDs gives back what was not used.
func (db *DB) returnIDs() error {
	db.ids.mu.Lock()
	defer db.ids.mu.Unlock()
	if db.ids.next == db.ids.last {
		return nil
	}
	err := db.change(context.Background(), "return run ids", func(ctx context.Context, t *tx) error {
		next, err := readNext(ctx, t)
		if err != nil || next != db.ids.last {
			return err
		}
		return writeNext(ctx, t, db.ids.next)
	})
	db.ids.last = db.ids.next
	return err
}

func readNext(ctx context.Context, t *tx) (int64, error) {
	var text string
	if err := t.row(ctx, "SELECT value FROM meta WHERE name = $1", nextRun).Scan(&text); err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("the next run's number is %q", text)
	}
	return n, nil
}

func writeNext(ctx context.Context, t *tx, n int64) error {
	_, err := t.exec(ctx, "UPDATE meta SET value = $1 WHERE name = $2", strconv.FormatInt(n, 10), nextRun)
	return err
}
