package main

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"
)

func approveCommit(ctx context.Context, s *session, args []string) error {
	var commit string
	return onNamed(ctx, s, "task", "task approve -n NAME --commit SHA [FLAGS]", `Let a task run for a commit of a pull request from a fork.

It counts for this commit alone: what its author pushes afterwards waits again.
The run has no secrets, no credentials and no entitlements, and pushes nothing.`, args, func(fs *pflag.FlagSet) {
		fs.StringVar(&commit, "commit", "", "the full hash of the commit that you have read")
		need(fs, "commit")
	}, func(c *connection, name string, _ *output) error {
		if err := c.Approve(ctx, name, commit); err != nil {
			return err
		}
		fmt.Fprintf(s.stdout, "Task %s will run for commit %s\n", name, commit)
		return nil
	})
}
