package main

import (
	"context"
	"errors"
	"io"

	"acrd/internal/api"
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
	conn, err := where.connect(ctx, s)
	if err != nil {
		return err
	}
	return conn.during(ctx, func() error {
		if *id == "" {
			runs, err := conn.Runs(ctx, 1)
			if err != nil {
				return err
			}
			if len(runs) == 0 {
				return errors.New("there is no run yet")
			}
			*id = runs[0].Properties.RunID
		}
		o := api.LogOptions{Offset: *offset, Follow: !*noFollow}
		if fs.Changed("step") {
			o.Step = step
		}
		log, err := conn.Log(ctx, *id, o)
		if err != nil {
			return err
		}
		defer log.Close()
		if _, err = io.Copy(s.stdout, log); ctx.Err() != nil {
			return errInterrupted
		}
		return err
	})
}
