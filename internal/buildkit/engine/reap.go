//go:build linux

package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"acrd/internal/mounts"
)

// reap removes what an engine on this folder left when it was killed, and says
// how many things that were. A container outlives its engine, so:
//
//  1. every process in our control groups is killed,
//  2. runc forgets our containers and BuildKit's,
//  3. everything mounted below the folder is unmounted, last first,
//  4. our interfaces are deleted (namespaces went with the processes),
//  5. folders that only a living engine needs are deleted,
//  6. our control groups are removed.
func (e *engine) reap(ctx context.Context) (int, error) {
	var errs []error
	n := 0
	count := func(k int, err error) { n += k; errs = append(errs, err) }

	errs = append(errs, e.runtime.Cgroups.Kill(e.group(), 5*time.Second))
	count(e.reapContainers(ctx))
	count(mounts.DetachBelow(append(e.runFolders(), e.config.Dir)...))
	count(e.pool.Sweep())
	count(e.reapFolders())
	errs = append(errs, e.runtime.Cgroups.Remove(e.group()))
	return n, errors.Join(errs...)
}

// runFolders are what engines have made in the folders of runs, which
// otherwise are the daemon's: a run that is still getting its source has not
// met the engine that died.
func (e *engine) runFolders() []string {
	var all []string
	for _, sub := range []string{"steps", "net", "secret"} {
		found, _ := filepath.Glob(filepath.Join(filepath.Dir(e.config.Dir), "runs", "*", sub))
		all = append(all, found...)
	}
	return all
}

// runcDir is where runc keeps its state when it is not told where.
const runcDir = "/run/runc"

// reapContainers deletes the containers of BuildKit's executor, whose state is
// in runc's default folder among everybody's, and then our own.
func (e *engine) reapContainers(ctx context.Context) (int, error) {
	n := 0
	for _, root := range []string{"", e.runtime.Dir} {
		args := []string{"list", "--format", "json"}
		if root != "" {
			args = append([]string{"--root", root}, args...)
		}
		out, err := exec.CommandContext(ctx, "runc", args...).Output()
		if err != nil {
			continue // no such folder yet, or no runc: starting says so better
		}
		var found []struct{ ID, Bundle string }
		if err := json.Unmarshal(out, &found); err != nil {
			return n, fmt.Errorf("read runc's list: %w", err)
		}
		for _, c := range found {
			if root == "" && !strings.HasPrefix(c.Bundle, e.config.Dir+"/") {
				continue
			}
			args := []string{"delete", "--force", c.ID}
			if root != "" {
				args = append([]string{"--root", root}, args...)
			}
			if err := exec.CommandContext(ctx, "runc", args...).Run(); err == nil {
				n++
			}
		}
	}
	// What runc does not list, or cannot delete: a runc that was killed as it
	// began leaves its folder, and may leave itself mounted in there. Such a
	// folder is in nobody's way: what cannot be removed is tried again by the
	// next engine.
	left, _ := filepath.Glob(filepath.Join(runcDir, e.containerPrefix()+"*"))
	for _, folder := range left {
		removeBegun(ctx, folder)
	}
	return n + len(left), os.RemoveAll(e.runtime.Dir)
}

// removeBegun removes a folder of runc's. A runc whose engine was killed may
// need a moment to end.
func removeBegun(ctx context.Context, folder string) {
	const tries, pause = 20, 50 * time.Millisecond
	for range tries {
		_, err := mounts.DetachBelow(folder)
		if err = errors.Join(err, os.RemoveAll(folder)); err == nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// reapFolders deletes the folders of runs and containers that are gone.
func (e *engine) reapFolders() (int, error) {
	all := e.runFolders()
	for _, sub := range []string{"executor", "cachemounts"} {
		found, _ := filepath.Glob(filepath.Join(e.config.Dir, "buildkit", sub, "*"))
		all = append(all, found...)
	}
	var errs []error
	for _, f := range all {
		errs = append(errs, os.RemoveAll(f))
	}
	return len(all), errors.Join(errs...)
}
