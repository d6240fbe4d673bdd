package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"acrd/internal/api"
	"acrd/runner"
)

func runsCommands() []command {
	return []command{
		{name: "list", summary: "List runs, the newest first", run: listRuns},
		{name: "watch", summary: "Watch a run until it has ended", run: watchRun},
		{name: "rerun", summary: "Run again what a run was asked to do", run: rerun},
	}
}

func rerun(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "runs rerun [FLAGS] RUN", `Run again what a run was asked to do: with the same source, at the same commit if
it is git, the same values and the same secrets.

Ctrl-C stops showing; the run goes on.`)
	wait := waiting{progress: "plain", detach: true}
	wait.define(fs)
	where := serverFlags(fs, s)
	rest, err := parse(fs, args, 1, 1)
	if err != nil {
		return err
	}
	conn, err := where.connect(ctx, s)
	if err != nil {
		return err
	}
	return conn.during(ctx, func() error {
		run, err := conn.Rerun(ctx, rest[0])
		if err != nil {
			return err
		}
		out := s.stdout
		if wait.output.document() {
			out = s.stderr
		}
		fmt.Fprintf(out, "Queued a run with ID: %s\n", run.Properties.RunID)
		return conn.follow(ctx, s, run, wait)
	})
}

// watchEvery is how often a run is looked at.
const watchEvery = 500 * time.Millisecond

func watchRun(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "runs watch [FLAGS] [RUN]", `Watch a run until it has ended; without RUN, the last one. Its steps are shown
as they begin and end; 'acrd logs' shows what they print.

Ctrl-C only stops watching.`)
	exitStatus := fs.Bool("exit-status", false, "exit with 1 if the run does not succeed")
	name := nameFlag(fs, "the last run of this task")
	var f resourceFlags
	f.define(fs, s)
	*f.output = "text"
	fs.Lookup("output").DefValue = "text"
	fs.Lookup("output").Usage = "what to print at the end: text, table, json, yaml or tsv"
	rest, err := parse(fs, args, 0, 1)
	if err != nil {
		return err
	}
	return f.with(ctx, s, func(c *connection) error {
		id := ""
		if len(rest) > 0 {
			id = rest[0]
		}
		if id == "" {
			filter, err := runFilter(ctx, c, *name, "", "")
			if err != nil {
				return err
			}
			runs, err := c.Find(ctx, filter, 1)
			if err != nil {
				return err
			}
			if len(runs) == 0 {
				return errNoRun
			}
			id = runs[0].Properties.RunID
		}
		out := s.stdout
		if f.output.document() {
			out = s.stderr
		}
		run, err := c.watch(ctx, out, id)
		if err != nil {
			return err
		}
		if err := printRun(s, run, f.output); err != nil {
			return err
		}
		if *exitStatus && run.Properties.Status != string(runner.Succeeded) {
			return errUnsuccessful
		}
		return nil
	})
}

// watch tells what changes about a run, a line each, until it has ended.
func (c *connection) watch(ctx context.Context, out io.Writer, id string) (*api.Run, error) {
	w := watcher{out: out, colour: isTerminal(out), steps: map[string]string{}}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		run, err := c.Run(ctx, id)
		if err != nil {
			return nil, err
		}
		w.tell(run)
		if final(run.Properties.Status) {
			return run, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errInterrupted
		}
	}
}

// A watcher remembers what it has told of a run.
type watcher struct {
	out    io.Writer
	colour bool
	status string
	steps  map[string]string
}

func (w *watcher) tell(run *api.Run) {
	p := run.Properties
	if w.status == "" {
		of := ""
		if p.Task != "" {
			of = " of task " + p.Task
		}
		fmt.Fprintf(w.out, "Run %s%s (%s)\n", p.RunID, of, p.Trigger())
	}
	for _, step := range p.Steps {
		if w.steps[step.ID] == step.Status {
			continue
		}
		w.steps[step.ID] = step.Status
		took := ""
		if step.StartTime != nil && step.FinishTime != nil {
			took = " after " + step.FinishTime.Sub(*step.StartTime).Round(time.Millisecond).String()
		}
		if step.Error != "" {
			took += ": " + step.Error
		}
		fmt.Fprintf(w.out, "  step %s: %s%s\n", step.ID, w.paint(step.Status), took)
	}
	if w.status == p.Status {
		return
	}
	w.status = p.Status
	why := ""
	if p.QueuePosition > 0 {
		why = fmt.Sprintf(" at place %d", p.QueuePosition)
	}
	if p.RunErrorMessage != "" {
		why = ": " + p.RunErrorMessage
	}
	fmt.Fprintf(w.out, "%s%s\n", w.paint(p.Status), why)
}

// paint colours a status on a terminal.
func (w *watcher) paint(status string) string {
	if !w.colour {
		return status
	}
	colour := "33" // yellow: not yet
	switch runner.Status(status) {
	case runner.Succeeded:
		colour = "32"
	case runner.Failed, runner.Error, runner.Timeout, runner.Canceled:
		colour = "31"
	}
	return "\x1b[" + colour + "m" + status + "\x1b[0m"
}
