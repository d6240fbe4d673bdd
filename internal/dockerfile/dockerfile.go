// Package dockerfile reads from a Dockerfile which images a build of it starts
// from, with BuildKit's own parser and without running anything.
//
// It sees what acb's line scanner does not: FROM --platform, ARG defaults and
// nesting, continuation lines, heredocs, COPY --from and RUN --mount=from of
// images. Stages that the target does not need do not count.
package dockerfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// Options are what a build says beside its Dockerfile.
type Options struct {
	Target    string
	BuildArgs []string // NAME=value
	Platforms []string // the first one counts; empty is this host's
}

// A Scan is what a build depends on. References are as written, after ARGs.
type Scan struct {
	// Runtime is the image below the target stage, empty for scratch.
	Runtime string
	// BuildTime are all other images that the target needs, each once, in
	// the order in which they come up.
	BuildTime []string
}

// Read scans a Dockerfile. A syntax error says its line.
func Read(src []byte, o Options) (*Scan, error) {
	parsed, err := parser.Parse(bytes.NewReader(src))
	if err != nil {
		return nil, fmt.Errorf("dockerfile parse error: %w", err)
	}
	stages, globals, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		return nil, fmt.Errorf("dockerfile parse error: %w", err)
	}
	if len(stages) == 0 {
		return nil, errors.New("unexpected dockerfile format: no FROM")
	}
	s := &scanner{lex: shell.NewLex(parsed.EscapeToken), given: arguments(o.BuildArgs), stages: stages}
	s.globals = s.globalArgs(globals, o.Platforms)
	return s.scan(o.Target)
}

// scanner knows the stages and what ARG names mean before the first of them.
type scanner struct {
	lex     *shell.Lex
	given   map[string]string
	globals map[string]string
	stages  []instructions.Stage
	found   *Scan
	visited map[int]bool
}

func arguments(list []string) map[string]string {
	args := map[string]string{}
	for _, a := range list {
		name, value, _ := strings.Cut(a, "=")
		args[name] = value
	}
	return args
}

// globalArgs are the platform's own and those above the first FROM.
func (s *scanner) globalArgs(args []instructions.ArgCommand, wanted []string) map[string]string {
	build := platforms.Normalize(platforms.DefaultSpec())
	target := build
	if len(wanted) > 0 {
		if p, err := platforms.Parse(wanted[0]); err == nil {
			target = p
		}
	}
	env := map[string]string{
		"BUILDPLATFORM": platforms.Format(build), "BUILDOS": build.OS, "BUILDARCH": build.Architecture, "BUILDVARIANT": build.Variant,
		"TARGETPLATFORM": platforms.Format(target), "TARGETOS": target.OS, "TARGETARCH": target.Architecture, "TARGETVARIANT": target.Variant,
	}
	for _, a := range args {
		s.define(env, a, nil)
	}
	return env
}

// define adds what an ARG instruction means to env.
func (s *scanner) define(env map[string]string, a instructions.ArgCommand, outer map[string]string) {
	for _, arg := range a.Args {
		value, ok := s.given[arg.Key]
		if !ok {
			if v, inherited := outer[arg.Key]; inherited && arg.Value == nil {
				value = v
			} else if arg.Value != nil {
				value = s.expand(*arg.Value, env)
			} else {
				continue
			}
		}
		env[arg.Key] = value
	}
}

// expand resolves variables; a word that cannot be stays as it is.
func (s *scanner) expand(word string, env map[string]string) string {
	out, _, err := s.lex.ProcessWord(word, variables(env))
	if err != nil {
		return word
	}
	return out
}

func (s *scanner) scan(target string) (*Scan, error) {
	last, err := s.find(target)
	if err != nil {
		return nil, err
	}
	s.found, s.visited = &Scan{}, map[int]bool{}
	s.found.Runtime, err = s.origin(last)
	if err != nil {
		return nil, err
	}
	if err := s.visit(last); err != nil {
		return nil, err
	}
	s.found.BuildTime = slices.DeleteFunc(s.found.BuildTime, func(ref string) bool { return ref == s.found.Runtime })
	return s.found, nil
}

func (s *scanner) find(target string) (int, error) {
	if target == "" {
		return len(s.stages) - 1, nil
	}
	if i, ok := instructions.HasStage(s.stages, target); ok {
		return i, nil
	}
	if i, err := strconv.Atoi(target); err == nil && i >= 0 && i < len(s.stages) {
		return i, nil
	}
	return 0, fmt.Errorf("target stage %q could not be found", target)
}

// base is what a stage starts from: an earlier stage, or an image.
func (s *scanner) base(i int) (stage int, image string, err error) {
	name := s.expand(s.stages[i].BaseName, s.globals)
	if name == "" {
		return -1, "", fmt.Errorf("base name (%s) should not be blank: give its ARG a value", s.stages[i].BaseName)
	}
	if j, ok := instructions.HasStage(s.stages[:i], name); ok {
		return j, "", nil
	}
	if name == "scratch" {
		return -1, "", nil
	}
	return -1, name, nil
}

// origin follows FROM to the image at its end.
func (s *scanner) origin(i int) (string, error) {
	for {
		j, image, err := s.base(i)
		if err != nil || j < 0 {
			return image, err
		}
		i = j
	}
}

// visit notes the images that a stage needs, and those of the stages it needs.
func (s *scanner) visit(i int) error {
	if s.visited[i] {
		return nil
	}
	s.visited[i] = true
	j, image, err := s.base(i)
	switch {
	case err != nil:
		return err
	case j >= 0:
		if err := s.visit(j); err != nil {
			return err
		}
	case image != "":
		s.note(image)
	}
	env := map[string]string{}
	for _, c := range s.stages[i].Commands {
		for _, from := range s.sources(c, env) {
			if err := s.visitSource(i, from); err != nil {
				return err
			}
		}
	}
	return nil
}

// sources are the names behind --from in an instruction.
func (s *scanner) sources(c instructions.Command, env map[string]string) []string {
	switch c := c.(type) {
	case *instructions.ArgCommand:
		s.define(env, *c, s.globals)
	case *instructions.CopyCommand:
		return []string{c.From}
	case *instructions.RunCommand:
		var from []string
		for _, m := range instructions.GetMounts(c) {
			from = append(from, s.expand(m.From, env))
		}
		return from
	}
	return nil
}

func (s *scanner) visitSource(i int, from string) error {
	if from == "" || from == "scratch" {
		return nil
	}
	if j, ok := instructions.HasStage(s.stages[:i], from); ok {
		return s.visit(j)
	}
	if j, err := strconv.Atoi(from); err == nil {
		if j < 0 || j >= i {
			return fmt.Errorf("invalid from flag value %s: no such stage before it", from)
		}
		return s.visit(j)
	}
	s.note(from)
	return nil
}

func (s *scanner) note(image string) {
	if !slices.Contains(s.found.BuildTime, image) {
		s.found.BuildTime = append(s.found.BuildTime, image)
	}
}

// CheckSyntax refuses a "# syntax=" line that names another frontend than
// Dockerfile's own: an image that would run inside the build, with its
// secrets. The usual docker/dockerfile ones mean the frontend that is built in.
func CheckSyntax(src []byte) error {
	ref, _, where, ok := parser.DetectSyntax(src)
	if !ok {
		return nil
	}
	name := strings.TrimPrefix(ref, "docker.io/")
	name, _, _ = strings.Cut(name, "@")
	name, _, _ = strings.Cut(name, ":")
	switch name {
	case "docker/dockerfile", "docker/dockerfile-upstream", "dockerfile":
		return nil
	}
	line := 1
	if len(where) > 0 {
		line = cmp.Or(where[0].Start.Line, 1)
	}
	return fmt.Errorf("dockerfile line %d: # syntax=%s names a frontend that is not allowed: builds use the Dockerfile frontend that is built in (docker/dockerfile)", line, ref)
}

// variables are a map as BuildKit's lexer wants it.
type variables map[string]string

func (v variables) Get(name string) (string, bool) { value, ok := v[name]; return value, ok }

func (v variables) Keys() []string {
	keys := make([]string, 0, len(v))
	for k := range v {
		keys = append(keys, k)
	}
	return keys
}
