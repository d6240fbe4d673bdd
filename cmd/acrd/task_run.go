package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"acrd/internal/api"
	"acrd/runner"
)

// startFlags are the flags of acrd task run.
type startFlags struct {
	name, file, context, target string
	args, secretArgs            []string
	set, setSecret              []string
	token                       string
	server                      *server
	wait                        waiting
}

func startTask(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "task run -n NAME [FLAGS]", `Run a task now, and show the log.

The flags replace parts of the task for this run. Ctrl-C stops showing; the run
goes on.`)
	f := &startFlags{wait: waiting{progress: "plain", detach: true}}
	fs.StringVarP(&f.name, "name", "n", "", "name of the task")
	fs.StringVarP(&f.context, "context", "c", "", "another source; a folder of this machine is sent")
	fs.StringVarP(&f.file, "file", "f", "", "another Dockerfile or task file in the source")
	fs.StringArrayVar(&f.args, "arg", nil, "build argument NAME[=VALUE]; without a value, this environment's (repeat)")
	fs.StringArrayVar(&f.secretArgs, "secret-arg", nil, "build argument whose value is not shown (repeat)")
	fs.StringArrayVar(&f.set, "set", nil, "value NAME[=VALUE] for {{.Values.NAME}} (repeat)")
	fs.StringArrayVar(&f.setSecret, "set-secret", nil, "value that is never shown, NAME[=VALUE] (repeat)")
	fs.StringVar(&f.target, "target", "", "stage to build")
	fs.StringVar(&f.token, "update-trigger-token", "", "text that is kept with the run")
	f.wait.define(fs)
	f.server = serverFlags(fs, s)
	for _, name := range []string{"agent-pool", "log-template", "subscription"} {
		fs.String(name, "", "ignored: only Azure has this")
		_ = fs.MarkHidden(name)
	}
	fs.StringP("registry", "r", "", "ignored: a daemon has one registry")
	fs.StringP("resource-group", "g", "", "ignored: only Azure has this")
	fs.Bool("no-format", false, "ignored: nothing is formatted")
	for _, name := range []string{"registry", "resource-group", "no-format"} {
		_ = fs.MarkHidden(name)
	}
	need(fs, "name")
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	conn, err := f.server.connect(ctx, s)
	if err != nil {
		return err
	}
	return conn.during(ctx, func() error { return f.run(ctx, s, conn) })
}

func (f *startFlags) run(ctx context.Context, s *session, c *connection) error {
	o := &api.Overrides{File: f.file, Target: f.target}
	var err error
	if o.Arguments, err = overrides(s, "--arg", f.args, f.secretArgs, true); err != nil {
		return err
	}
	if o.Values, err = overrides(s, "--set", f.set, f.setSecret, false); err != nil {
		return err
	}
	if f.token != "" {
		o.UpdateTriggerToken = base64.StdEncoding.EncodeToString([]byte(f.token))
	}
	if f.context != "" {
		sent, err := c.sendSource(ctx, s.stderr, f.context, "", f.kept()...)
		if err != nil {
			return err
		}
		if o.ContextPath = sent.location; o.ContextPath == "" {
			o.ContextPath = noSource
		}
	}
	run, err := c.schedule(ctx, &api.RunRequest{Type: api.TaskRunKind, TaskID: f.name, Overrides: o})
	if err != nil {
		return err
	}
	out := s.stdout
	if f.wait.output.document() {
		out = s.stderr
	}
	fmt.Fprintf(out, "Queued a run with ID: %s\n", run.Properties.RunID)
	return c.follow(ctx, s, run, f.wait)
}

// kept are files of the folder that must travel whatever .dockerignore says.
func (f *startFlags) kept() []string {
	if f.file == "" {
		return nil
	}
	if info, err := os.Stat(f.context); err != nil || !info.IsDir() {
		return nil
	}
	return []string{f.file}
}

func overrides(s *session, flag string, open, secret []string, environment bool) ([]api.Argument, error) {
	pairs, err := named(s, flag, open, secret, environment)
	var all []api.Argument
	for _, p := range pairs {
		all = append(all, api.Argument{Name: p["name"].(string), Value: p["value"].(string), IsSecret: p["isSecret"].(bool)})
	}
	return all, err
}

// runFilter is the $filter for runs of a task, with a status, that have made
// an image.
func runFilter(ctx context.Context, c *connection, task, status, image string) (string, error) {
	var parts []string
	quote := func(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
	if task != "" {
		parts = append(parts, "TaskName eq "+quote(task))
	}
	if status != "" {
		parts = append(parts, "Status eq "+quote(status))
	}
	if image != "" {
		if !strings.Contains(image, "@") { // az asks for what the tag is now, too
			digest, err := c.Digest(ctx, image)
			if err != nil {
				return "", fmt.Errorf("image %s: %w", image, err)
			}
			if at := strings.LastIndexByte(image, ':'); at > strings.LastIndexByte(image, '/') {
				image = image[:at]
			}
			image += "@" + digest
		}
		parts = append(parts, "contains(OutputImageManifests, "+quote(image)+")")
	}
	return strings.Join(parts, " and "), nil
}

// listRunsOfTask and listRuns are the same, by az's name and by acrd's own.
func listRunsOfTask(ctx context.Context, s *session, args []string) error {
	return findRuns(ctx, s, "task list-runs [FLAGS]", args)
}

func listRuns(ctx context.Context, s *session, args []string) error {
	return findRuns(ctx, s, "runs list [FLAGS]", args)
}

func findRuns(ctx context.Context, s *session, synopsis string, args []string) error {
	fs := newFlags(s, synopsis, "List runs, the newest first.")
	name := nameFlag(fs, "only runs of this task")
	status := fs.String("run-status", "", "only runs with this status: Queued, Started, Running, Succeeded, Failed, Canceled, Error or Timeout")
	image := fs.StringP("image", "t", "", "only runs that have made this image, repository:tag or repository@digest")
	top := fs.Int("top", 15, "at most so many")
	var f resourceFlags
	f.define(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	return f.with(ctx, s, func(c *connection) error {
		filter, err := runFilter(ctx, c, *name, *status, *image)
		if err != nil {
			return err
		}
		runs, err := c.Find(ctx, filter, *top)
		if err != nil {
			return err
		}
		return f.output.print(s, runs, runTable(runs...))
	})
}

// aboutRun is a command about one run.
func aboutRun(ctx context.Context, s *session, synopsis, description string, args []string, do func(c *connection, id string) (*api.Run, error)) error {
	fs := newFlags(s, synopsis, description)
	id := fs.String("run-id", "", "id of the run")
	noArchive := false
	if strings.HasPrefix(synopsis, "task update-run") {
		fs.BoolVar(&noArchive, "no-archive", false, "let the run expire; no-archive=false keeps it")
	}
	var f resourceFlags
	f.define(fs, s)
	rest, err := parse(fs, args, 0, 1)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		*id = rest[0]
	}
	if err := required("--run-id", *id); err != nil {
		return err
	}
	return f.with(ctx, s, func(c *connection) error {
		var run *api.Run
		if fs.Changed("no-archive") {
			run, err = c.Archive(ctx, *id, !noArchive)
		} else {
			run, err = do(c, *id)
		}
		if err != nil {
			return err
		}
		return f.output.print(s, run, runTable(run))
	})
}

func showRun(ctx context.Context, s *session, args []string) error {
	return aboutRun(ctx, s, "task show-run --run-id RUN [FLAGS]", "Show a run.", args, func(c *connection, id string) (*api.Run, error) {
		return c.Run(ctx, id)
	})
}

func updateRun(ctx context.Context, s *session, args []string) error {
	return aboutRun(ctx, s, "task update-run --run-id RUN [FLAGS]", "Keep a run and its log (--no-archive=false), or let them expire (--no-archive).", args, func(c *connection, id string) (*api.Run, error) {
		return c.Run(ctx, id)
	})
}

func cancelRun(ctx context.Context, s *session, args []string) error {
	return aboutRun(ctx, s, "task cancel-run --run-id RUN [FLAGS]", "Cancel a run, and wait for its end.", args, func(c *connection, id string) (*api.Run, error) {
		if err := c.Cancel(ctx, id); err != nil {
			return nil, err
		}
		waiting, stop := context.WithTimeoutCause(ctx, cancelPatience, errors.New("the run does not end"))
		defer stop()
		return c.ended(waiting, id)
	})
}

func showTaskLogs(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "task logs [FLAGS]", `Show the log of a run: the one with an id, or the last one, of all or of a task.

A run that is still going is followed to its end. Ctrl-C only stops showing.`)
	id := fs.String("run-id", "", "id of the run")
	name := nameFlag(fs, "the last run of this task")
	image := fs.StringP("image", "t", "", "the last run that has made this image, repository:tag or repository@digest")
	fs.Bool("no-format", false, "ignored: nothing is formatted")
	fs.StringP("registry", "r", "", "ignored: a daemon has one registry")
	fs.StringP("resource-group", "g", "", "ignored: only Azure has this")
	for _, hidden := range []string{"no-format", "registry", "resource-group"} {
		_ = fs.MarkHidden(hidden)
	}
	where := serverFlags(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	conn, err := where.connect(ctx, s)
	if err != nil {
		return err
	}
	return conn.during(ctx, func() error {
		run, err := lastRun(ctx, s, conn, *id, *name, *image)
		if err != nil {
			return err
		}
		return conn.copyLog(ctx, s.stdout, run)
	})
}

// lastRun is the run that was asked for, or else the last created one.
func lastRun(ctx context.Context, s *session, c *connection, id, task, image string) (string, error) {
	if id != "" {
		return id, nil
	}
	filter, err := runFilter(ctx, c, task, "", image)
	if err != nil {
		return "", err
	}
	of := ""
	switch {
	case image != "":
		of = " for image '" + image + "'"
	case task != "":
		of = " for task '" + task + "'"
	}
	runs, err := c.Find(ctx, filter, 1)
	if err != nil {
		return "", err
	}
	if len(runs) == 0 {
		return "", fmt.Errorf("Could not find the last created run%s.", of) //nolint:revive,staticcheck // az's words
	}
	fmt.Fprintf(s.stderr, "Showing logs of the last created run%s.\nRun ID: %s\n", of, runs[0].Properties.RunID)
	return runs[0].Properties.RunID, nil
}

// copyLog shows a log to its end. How the run has ended does not matter.
func (c *connection) copyLog(ctx context.Context, out io.Writer, id string) error {
	err := c.print(ctx, out, id)
	if ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

func final(status string) bool { return runner.Status(status).Final() }
