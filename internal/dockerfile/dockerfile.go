// Package dockerfile reads from a Dockerfile which images a build of it starts
// from, with BuildKit's own parser and without running anything.
//
// It sees what acb's line scanner does not: FROM --platform, ARG defaults and
// nesting, continuation lines, heredocs, named contexts, COPY --from and RUN
// --mount=from of images, and ONBUILD of a stage for the stages above it.
// Stages that the target does not need do not count. What BuildKit would
// refuse without asking a registry is refused here, at its line and column.
//
// Who wrote the file is not trusted: size, substitutions and time are bounded
// (limits.go).
package dockerfile

import (
	"bytes"
	"fmt"
	"slices"

	"acrd/steps"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Options are what a build says beside its Dockerfile.
type Options struct {
	Name      string   // of the file, for errors; empty is Dockerfile
	Target    string   // name or number of a stage; empty is the last
	BuildArgs []string // NAME=value
	Platforms []string // os/arch[/variant]; empty is this host's, as Linux
	Contexts  []string // NAME=VALUE, as --build-context has them
}

// A Scan is what a build depends on. References are as written, after ARGs.
type Scan struct {
	// Platform is the first one that this holds for.
	Platform string
	// Runtime is the image below the target stage, empty for scratch and for
	// a named context that is no image.
	Runtime string
	// BuildTime are all other images that the target needs, each once, in
	// the order in which they come up.
	BuildTime []string
	// Syntax is the image that a "# syntax=" line names. It is not needed:
	// the frontend that is built in reads the file.
	Syntax string
}

// Read scans a Dockerfile for all platforms at once: Runtime is the first
// platform's, and what only others are built from is in BuildTime. A fault of
// the file is a *steps.Error.
func Read(src []byte, o Options) (*Scan, error) {
	all, err := ReadPlatforms(src, o)
	if err != nil {
		return nil, err
	}
	one := all[0]
	list := imageList{skip: one.Runtime}
	for _, s := range all {
		list.add(s.Runtime)
		for _, ref := range s.BuildTime {
			list.add(ref)
		}
	}
	one.BuildTime = list.refs
	return &one, nil
}

// ReadPlatforms scans a Dockerfile for each platform, and returns what differs:
// one Scan, unless FROM depends on the platform.
func ReadPlatforms(src []byte, o Options) ([]Scan, error) {
	f, err := parse(src, o)
	if err != nil {
		return nil, err
	}
	targets, err := targetPlatforms(o.Platforms)
	if err != nil {
		return nil, err
	}
	var all []Scan
	for _, p := range targets {
		one, err := f.scan(p)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(all, one.same) {
			all = append(all, *one)
		}
	}
	return all, nil
}

func (s *Scan) same(other Scan) bool {
	return s.Runtime == other.Runtime && slices.Equal(s.BuildTime, other.BuildTime)
}

// file is a parsed Dockerfile, and what the build says beside it.
type file struct {
	source
	lex      *shell.Lex
	globals  []instructions.ArgCommand // before the first FROM
	stages   []instructions.Stage
	given    map[string]string // build arguments
	contexts map[string]string // name to image, empty if it is none
	target   string
	syntax   string
	budget   int // for substitutions
}

func parse(src []byte, o Options) (*file, error) {
	f := &file{source: source{name: o.Name, text: src}, target: o.Target, given: arguments(o.BuildArgs), budget: substitutionBudget}
	if f.name == "" {
		f.name = "Dockerfile"
	}
	if err := f.checkSize(); err != nil {
		return nil, err
	}
	var err error
	if f.syntax, err = f.checkSyntax(); err != nil {
		return nil, err
	}
	if f.contexts, err = namedContexts(o.Contexts); err != nil {
		return nil, err
	}
	tree, err := parser.Parse(bytes.NewReader(src))
	if err != nil {
		return nil, f.located(err)
	}
	if err := f.checkTree(tree.AST); err != nil {
		return nil, err
	}
	f.lex = shell.NewLex(tree.EscapeToken)
	if f.stages, f.globals, err = instructions.Parse(tree.AST, nil); err != nil {
		return nil, f.located(err)
	}
	if len(f.stages) == 0 {
		return nil, &steps.Error{File: f.name, Msg: "unexpected dockerfile format: no FROM"}
	}
	return f, nil
}

// targetPlatforms reads the list, each once. acrd builds for Linux whatever
// the host that scans is.
func targetPlatforms(list []string) ([]ocispecs.Platform, error) {
	if len(list) == 0 {
		return []ocispecs.Platform{buildPlatform()}, nil
	}
	var all []ocispecs.Platform
	for _, text := range list {
		p, err := platforms.Parse(text)
		if err != nil {
			return nil, err
		}
		if len(all) == maxPlatforms {
			return nil, fmt.Errorf("more than %d platforms", maxPlatforms)
		}
		if !slices.ContainsFunc(all, func(q ocispecs.Platform) bool { return platforms.Format(p) == platforms.Format(q) }) {
			all = append(all, p)
		}
	}
	return all, nil
}

func buildPlatform() ocispecs.Platform {
	p := platforms.Normalize(platforms.DefaultSpec())
	p.OS, p.OSVersion, p.OSFeatures = "linux", "", nil
	return p
}
