package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"acrd/internal/mounts"
)

// removeTrials removes what a start left that was cut off as it looked at the
// host.
func (d *daemon) removeTrials() error {
	trials, _ := filepath.Glob(d.path(trialFolder + "*"))
	for _, dir := range trials {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove what a start has left: %w", err)
		}
	}
	return nil
}

// setAside moves the folders of runs that an earlier daemon has left out of
// the way: those may be large, and neither the engine's start nor ours waits
// for their end. Processes of that daemon's engine may go on writing there
// until ours has ended them. Until then, too, a runc that is dying may make
// the path of its container anew, so this is done once more when the engine is
// ready and no run has begun.
func (d *daemon) setAside() error {
	if _, err := mounts.DetachBelow(d.path("runs")); err != nil {
		return err
	}
	entries, err := os.ReadDir(d.path("runs"))
	if err != nil || len(entries) == 0 {
		return nil //nolint:nilerr // there is nothing to move
	}
	if err := os.Rename(d.path("runs"), d.path(fmt.Sprintf("runs-left-%d", time.Now().UnixNano()))); err != nil {
		return fmt.Errorf("folders of earlier runs: %w", err)
	}
	return nil
}

// leftoverPause is how long a folder that cannot be removed is left alone.
const leftoverPause = 500 * time.Millisecond

// removeLeftovers removes what setAside has moved, as soon as nobody writes
// there any more.
func (d *daemon) removeLeftovers(ctx context.Context) {
	for ctx.Err() == nil {
		left, _ := filepath.Glob(d.path("runs-left-*"))
		var failed error
		for _, dir := range left {
			if _, err := mounts.DetachBelow(dir); err != nil {
				failed = err
			}
			if err := os.RemoveAll(dir); err != nil {
				failed = err
			}
		}
		if failed == nil {
			return
		}
		d.log.Debug("folders of earlier runs are in use", "err", failed)
		select {
		case <-ctx.Done():
		case <-time.After(leftoverPause):
		}
	}
}
