package main

import (
	"context"
	"fmt"

	"acrd/internal/api"

	"github.com/spf13/pflag"
)

func taskRunCommands() []command {
	return []command{
		{name: "list", summary: "List all task runs", run: listTaskRuns},
		{name: "show", summary: "Show a task run", run: showTaskRun},
		{name: "delete", summary: "Delete a task run", run: deleteTaskRun},
		{name: "logs", summary: "Show the log of a task run", run: showTaskRunLogs},
	}
}

// taskRunTable has the columns of az acr taskrun list.
func taskRunTable(all ...*api.TaskRun) table {
	t := table{head: []string{"NAME", "RUN ID", "TASK", "PLATFORM", "STATUS", "STARTED", "DURATION"}}
	for _, one := range all {
		r := one.Properties.RunResult
		if r == nil {
			t.add(one.Name, "", "", "", "", "", "")
			continue
		}
		p := r.Properties
		started, took := runTimes(r)
		t.add(one.Name, p.RunID, p.Task, p.Platform.OS, p.Status, started, took)
	}
	return t
}

func listTaskRuns(ctx context.Context, s *session, args []string) error {
	return onAll(ctx, s, "taskrun list [FLAGS]", "List all task runs.", args, func(ctx context.Context, c *connection) ([]*api.TaskRun, error) {
		return c.TaskRuns(ctx)
	}, taskRunTable)
}

func showTaskRun(ctx context.Context, s *session, args []string) error {
	return onNamed(ctx, s, "task run", "taskrun show -n NAME [FLAGS]", "Show a task run.", args, nil, func(c *connection, name string, o *output) error {
		t, err := c.TaskRun(ctx, name)
		if err != nil {
			return err
		}
		return o.print(s, t, taskRunTable(t))
	})
}

func deleteTaskRun(ctx context.Context, s *session, args []string) error {
	var yes bool
	return onNamed(ctx, s, "task run", "taskrun delete -n NAME [FLAGS]", "Delete a task run. The run itself and its log stay.", args, yesFlag(&yes), func(c *connection, name string, _ *output) error {
		if _, err := c.TaskRun(ctx, name); err != nil {
			return err
		}
		if err := confirm(s, yes, fmt.Sprintf("Are you sure you want to delete the task run '%s' ", name)); err != nil {
			return err
		}
		return c.DeleteTaskRun(ctx, name)
	})
}

func showTaskRunLogs(ctx context.Context, s *session, args []string) error {
	return onNamed(ctx, s, "task run", "taskrun logs -n NAME [FLAGS]", "Show the log of the run of a task run, following it to its end.", args, func(fs *pflag.FlagSet) {
		fs.Bool("no-format", false, "ignored: nothing is formatted")
		_ = fs.MarkHidden("no-format")
	}, func(c *connection, name string, _ *output) error {
		t, err := c.TaskRun(ctx, name)
		if err != nil {
			return err
		}
		if t.Properties.RunResult == nil {
			return fmt.Errorf("the run of the task run '%s' has expired", name)
		}
		return c.copyLog(ctx, s.stdout, t.Properties.RunResult.Properties.RunID)
	})
}
