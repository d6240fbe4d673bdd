package main

import (
	"context"
	"errors"

	"acrd/internal/api"
	"acrd/internal/logs"
	"acrd/runner"
)

// records is where it is looked up what has become of a run.
type records interface {
	Run(ctx context.Context, id string) (*runner.Run, error)
}

// openLogs opens the logs, and looks after those that an earlier daemon has
// left.
func (d *daemon) openLogs(ctx context.Context, runs records) (*logs.Dir, error) {
	dir, err := openLogs(ctx, d.state, d.logArchive)
	if err != nil {
		return nil, err
	}
	d.later(dir.Bucket.Close)
	if dir.Key, err = logs.LinkKey(d.path("log-key")); err != nil {
		return nil, err
	}
	dir.Outcome = func(ctx context.Context, id string) (runner.Status, error) {
		run, err := runs.Run(ctx, id)
		if err != nil {
			return "", err
		}
		return run.Status, nil
	}
	// A log that cannot be put away can still be read where it is.
	if err := dir.Recover(ctx, hasEnded(runs)); err != nil {
		d.log.Warn("logs of earlier runs could not be archived", "err", err)
	}
	return dir, nil
}

// logURL is where the log of a run can be read with a token.
func (d *daemon) logURL(run string) string {
	scheme := "https://"
	if d.certificate == nil {
		scheme = "http://"
	}
	return scheme + d.host() + api.LogPath(run)
}

// hasEnded says whether a run can write to its log again. One that nobody
// knows cannot.
func hasEnded(runs records) func(context.Context, string) (bool, error) {
	return func(ctx context.Context, id string) (bool, error) {
		run, err := runs.Run(ctx, id)
		if errors.Is(err, runner.ErrNotFound) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		return run.Status.Final(), nil
	}
}
