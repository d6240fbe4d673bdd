package runner

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Retention says how long runs that have ended are kept, with their logs.
// Archived runs are kept for good, and do not count.
type Retention struct {
	// Age is counted from a run's end; 0 is for ever.
	Age time.Duration
	// Count is how many runs; 0 is any number.
	Count int
	// Bytes is what their logs may take together; 0 is any number.
	Bytes int64
}

// expiredAtOnce is how many runs are looked up at a time.
const expiredAtOnce = 500

// Expire removes what is beyond the retention: of each run the log first, so
// that a crash leaves a record that is found again, and never a log that
// nobody knows of. A run whose log cannot be removed stays.
func (r *Runner) Expire(ctx context.Context, p Retention) (removed int, err error) {
	for {
		ids, err := r.Store.Expired(ctx, p, expiredAtOnce)
		if err != nil {
			return removed, fmt.Errorf("list expired runs: %w", err)
		}
		var errs []error
		for _, id := range ids {
			if err := r.remove(ctx, id); err != nil {
				errs = append(errs, err)
				continue
			}
			removed++
		}
		if len(errs) > 0 || len(ids) < expiredAtOnce {
			return removed, errors.Join(errs...)
		}
	}
}

func (r *Runner) remove(ctx context.Context, id string) error {
	if err := r.Logs.Remove(ctx, id); err != nil {
		return fmt.Errorf("remove log of run %s: %w", id, err)
	}
	if err := r.Store.RemoveRun(ctx, id); err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("remove run %s: %w", id, err)
	}
	return nil
}
