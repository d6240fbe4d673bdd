package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"acrd/internal/acr"

	"github.com/docker/go-units"
)

// defaultGrace is what housekeeping waits, too.
const defaultGrace = 24 * time.Hour

func collectGarbage(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "gc [FLAGS]", `Give back the disk space of blobs that no manifest needs, which deleting does
not. The daemon does so once a day by itself. Clients may push meanwhile: what
one was told of within the time of grace stays for it. With less grace a push
that goes on may fail, and has to be done again; no image is ever harmed.`)
	var f resourceFlags
	dry := fs.Bool("dry-run", false, "say how much it would be, and remove nothing")
	grace := fs.Duration("grace", defaultGrace, "how long what nobody needs is left there")
	f.define(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	if *grace < 0 {
		return &usageError{fmt.Sprintf("--grace %s: want no less than 0", *grace)}
	}
	return f.with(ctx, s, func(c *connection) error {
		g, err := c.Collect(ctx, acr.Collecting{DryRun: *dry, GraceSeconds: int(grace.Seconds())})
		if err != nil {
			return err
		}
		t := table{head: []string{"BLOBS", "SIZE", "UPLOADS"}}
		t.add(strconv.Itoa(g.Blobs), units.HumanSize(float64(g.Bytes)), strconv.Itoa(g.Uploads))
		return f.output.print(s, g, t)
	})
}
