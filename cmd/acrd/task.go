package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"acrd/internal/api"
	"acrd/runner"

	"github.com/spf13/pflag"
)

func taskCommands() []command {
	return []command{
		{name: "create", summary: "Create a task, or replace it", run: createTask},
		{name: "update", summary: "Change a task", run: updateTask},
		{name: "apply", summary: "Make tasks what a file says they are", run: applyTasks},
		{name: "show", summary: "Show a task", run: showTask},
		{name: "list", summary: "List all tasks", run: listTasks},
		{name: "delete", summary: "Delete a task", run: deleteTask},
		{name: "run", summary: "Run a task now", run: startTask},
		{name: "list-runs", summary: "List runs, the newest first", run: listRunsOfTask},
		{name: "show-run", summary: "Show a run", run: showRun},
		{name: "update-run", summary: "Keep a run, or let it expire", run: updateRun},
		{name: "cancel-run", summary: "Cancel a run", run: cancelRun},
		{name: "logs", summary: "Show the log of a run of a task", run: showTaskLogs},
		{name: "why", summary: "Say what starts a task, and why it did or did not", run: explainTask},
		{name: "graph", summary: "Show which tasks build on images of which", run: drawTasks},
		{name: "approve", summary: "Let a task run for a commit from a fork", run: approveCommit},
		{name: "timer", summary: "Timers of a task", subs: timerCommands()},
		{name: "credential", summary: "Registry credentials of a task", subs: credentialCommands()},
		{name: "identity", summary: "Identities of a task, which open nothing here", subs: identityCommands()},
	}
}

// resourceFlags are common to commands that show or change what the daemon
// keeps.
type resourceFlags struct {
	server *server
	output *output
}

func (f *resourceFlags) define(fs *pflag.FlagSet, s *session) {
	f.output = resultFlag(fs)
	f.server = serverFlags(fs, s)
	fs.StringP("registry", "r", "", "ignored: a daemon has one registry")
	fs.StringP("resource-group", "g", "", "ignored: only Azure has this")
	fs.String("subscription", "", "ignored: only Azure has this")
	for _, name := range []string{"registry", "resource-group", "subscription"} {
		_ = fs.MarkHidden(name)
	}
}

// with does something with the daemon.
func (f *resourceFlags) with(ctx context.Context, s *session, do func(c *connection) error) error {
	return f.server.with(ctx, s, do)
}

// onNamed is a command about one resource, which -n names. What defines its own
// flags may be nil.
func onNamed(ctx context.Context, s *session, what, synopsis, description string, args []string, define func(*pflag.FlagSet), do func(c *connection, name string, o *output) error) error {
	fs := newFlags(s, synopsis, description)
	name := nameFlag(fs, "name of the "+what)
	need(fs, "name")
	if define != nil {
		define(fs)
	}
	var f resourceFlags
	f.define(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	return f.with(ctx, s, func(c *connection) error { return do(c, *name, f.output) })
}

// onAll is a command that lists resources.
func onAll[T any](ctx context.Context, s *session, synopsis, description string, args []string, list func(context.Context, *connection) ([]T, error), show func(...T) table) error {
	fs := newFlags(s, synopsis, description)
	var f resourceFlags
	f.define(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	return f.with(ctx, s, func(c *connection) error {
		all, err := list(ctx, c)
		if err != nil {
			return err
		}
		return f.output.print(s, append([]T{}, all...), show(all...))
	})
}

func nameFlag(fs *pflag.FlagSet, what string) *string {
	return fs.StringP("name", "n", "", what)
}

// taskTable has the columns of az acr task list.
func taskTable(tasks ...*api.Task) table {
	t := table{head: []string{"NAME", "PLATFORM", "STATUS", "SOURCE REPOSITORY", "TRIGGERS"}}
	for _, task := range tasks {
		p := task.Properties
		t.add(task.Name, p.Platform.OS, string(p.Status), sourceRepository(p.Step.ContextPath), strings.Join(triggerKinds(p.Trigger), ", "))
	}
	return t
}

func sourceRepository(context string) string {
	if context == "/dev/null" {
		return ""
	}
	return context
}

// triggerKinds are the kinds of triggers that are enabled.
func triggerKinds(t *runner.TaskTrigger) []string {
	if t == nil {
		return nil
	}
	var all []string
	if t.BaseImage != nil && t.BaseImage.Status.Active() {
		all = append(all, "BASE_IMAGE")
	}
	if slices.ContainsFunc(t.Sources, func(s runner.SourceTrigger) bool { return s.Status.Active() }) {
		all = append(all, "SOURCE")
	}
	if slices.ContainsFunc(t.Timers, func(t runner.TimerTrigger) bool { return t.Status.Active() }) {
		all = append(all, "TIMER")
	}
	return all
}

func showTask(ctx context.Context, s *session, args []string) error {
	var secure bool
	return onNamed(ctx, s, "task", "task show -n NAME [FLAGS]", "Show a task. Its secrets are not shown: nobody can read them back.", args, func(fs *pflag.FlagSet) {
		fs.BoolVar(&secure, "with-secure-properties", false, "accepted because az acr task show has it; secrets are not shown")
	}, func(c *connection, name string, o *output) error {
		if secure {
			fmt.Fprintln(s.stderr, "acrd: secrets of tasks are not shown to anybody; set them again if they are lost")
		}
		t, err := c.Task(ctx, name)
		if err != nil {
			return err
		}
		return o.print(s, t, taskTable(t))
	})
}

func listTasks(ctx context.Context, s *session, args []string) error {
	return onAll(ctx, s, "task list [FLAGS]", "List all tasks.", args, func(ctx context.Context, c *connection) ([]*api.Task, error) {
		return c.Tasks(ctx)
	}, taskTable)
}

func deleteTask(ctx context.Context, s *session, args []string) error {
	var yes bool
	return onNamed(ctx, s, "task", "task delete -n NAME [FLAGS]", "Delete a task. Its runs and their logs stay.", args, yesFlag(&yes), func(c *connection, name string, _ *output) error {
		if _, err := c.Task(ctx, name); err != nil {
			return err
		}
		if err := confirm(s, yes, fmt.Sprintf("Are you sure you want to delete the task '%s' ", name)); err != nil {
			return err
		}
		return c.DeleteTask(ctx, name)
	})
}

// yesFlag defines the flag of commands that ask.
func yesFlag(yes *bool) func(*pflag.FlagSet) {
	return func(fs *pflag.FlagSet) { fs.BoolVarP(yes, "yes", "y", false, "do not ask") }
}

var errNotConfirmed = errors.New("nothing was done")

// confirm asks, unless yes was said already.
func confirm(s *session, yes bool, question string) error {
	if yes {
		return nil
	}
	fmt.Fprint(s.stderr, question+"(y/n): ")
	answer, _ := bufio.NewReader(s.stdin).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	case "":
		return &usageError{"there is nobody to answer: give --yes"}
	}
	return errNotConfirmed
}

// notFound says that the daemon has no such thing.
func notFound(err error) bool {
	p, ok := errors.AsType[*api.Problem](err)
	return ok && p.Status == http.StatusNotFound
}
