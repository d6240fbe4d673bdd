package runner

import (
	"context"
	"time"

	"acrd/eventing"
)

// Archive says whether a run is kept beyond the retention.
func (r *Runner) Archive(ctx context.Context, id string, archived bool) (*Run, error) {
	return r.Store.ChangeRun(ctx, id, func(run *Run) ([]eventing.Event, error) {
		run.Archived, run.Updated = archived, time.Now()
		return nil, nil
	})
}
