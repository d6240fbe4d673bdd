package main

import (
	"context"
	"fmt"
)

func approveCommit(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "task approve -n NAME --commit SHA [FLAGS]", `Let a task run for a commit of a pull request from a fork.

It counts for this commit alone: what its author pushes afterwards waits again.
The run has no secrets, no credentials and no entitlements, and pushes nothing.`)
	name := nameFlag(fs, "name of the task")
	commit := fs.String("commit", "", "the full hash of the commit that you have read")
	var f resourceFlags
	f.define(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	if err := required("--name", *name, "--commit", *commit); err != nil {
		return err
	}
	return f.with(ctx, s, func(c *connection) error {
		if err := c.Approve(ctx, *name, *commit); err != nil {
			return err
		}
		fmt.Fprintf(s.stdout, "Task %s will run for commit %s\n", *name, *commit)
		return nil
	})
}
