package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"strings"

	"acrd/internal/api"

	"github.com/spf13/pflag"
)

// taskFlags are the flags of acrd run: those of az acr run.
type taskFlags struct {
	file, cmd, values string
	set, setSecret    []string
	platform          string
	common            requestFlags
	wait              waiting
	ignoredNoFormat   bool
	dryRun            bool
	preview           preview
}

func runTask(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "run [FLAGS] SOURCE", `Run a multi-step task, or one command.

SOURCE is a folder, a git URL (https://host/repo.git#ref:folder), the URL of a
tar archive, oci://registry/repository:tag, or /dev/null for no source; then
-f names a file of this machine.
Ctrl-C cancels the run.`)
	f := &taskFlags{wait: waiting{progress: "plain"}}
	fs.StringVarP(&f.file, "file", "f", "", "task file in the source (default acb.yaml); - is standard input")
	fs.StringVar(&f.cmd, "cmd", "", "one command to run instead of a task file, with /dev/null")
	fs.StringVar(&f.values, "values", "", "values file in the source")
	fs.StringArrayVar(&f.set, "set", nil, "value NAME[=VALUE] for {{.Values.NAME}} (repeat)")
	fs.StringArrayVar(&f.setSecret, "set-secret", nil, "value that is never shown, NAME[=VALUE] (repeat)")
	fs.StringVar(&f.platform, "platform", "", "accepted because az acr run has it; a step names its own, cmd: --platform ...")
	f.common.define(fs, s)
	f.wait.define(fs)
	fs.BoolVar(&f.ignoredNoFormat, "no-format", false, "ignored: nothing is formatted")
	_ = fs.MarkHidden("no-format")
	fs.BoolVar(&f.dryRun, "dry-run", false, "print what would run, and in which order; needs neither a daemon nor root")
	fs.BoolVar(&f.preview.strict, "strict", false, "with --dry-run: what acrd lint warns of is an error")
	f.preview.define(fs)
	rest, err := parse(fs, args, 1, 1)
	if err != nil {
		return err
	}
	if f.cmd != "" && (f.file != "" || rest[0] != "/dev/null") {
		return &usageError{"run with either --cmd myCommand /dev/null or -f myFile mySourceLocation, but not both"}
	}
	if f.dryRun {
		p := f.preview
		p.file, p.values, p.cmd, p.set, p.setSecret, p.registry = f.file, f.values, f.cmd, f.set, f.setSecret, f.common.registry
		return p.dryRun(s, rest[0], f.wait.output)
	}
	if flag := onlyDry(fs); flag != "" {
		return &usageError{fmt.Sprintf("--%s is for --dry-run: a run gets it from its source and its trigger", flag)}
	}
	conn, err := f.common.server.connect(ctx, s)
	if err != nil {
		return err
	}
	return conn.during(ctx, func() error { return f.run(ctx, s, conn, rest[0]) })
}

// onlyDry is a flag that was given and that a real run has no use for.
func onlyDry(fs *pflag.FlagSet) string {
	dry := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(preview).define(dry)
	found := ""
	fs.Visit(func(f *pflag.Flag) {
		if dry.Lookup(f.Name) != nil || f.Name == "strict" {
			found = f.Name
		}
	})
	return found
}

func (f *taskFlags) run(ctx context.Context, s *session, c *connection, source string) error {
	req, err := f.request(ctx, s, c, source)
	if err != nil {
		return err
	}
	for _, list := range []struct {
		values []string
		secret bool
	}{{f.set, false}, {f.setSecret, true}} {
		for _, v := range list.values {
			name, value, err := splitSet(v)
			if err != nil {
				return err
			}
			req.Values = append(req.Values, api.Argument{Name: name, Value: value, IsSecret: list.secret})
		}
	}
	if err := f.common.apply(c, s, req); err != nil {
		return err
	}
	run, err := c.schedule(ctx, req)
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

// request makes the body. With a source, the task file is in it; with
// /dev/null it travels in the request.
func (f *taskFlags) request(ctx context.Context, s *session, c *connection, source string) (*api.RunRequest, error) {
	file := f.file
	if file == "" {
		file = "acb.yaml"
	}
	if source != "/dev/null" && file != "-" {
		keep := []string{file}
		if f.values != "" {
			keep = append(keep, f.values)
		}
		sent, err := c.sendSource(ctx, s.stderr, source, "", keep...)
		if err != nil {
			return nil, err
		}
		return &api.RunRequest{Type: api.FileTask, TaskFilePath: file, ValuesFilePath: f.values, SourceLocation: sent.location}, nil
	}
	text, err := f.inline(s, file)
	if err != nil {
		return nil, err
	}
	req := &api.RunRequest{Type: api.EncodedTask, EncodedTaskContent: base64.StdEncoding.EncodeToString(text)}
	if source != "/dev/null" {
		sent, err := c.sendSource(ctx, s.stderr, source, "")
		if err != nil {
			return nil, err
		}
		req.SourceLocation = sent.location
	}
	if f.values != "" {
		b, err := os.ReadFile(f.values)
		if err != nil {
			return nil, &usageError{err.Error()}
		}
		req.EncodedValuesContent = base64.StdEncoding.EncodeToString(b)
	}
	return req, nil
}

// inline is the text of the task: a file of this machine, standard input, or
// what az acr run makes of --cmd. Like az, it turns aliases on for a file that
// names no version.
func (f *taskFlags) inline(s *session, file string) ([]byte, error) {
	if f.cmd != "" {
		return cmdTask(f.cmd, f.common.timeout), nil
	}
	var b []byte
	var err error
	if file == "-" {
		b, err = io.ReadAll(io.LimitReader(s.stdin, 2<<20))
	} else {
		b, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, &usageError{err.Error()}
	}
	return b, nil
}

// cmdTask is the task that runs one command. It quotes the command: unlike
// az's, it survives ": ", "#" and "{".
func cmdTask(cmd string, timeout int) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "version: v1.1.0\nsteps:\n  - cmd: %s\n    disableWorkingDirectoryOverride: true\n", quoteYAML(cmd))
	if timeout > 0 {
		fmt.Fprintf(&b, "    timeout: %d\n", timeout)
	}
	return []byte(b.String())
}

func quoteYAML(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
