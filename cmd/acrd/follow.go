package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"acrd/internal/api"
	"acrd/runner"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"
	"golang.org/x/term"
)

// waiting is how a command waits for its run.
type waiting struct {
	noLogs, noWait bool
	progress       string // auto, tty, plain, quiet, rawjson
	output         *output
	// detach makes Ctrl-C stop showing, and leaves the run alone.
	detach bool
	// succeeded, if set, is called with the outcome of a good run.
	succeeded func(api.RunProperties) error
}

const (
	// cancelPatience bounds the wait for a run that was cancelled, and
	// answerPatience that for the answer to a request, after Ctrl-C.
	cancelPatience = 15 * time.Second
	answerPatience = 5 * time.Second
)

// schedule queues a run. Ctrl-C while the daemon has the request waits a little
// for its answer: without the id, a run that was accepted could not be
// cancelled.
func (c *connection) schedule(ctx context.Context, req *api.RunRequest) (*api.Run, error) {
	asking, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() {
		t := time.AfterFunc(answerPatience, func() { cancel(context.Cause(ctx)) })
		context.AfterFunc(asking, func() { t.Stop() })
	})()
	return c.Schedule(asking, req)
}

// follow shows a run until it has ended. Ctrl-C cancels it.
func (c *connection) follow(ctx context.Context, s *session, run *api.Run, w waiting) error {
	if w.noWait && c.ends {
		fmt.Fprintln(s.stderr, "acrd: no daemon runs (acrd serve), so the run ends with this command, which waits for it")
		w.noWait, w.noLogs = false, true
	}
	if w.noWait {
		return printRun(s, run, w.output)
	}
	out := s.stdout
	if w.output.document() {
		out = s.stderr
	}
	id := run.Properties.RunID
	// The log is read to its end even after Ctrl-C: it tells how the cancel went.
	life, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	ended := make(chan struct{})
	defer close(ended)
	if w.detach {
		defer context.AfterFunc(ctx, func() { stop(errInterrupted) })()
	} else {
		go c.cancelOnInterrupt(ctx, s, id, stop, ended)
	}
	var err error
	switch {
	case w.noLogs:
		err = c.await(life, id)
	case w.display(out):
		err = c.show(life, out, id, w.progress)
	case w.progress == "rawjson":
		err = c.raw(life, out, id)
	case w.progress == "quiet":
		err = c.await(life, id)
	default:
		err = c.print(life, out, id)
	}
	if err != nil {
		if ctx.Err() != nil {
			if w.detach {
				fmt.Fprintf(s.stderr, "Run %s goes on; see it again with: acrd logs %s\n", id, id)
			}
			return errInterrupted
		}
		return fmt.Errorf("follow run %s: %w\nThe run goes on; see it again with: acrd logs %s", id, err, id)
	}
	return c.conclude(life, ctx.Err() != nil, s, id, w)
}

// cancelOnInterrupt passes Ctrl-C on to the daemon, and gives up waiting if
// that does not help.
func (c *connection) cancelOnInterrupt(ctx context.Context, s *session, id string, giveUp context.CancelCauseFunc, ended <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-ended:
		return
	}
	fmt.Fprintf(s.stderr, "Canceling run %s...\n", id)
	asking, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), cancelPatience, errors.New("the run does not end"))
	defer cancel()
	if err := c.Cancel(asking, id); err != nil {
		giveUp(err)
		return
	}
	select {
	case <-ended:
	case <-asking.Done():
		giveUp(context.Cause(asking))
	}
}

// check refuses a display that cannot be had, before anything is queued.
func (w *waiting) check(out io.Writer) error {
	switch w.progress {
	case "auto", "plain", "quiet", "rawjson":
		return nil
	case "tty":
		if isTerminal(out) {
			return nil
		}
		return &usageError{"--progress tty: standard output is not a terminal"}
	}
	return &usageError{fmt.Sprintf("--progress: %q is none of auto, tty, plain, quiet, rawjson", w.progress)}
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// display says whether to show a build as it is shown on a terminal.
func (w *waiting) display(out io.Writer) bool {
	return w.progress == "tty" || w.progress == "auto" && isTerminal(out) && os.Getenv("TERM") != "dumb"
}

func (c *connection) print(ctx context.Context, out io.Writer, id string) error {
	log, err := c.Log(ctx, id, api.LogOptions{Follow: true})
	if err != nil {
		return err
	}
	defer log.Close()
	_, err = io.Copy(out, log)
	return err
}

func (c *connection) raw(ctx context.Context, out io.Writer, id string) error {
	p, err := c.Progress(ctx, id)
	if err != nil {
		return err
	}
	defer p.Close()
	_, err = io.Copy(out, p)
	return err
}

// show gives a build's progress to BuildKit's own display.
func (c *connection) show(ctx context.Context, out io.Writer, id, mode string) error {
	p, err := c.Progress(ctx, id)
	if err != nil {
		return err
	}
	defer p.Close()
	if mode == "auto" {
		mode = string(progressui.TtyMode)
	}
	display, err := progressui.NewDisplay(out, progressui.DisplayMode(mode))
	if err != nil {
		return err
	}
	statuses := make(chan *client.SolveStatus)
	go func() {
		defer close(statuses)
		for dec := json.NewDecoder(p); ; {
			var s client.SolveStatus
			if dec.Decode(&s) != nil {
				return
			}
			statuses <- &s
		}
	}()
	_, err = display.UpdateFrom(ctx, statuses)
	return err
}

// await waits without showing anything.
func (c *connection) await(ctx context.Context, id string) error {
	log, err := c.Log(ctx, id, api.LogOptions{Follow: true})
	if err != nil {
		return err
	}
	defer log.Close()
	_, err = io.Copy(io.Discard, log)
	return err
}

// conclude says how the run ended, as far as its log has not.
func (c *connection) conclude(ctx context.Context, interrupted bool, s *session, id string, w waiting) error {
	run, err := c.ended(ctx, id)
	if err != nil {
		return err
	}
	p := run.Properties
	if err := printRun(s, run, w.output); err != nil {
		return err
	}
	logShown := !w.noLogs && w.progress != "quiet" && !w.display(s.stdout)
	switch {
	case p.Status == string(runner.Succeeded):
		switch {
		case w.output.document():
		case w.progress == "quiet" && len(p.BuiltImages) > 0:
			fmt.Fprintln(s.stdout, p.BuiltImages[0].Digest)
		case !logShown:
			summarize(s.stdout, p)
		}
		if w.succeeded != nil {
			return w.succeeded(p)
		}
		return nil
	case interrupted:
		how := "was canceled"
		if p.Status != string(runner.Canceled) {
			how = "ended as " + p.Status + " by itself"
		}
		fmt.Fprintf(s.stderr, "Run %s %s.\n", id, how)
		return errInterrupted
	case !logShown:
		fmt.Fprintf(s.stderr, "The run with ID '%s' finished with unsuccessful status '%s': %s\nShow its log by 'acrd logs %s'.\n", id, p.Status, p.RunErrorMessage, id)
	}
	return errUnsuccessful
}

// ended fetches the record of a run whose log has ended. The record follows
// the log by moments.
func (c *connection) ended(ctx context.Context, id string) (*api.Run, error) {
	for {
		run, err := c.Run(ctx, id)
		if err != nil || runner.Status(run.Properties.Status).Final() {
			return run, err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func summarize(out io.Writer, p api.RunProperties) {
	for _, i := range p.OutputImages {
		fmt.Fprintf(out, "Pushed %s/%s:%s@%s\n", i.Registry, i.Repository, i.Tag, i.Digest)
	}
	if p.StartTime != nil && p.FinishTime != nil {
		fmt.Fprintf(out, "Run ID: %s was successful after %v\n", p.RunID, p.FinishTime.Sub(*p.StartTime).Round(time.Millisecond))
	}
}

// printRun prints a run as the flag -o says; as text it is its log.
func printRun(s *session, run *api.Run, o *output) error {
	if !o.document() {
		return nil
	}
	return o.print(s, run, runTable(run))
}

// runTable has the columns of az acr task list-runs.
func runTable(runs ...*api.Run) table {
	t := table{head: []string{"RUN ID", "TASK", "PLATFORM", "STATUS", "TRIGGER", "STARTED", "DURATION"}}
	for _, r := range runs {
		p := r.Properties
		started, took := runTimes(r)
		t.add(p.RunID, p.Task, p.Platform.OS, p.Status, p.Trigger(), started, took)
	}
	return t
}

// runTimes are when a run has started and how long it took, as az writes them.
func runTimes(r *api.Run) (started, took string) {
	p := r.Properties
	if p.StartTime == nil {
		return "", ""
	}
	started = p.StartTime.UTC().Format("2006-01-02T15:04:05Z")
	if p.FinishTime != nil {
		took = clock(p.FinishTime.Sub(*p.StartTime))
	}
	return started, took
}

// clock writes a duration as az does, 00:01:09.
func clock(d time.Duration) string {
	s := int(d.Round(time.Second).Seconds())
	return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
}
