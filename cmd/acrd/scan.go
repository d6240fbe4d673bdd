package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"acrd/internal/dockerfile"
	"acrd/internal/source"
	"acrd/runner"
	"acrd/steps"

	"github.com/spf13/pflag"
)

// scanFlags are the flags of acrd scan: those of acb scan, and what else
// decides which images a build starts from.
type scanFlags struct {
	file, target, platform string
	tags, args, contexts   []string
	timeout                int
	output                 *output
}

func scan(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "scan [FLAGS] CONTEXT", `Say which images a Dockerfile is built from, without building it.

CONTEXT is a folder, a git URL (https://host/repo.git#ref:folder), the URL of a
tar archive, or oci://registry/repository:tag. A folder needs no daemon, no
root and no network. Digests are those that the Dockerfile pins.`)
	f := &scanFlags{}
	f.define(fs)
	rest, err := parse(fs, args, 1, 1)
	if err != nil {
		return err
	}
	if f.timeout < 1 {
		return &usageError{"--timeout is in seconds, and at least 1"}
	}
	limit := fmt.Errorf("scan: not done within %d s", f.timeout)
	ctx, stop := context.WithTimeoutCause(ctx, time.Duration(f.timeout)*time.Second, limit)
	defer stop()
	found, err := f.scan(ctx, s, rest[0])
	if err != nil {
		return err
	}
	return found.print(s.stdout, *f.output)
}

func (f *scanFlags) define(fs *pflag.FlagSet) {
	fs.StringVarP(&f.file, "file", "f", "", "Dockerfile, relative to this folder; in a remote source, relative to that")
	fs.StringArrayVarP(&f.tags, "tag", "t", nil, "name of the image, as it will be built (repeat)")
	fs.StringArrayVar(&f.tags, "image", nil, "same as --tag")
	fs.StringArrayVar(&f.args, "build-arg", nil, "build argument NAME[=VALUE]; without a value, this environment's (repeat)")
	fs.StringVar(&f.target, "target", "", "stage to build")
	fs.StringVar(&f.platform, "platform", "", "platforms to build for: linux/amd64,linux/arm64; an entry for each that differs")
	fs.StringArrayVar(&f.contexts, "build-context", nil, "further context NAME=docker-image://... or URL or folder (repeat)")
	fs.IntVar(&f.timeout, "timeout", 60, "seconds that the scan may take")
	fs.String("destination", "", "ignored: a remote source is gone after the scan")
	_ = fs.MarkHidden("image")
	f.output = outputFlag(fs)
	*f.output = "json"
	fs.Lookup("output").DefValue = "json"
}

// findings are what a scan has found.
type findings struct {
	dependencies []runner.Dependency
	syntax       string
}

func (f *scanFlags) scan(ctx context.Context, s *session, where string) (*findings, error) {
	o := dockerfile.Options{Target: f.target, Contexts: f.contexts}
	for _, a := range f.args {
		if name, _, ok := strings.Cut(a, "="); !ok {
			a = name + "=" + s.getenv(name)
		}
		o.BuildArgs = append(o.BuildArgs, a)
	}
	if f.platform != "" {
		list, err := buildPlatform(f.platform)
		if err != nil {
			return nil, err
		}
		o.Platforms = strings.Split(list, ",")
	}
	from, err := openScanned(ctx, where, s.stderr)
	if err != nil {
		return nil, err
	}
	defer from.close()
	text, name, err := from.dockerfile(f.file)
	if err != nil {
		return nil, err
	}
	o.Name = name
	scans, err := dockerfile.ReadPlatforms(text, o)
	if err != nil {
		return nil, &usageError{err.Error()} // a wrong file, as a wrong task file is
	}
	return f.entries(scans, from.commit), nil
}

// entries are one for each tag, and for each platform that differs.
func (f *scanFlags) entries(scans []dockerfile.Scan, commit string) *findings {
	found := &findings{syntax: scans[0].Syntax}
	for _, one := range scans {
		d := runner.Dependency{Git: runner.Git{Revision: commit}}
		if one.Runtime != "" {
			r := runner.NewReference(one.Runtime, "")
			d.Runtime = &r
		}
		for _, ref := range one.BuildTime {
			d.BuildTime = append(d.BuildTime, runner.NewReference(ref, ""))
		}
		found.dependencies = append(found.dependencies, d.For(f.tags, "")...)
	}
	return found
}

func (f *findings) print(out io.Writer, format output) error {
	switch format {
	case "json":
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(f.dependencies)
	case "table":
		return f.tabulate(out)
	}
	_, err := io.WriteString(out, runner.DependencyYAML(f.dependencies))
	return err
}

// tabulate has a line for each image. The frontend is one that the file names,
// and no build needs.
func (f *findings) tabulate(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ROLE\tREGISTRY\tREPOSITORY\tTAG\tDIGEST")
	row := func(role string, r *runner.Reference) {
		if r != nil {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", role, r.Registry, r.Repository, r.Tag, r.Digest)
		}
	}
	for _, d := range f.dependencies {
		row("image", d.Image)
		row("runtime", d.Runtime)
		for _, b := range d.BuildTime {
			row("buildtime", &b)
		}
	}
	if f.syntax != "" {
		r := runner.NewReference(f.syntax, "")
		row("frontend", &r)
	}
	return w.Flush()
}

// scanned is a context that a Dockerfile is read from.
type scanned struct {
	dir, commit string
	remote      bool
	remove      func() error
}

func (c *scanned) close() {
	if c.remove != nil {
		_ = c.remove()
	}
}

func openScanned(ctx context.Context, where string, notes io.Writer) (*scanned, error) {
	c, err := steps.ParseContext(where)
	if err != nil {
		return nil, &usageError{err.Error()}
	}
	switch c.Kind {
	case steps.ContextNone:
		return nil, &usageError{"there is no Dockerfile in /dev/null: name the folder that it is in"}
	case steps.ContextLocal:
		if info, err := os.Stat(where); err != nil || !info.IsDir() {
			return nil, &usageError{fmt.Sprintf("Source location %s should be a local directory path or remote URL.", where)}
		}
		return &scanned{dir: where, commit: gitHead(where)}, nil
	}
	tmp, err := os.MkdirTemp("", "acrd-scan-")
	if err != nil {
		return nil, err
	}
	from := &scanned{remote: true, remove: func() error { return os.RemoveAll(tmp) }}
	fetcher := &source.Fetcher{Dir: filepath.Join(tmp, "mirrors")}
	fetched, err := fetcher.Fetch(ctx, c, filepath.Join(tmp, "tree"), notes)
	if err != nil {
		from.close()
		return nil, err
	}
	from.dir, from.commit = fetched.Dir, fetched.Commit
	return from, nil
}

// dockerfile reads the one that -f names. It is opened below the context, or
// below its own folder if it is elsewhere on this machine, so that no link
// leads out of that.
func (c *scanned) dockerfile(name string) (text []byte, shown string, err error) {
	dir, inside := c.dir, name
	switch {
	case name == "":
		name, inside = filepath.Join(c.dir, "Dockerfile"), "Dockerfile"
	case !c.remote:
		if inside, err = relative(c.dir, name); err != nil {
			return nil, "", err
		}
		if !filepath.IsLocal(inside) {
			dir, inside = filepath.Split(name)
			dir = filepath.Clean(dir)
		}
	}
	if c.remote {
		name = inside
	}
	text, err = readBelow(dir, inside)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", &usageError{fmt.Sprintf("Unable to find '%s': name the Dockerfile with -f", name)}
	}
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", name, err)
	}
	return text, name, nil
}

func relative(dir, name string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if name, err = filepath.Abs(name); err != nil {
		return "", err
	}
	return filepath.Rel(dir, name)
}

// readBelow reads a file of a folder that it does not leave.
func readBelow(dir, name string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := root.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil && !info.Mode().IsRegular() {
		return nil, errors.New("it is not a file")
	}
	return runner.ReadFile(root, name)
}
