package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"acrd/triggers"
)

func explainTask(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "task why NAME [FLAGS]", `Say what starts a task: what it watches, at which digest or commit, when it was
looked at and when it will be, what waits and for whom, and what was decided
lately, and why.`)
	name := nameFlag(fs, "name of the task, in place of the argument")
	var f resourceFlags
	f.define(fs, s)
	rest, err := parse(fs, args, 0, 1)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		*name = rest[0]
	}
	if err := required("--name", *name); err != nil {
		return err
	}
	return f.with(ctx, s, func(c *connection) error {
		x, err := c.Why(ctx, *name)
		if err != nil {
			return err
		}
		if *f.output != "" && *f.output != "table" {
			return f.output.print(s, x, decisionTable(x))
		}
		return writeExplanation(s.stdout, x)
	})
}

func writeExplanation(out io.Writer, x *triggers.Explanation) error {
	state := "enabled"
	if !x.Enabled {
		state = "disabled"
	}
	fmt.Fprintf(out, "%s is %s\n", x.Task, state)
	for _, n := range x.Notes {
		fmt.Fprintf(out, "  %s\n", n)
	}
	if len(x.Upstream) > 0 {
		fmt.Fprintf(out, "  it waits for builds of %s, and of what they build on\n", strings.Join(x.Upstream, ", "))
	}
	for _, part := range []struct {
		title string
		table table
	}{
		{"Base images", imageTable(x)},
		{"Repositories", repositoryTable(x)},
		{"Timers", whyTimerTable(x)},
		{"Waiting", waitingTable(x)},
		{"Decided", decisionTable(x)},
	} {
		if len(part.table.rows) == 0 {
			continue
		}
		fmt.Fprintf(out, "\n%s\n", part.title)
		if err := part.table.write(out); err != nil {
			return err
		}
	}
	return nil
}

func imageTable(x *triggers.Explanation) table {
	t := table{head: []string{"IMAGE", "PLATFORM", "TYPE", "WATCHED", "DIGEST", "KNOWN FROM", "LAST LOOK", "NEXT LOOK", "TROUBLE"}}
	for _, i := range x.Images {
		watched := "no"
		if i.Watched {
			watched = "yes"
		}
		t.add(i.Image, i.Platform, i.Role, watched, shortDigest(i.Digest), i.KnownFrom, instant(i.Looked), instant(i.Next), trouble(i.Err, i.Suspended))
	}
	return t
}

func repositoryTable(x *triggers.Explanation) table {
	t := table{head: []string{"TRIGGER", "REPOSITORY", "AT", "LAST LOOK", "NEXT LOOK", "TROUBLE"}}
	for _, r := range x.Repositories {
		var at []string
		for _, ref := range slices.Sorted(maps.Keys(r.Refs)) {
			at = append(at, strings.TrimPrefix(ref, "refs/heads/")+" "+r.Refs[ref][:min(12, len(r.Refs[ref]))])
		}
		if !r.Enabled {
			at = []string{"disabled"}
		}
		t.add(r.Name, r.URL, strings.Join(at[:min(3, len(at))], ", "), instant(r.Looked), instant(r.Next), trouble(r.Err, r.Suspended))
	}
	return t
}

func whyTimerTable(x *triggers.Explanation) table {
	t := table{head: []string{"TIMER", "SCHEDULE", "LAST", "NEXT"}}
	for _, timer := range x.Timers {
		next := instant(timer.Next)
		if !timer.Enabled {
			next = "disabled"
		}
		t.add(timer.Name, timer.Schedule, instant(timer.Last), next)
	}
	return t
}

func waitingTable(x *triggers.Explanation) table {
	t := table{head: []string{"SINCE", "FOR", "REASON"}}
	for _, w := range x.Waiting {
		t.add(instant(w.Since), w.For, w.Reason)
	}
	return t
}

func decisionTable(x *triggers.Explanation) table {
	t := table{head: []string{"AT", "RUN", "REASON", "DECISION"}}
	for _, d := range x.Decided {
		why := d.Why
		if d.Run != "" {
			why = "run"
			if d.Why != d.Reason {
				why += ": " + d.Why
			}
		}
		t.add(instant(d.At), d.Run, d.Reason, why)
	}
	return t
}

func trouble(err string, suspended bool) string {
	if suspended {
		return "suspended: " + err
	}
	return err
}

func instant(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func shortDigest(digest string) string { return digest[:min(len(digest), 19)] }

func drawTasks(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "task graph [FLAGS]", `Show which tasks build on images of which, as their last successful builds have
it. --format is text, dot (for Graphviz) or mermaid.`)
	format := fs.String("format", "text", "text, dot or mermaid; -o json gives the data")
	var f resourceFlags
	f.define(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	draw, ok := map[string]func(*triggers.Picture) string{
		"text": (*triggers.Picture).Text, "dot": (*triggers.Picture).Dot, "mermaid": (*triggers.Picture).Mermaid,
	}[*format]
	if !ok {
		return &usageError{"--format is text, dot or mermaid, not " + *format}
	}
	return f.with(ctx, s, func(c *connection) error {
		p, err := c.TaskGraph(ctx)
		if err != nil {
			return err
		}
		if *f.output != "" && *f.output != "table" {
			return f.output.print(s, p, edgeTable(p))
		}
		_, err = io.WriteString(s.stdout, draw(p))
		return err
	})
}

func edgeTable(p *triggers.Picture) table {
	t := table{head: []string{"FROM", "IMAGE", "TO"}}
	for _, e := range p.Edges {
		t.add(e.From, e.Image, e.To)
	}
	return t
}
