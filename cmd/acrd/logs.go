package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"acrd/internal/api"
	"acrd/internal/logs"
)

func showLogs(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "logs [FLAGS] [RUN]", `Show the log of a run; without RUN, of the last one.

A run that is still going is followed to its end. Ctrl-C only stops showing.`)
	id := fs.String("run-id", "", "same as RUN")
	step := fs.String("step", "", "show what this step printed, and nothing else")
	noFollow := fs.Bool("no-follow", false, "show what there is and stop")
	offset := fs.Int64("offset", 0, "begin at this byte")
	where := serverFlags(fs, s)
	rest, err := parse(fs, args, 0, 1)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		*id = rest[0]
	}
	o := api.LogOptions{Offset: *offset, Follow: !*noFollow}
	if fs.Changed("step") {
		o.Step = step
	}
	log, err := where.openLog(ctx, *id, o)
	if err != nil {
		return err
	}
	defer log.Close()
	if _, err = io.Copy(s.stdout, log); ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

var errNoRun = errors.New("there is no run yet")

// openLog asks the daemon for a log. If none runs on this machine, the log is
// read where that one has left it.
func (v *server) openLog(ctx context.Context, id string, o api.LogOptions) (io.ReadCloser, error) {
	c, err := v.client()
	if err != nil {
		return nil, err
	}
	log, err := askLog(ctx, c, id, o)
	if v.address != "" || !errors.Is(err, api.ErrUnreachable) {
		return log, err
	}
	state, err := stateDir(v.state)
	if err != nil {
		return nil, err
	}
	dir := &logs.Dir{Path: filepath.Join(state, "logs")}
	if _, err := os.Stat(archiveOf(state)); err == nil { // a reader makes no folders
		if dir, err = openLogs(ctx, state, ""); err != nil {
			return nil, err
		}
	}
	return readLog(ctx, dir, id, o)
}

// openLogs are the logs of a state folder. Those of ended runs are in archive,
// see logs.OpenBucket; empty is a folder beside the others.
func openLogs(ctx context.Context, state, archive string) (*logs.Dir, error) {
	bucket, err := logs.OpenBucket(ctx, cmp.Or(archive, archiveOf(state)))
	if err != nil {
		return nil, err
	}
	return &logs.Dir{Path: filepath.Join(state, "logs"), Bucket: bucket}, nil
}

func archiveOf(state string) string { return filepath.Join(state, "log-archive") }

func askLog(ctx context.Context, c *api.Client, id string, o api.LogOptions) (io.ReadCloser, error) {
	if id == "" {
		runs, err := c.Runs(ctx, 1)
		if err != nil {
			return nil, err
		}
		if len(runs) == 0 {
			return nil, errNoRun
		}
		id = runs[0].Properties.RunID
	}
	log, err := c.Log(ctx, id, o)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", id, err)
	}
	return log, nil
}

func readLog(ctx context.Context, dir *logs.Dir, id string, o api.LogOptions) (log io.ReadCloser, err error) {
	if id == "" {
		if id, err = dir.Latest(ctx); err != nil {
			return nil, err
		}
		if id == "" {
			return nil, errNoRun
		}
	}
	if o.Step != nil {
		log, err = dir.Step(ctx, id, *o.Step, false)
	} else {
		log, err = dir.Open(ctx, id, o.Offset, false)
	}
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", id, err)
	}
	return log, nil
}
