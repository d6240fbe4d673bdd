package steps

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// A Build is a step that builds an image.
type Build struct {
	// Line is the value of "build:" as written.
	Line    string
	Options BuildOptions
	Context Context
	// Cache is "enabled", "disabled" or empty.
	Cache string
}

const cacheEnabled = "enabled"

// BuildOptions are the flags of docker build that BuildKit can honour.
type BuildOptions struct {
	Tags          []string
	File          string // as written; empty is Dockerfile
	Target        string
	BuildArgs     []string // NAME=value
	Labels        []string
	Annotations   []string
	Platforms     []string
	NoCache       bool
	NoCacheFilter []string
	Pull          bool
	Secrets       []BuildSecret
	SSH           []BuildSSH
	CacheFrom     []string // csv, as docker takes it
	CacheTo       []string
	Contexts      []string // name=value
	Network       string
	AddHosts      []string // name:address
	ShmSize       int64
	Ulimits       []Ulimit
	Memory        int64
	Attests       []string // csv
	Allow         []string // entitlements that the build asks for
	// CacheRef is set by "cache: enabled": BuildKit imports from and exports
	// to this registry reference.
	CacheRef string
}

// A BuildSecret is a file or variable that RUN --mount=type=secret sees.
type BuildSecret struct {
	ID string
	// File is relative to the working directory; Env a variable of the
	// step. Both empty: the value came with the request.
	File, Env string
}

// A BuildSSH is an SSH agent, or keys to be served like one.
type BuildSSH struct {
	ID    string
	Paths []string
}

// parseBuild reads what follows "docker build".
func parseBuild(line string) (*Build, error) {
	words, err := splitWords(line)
	if err != nil {
		return nil, err
	}
	return ParseBuildArgs(words)
}

// ParseBuildArgs reads the words that would follow "docker build" or "docker
// buildx build". What BuildKit, or a build without a docker daemon, cannot do
// is refused by name.
func ParseBuildArgs(words []string) (*Build, error) {
	b := &Build{Line: strings.Join(words, " ")}
	rest, err := b.Options.flags().parse(words, true)
	if err != nil {
		return nil, err
	}
	if len(rest) > 1 {
		return nil, fmt.Errorf("one build context is needed, not %d: %s", len(rest), strings.Join(rest, " "))
	}
	where := "."
	if len(rest) == 1 {
		where = rest[0]
	}
	if where == "-" || b.Options.File == "-" {
		return nil, errors.New("a context or Dockerfile from standard input is not there in a step: write it to a file of the workspace")
	}
	if b.Context, err = ParseContext(where); err != nil {
		return nil, err
	}
	if err := checkReferences(b.Options.Tags); err != nil {
		return nil, err
	}
	return b, nil
}

func (o *BuildOptions) flags() flagSet {
	fs := flagSet{}
	fs.value(o.addTag, "-t", "--tag")
	fs.text(&o.File, "-f", "--file")
	fs.text(&o.Target, "--target")
	fs.list(&o.BuildArgs, "--build-arg")
	fs.list(&o.Labels, "--label")
	fs.list(&o.Annotations, "--annotation")
	fs.value(func(v string) error { o.Platforms = append(o.Platforms, strings.Split(v, ",")...); return nil }, "--platform")
	fs.toggle(&o.NoCache, "--no-cache")
	fs.value(func(v string) error { o.NoCacheFilter = append(o.NoCacheFilter, strings.Split(v, ",")...); return nil }, "--no-cache-filter")
	fs.toggle(&o.Pull, "--pull")
	fs.value(o.addSecret, "--secret")
	fs.value(o.addSSH, "--ssh")
	fs.list(&o.CacheFrom, "--cache-from")
	fs.list(&o.CacheTo, "--cache-to")
	fs.list(&o.Contexts, "--build-context")
	fs.text(&o.Network, "--network", "--net")
	fs.value(func(v string) error { o.AddHosts = append(o.AddHosts, strings.Replace(v, "=", ":", 1)); return nil }, "--add-host")
	fs.value(size(&o.ShmSize), "--shm-size")
	fs.value(size(&o.Memory), "-m", "--memory")
	fs.value(ulimit(&o.Ulimits), "--ulimit")
	fs.list(&o.Attests, "--attest")
	fs.names(attestFlag(&o.Attests, "sbom"), "--sbom")
	fs.names(attestFlag(&o.Attests, "provenance"), "--provenance")
	fs.list(&o.Allow, "--allow")
	o.otherFlags(fs)
	return fs
}

// otherFlags are those that mean nothing here, and those that cannot be had.
func (o *BuildOptions) otherFlags(fs flagSet) {
	fs.ignoredSwitch("--rm", "--force-rm", "--quiet", "-q", "--load", "--compress", "--debug", "-D")
	fs.ignored("--progress", "--cpu-shares", "-c", "--cpu-period", "--cpu-quota", "--cpuset-cpus", "--cpuset-mems", "--memory-swap")
	fs.refusedSwitch("push with a push step", "--push")
	fs.refusedSwitch("BuildKit has no squash", "--squash")
	fs.refused("BuildKit has no security options; see --allow", "--security-opt")
	fs.refused("builds run in the engine's own control group", "--cgroup-parent")
	fs.refused("builds run in the daemon's engine", "--builder")
	fs.refused("a build's result is its image: push it, or copy files out of it in a cmd step", "--output", "-o")
	fs.refused("the digest is in the run's record", "--iidfile", "--metadata-file")
	fs.value(func(v string) error {
		if v == "" || v == "default" {
			return nil
		}
		return fmt.Errorf("%q needs Windows: leave it out", v)
	}, "--isolation")
}

func (o *BuildOptions) addTag(v string) error {
	if v == "" {
		return errors.New("is empty")
	}
	o.Tags = append(o.Tags, v)
	return nil
}

// attestFlag is --sbom and --provenance: a switch with options.
func attestFlag(into *[]string, kind string) flag {
	return flag{isSwitch: true, set: func(v string) error {
		switch strings.ToLower(v) {
		case "true", "1":
			*into = append(*into, "type="+kind)
		case "false", "0":
		default:
			*into = append(*into, "type="+kind+","+v)
		}
		return nil
	}}
}

func (o *BuildOptions) addSecret(v string) error {
	fields, err := csvFields(v)
	if err != nil {
		return err
	}
	var s BuildSecret
	kind := ""
	for _, f := range fields {
		key, value, ok := strings.Cut(f, "=")
		if !ok {
			return fmt.Errorf("%q: want key=value", f)
		}
		switch strings.ToLower(key) {
		case "id":
			s.ID = value
		case "src", "source":
			s.File = value
		case "env":
			s.Env = value
		case "type":
			kind = value
		default:
			return fmt.Errorf("has no field %q", key)
		}
	}
	if kind == "env" && s.Env == "" {
		s.Env, s.File = s.File, ""
	}
	s.ID = cmp.Or(s.ID, filepath.Base(s.File))
	if s.ID == "" || s.ID == "." {
		return errors.New("needs an id")
	}
	o.Secrets = append(o.Secrets, s)
	return nil
}

func (o *BuildOptions) addSSH(v string) error {
	id, paths, _ := strings.Cut(v, "=")
	s := BuildSSH{ID: cmp.Or(id, "default")}
	if paths != "" {
		s.Paths = strings.Split(paths, ",")
	}
	o.SSH = append(o.SSH, s)
	return nil
}

func csvFields(v string) ([]string, error) {
	fields, err := csv.NewReader(strings.NewReader(v)).Read()
	if err != nil {
		return nil, fmt.Errorf("%q: %w", v, err)
	}
	return fields, nil
}

func (b *Build) run(ctx context.Context, s *Step, env *Env) (*Result, error) {
	op := &BuildOp{
		Step: s.ID, BuildOptions: b.Options, Workspace: env.Workspace,
		ContextKey: env.ContextKey, Progress: env.Progress, SecretValues: b.secretValues(s, env),
		Pushed: slices.ContainsFunc(b.Options.Tags, func(t string) bool { return slices.Contains(env.Pushed, normalTag(t)) }),
	}
	op.CacheRef = b.cacheRef(s, env)
	result := &Result{}
	for _, t := range b.Options.Tags {
		if err := checkReference(t); err != nil {
			return nil, &RefusedError{err.Error()}
		}
	}
	if err := b.locate(ctx, s, env, op, result); err != nil {
		return result, err
	}
	op.BuildArgs = slices.Clone(op.BuildArgs)
	for i, a := range op.BuildArgs {
		if !strings.Contains(a, "=") { // docker takes it from its own environment; ours is the step's
			op.BuildArgs[i] = a + "=" + lookup(s.Env, a)
		}
	}
	env.Notice("Launching container with name: %s", s.ID)
	image, err := env.Engine.Build(ctx, op, env.Output)
	if image != nil {
		image.Commit = result.Commit
		result.Images = append(result.Images, image)
	}
	if err == nil {
		env.Notice("Successfully executed container: %s", s.ID)
	}
	return result, err
}

// secretValues are those secrets of the build line that are not in files:
// variables of the step, and what came with the request.
func (b *Build) secretValues(s *Step, env *Env) map[string][]byte {
	values := map[string][]byte{}
	for _, secret := range b.Options.Secrets {
		switch {
		case secret.Env != "":
			values[secret.ID] = []byte(lookup(s.Env, secret.Env))
		case secret.File == "":
			values[secret.ID] = env.Secrets[secret.ID]
		}
	}
	return values
}

// locate finds the context on the host, fetching it if it is remote. A local
// one is relative to the working directory, and so is the Dockerfile, as with
// docker; in a remote one the Dockerfile is relative to the context.
func (b *Build) locate(ctx context.Context, s *Step, env *Env, op *BuildOp, result *Result) error {
	work := hostPath(env.Workspace, cmp.Or(s.WorkingDirectory, WorkspaceDir))
	switch b.Context.Kind {
	case ContextNone:
		op.Root = work
		return nil
	case ContextLocal:
		op.Context, op.Root = filepath.Join(work, b.Context.Path), work
		if filepath.IsAbs(b.Context.Path) {
			op.Context = hostPath(env.Workspace, b.Context.Path)
		}
		return nil
	}
	fetched, err := env.Sources.Fetch(ctx, b.Context, s.ID, env.Output)
	if err != nil {
		return &BuildError{fmt.Errorf("context %s: %w", b.Context, err)}
	}
	op.Context, op.Root, result.Commit = fetched.Dir, fetched.Dir, fetched.Commit
	return nil
}

// hostPath is where the host has what a step sees at path. Paths outside the
// workspace lead nowhere, and the engine says so.
func hostPath(workspace, path string) string {
	rel, err := filepath.Rel(WorkspaceDir, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return filepath.Join(workspace, "\x00outside of "+WorkspaceDir)
	}
	return filepath.Join(workspace, rel)
}

func lookup(env []string, name string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}
