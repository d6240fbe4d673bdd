package runner

import (
	"context"
	"time"
)

// Archive says whether a run is kept beyond the retention.
func (r *Runner) Archive(ctx context.Context, id string, archived bool) (*Run, error) {
	run, err := r.Store.Run(ctx, id)
	if err != nil {
		return nil, err
	}
	run.Archived, run.Updated = archived, time.Now()
	return run, r.Store.SaveRun(ctx, run)
}
