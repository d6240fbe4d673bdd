package steps

import (
	"cmp"
	"context"
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

// Image says that the build makes an image, not only what RUN does.
func (o *BuildOptions) Image() bool { return len(o.Tags) > 0 || o.Load }

// BuildOptions are the flags of docker build that BuildKit can honour.
type BuildOptions struct {
	Tags          []string
	File          string // as written; empty is Dockerfile
	Target        string
	BuildArgs     []string // NAME=value
	Labels        []string
	Annotations   []string // [KIND[PLATFORM]:]key=value
	Platforms     []string
	NoCache       bool
	NoCacheFilter []string
	Pull          bool
	Load          bool // an image without a tag is made, too, and so has a digest
	Secrets       []BuildSecret
	SSH           []BuildSSH
	CacheFrom     []string // type=...,key=value, no quotes
	CacheTo       []string
	Contexts      []string // name=value
	Network       string   // "host", "none", or empty
	AddHosts      []string // name:address
	ShmSize       int64
	Ulimits       []Ulimit
	Limits        BuildLimits
	Attests       []string // csv, type=... first, one of each kind
	Outputs       []BuildOutput
	Allow         []string // entitlements that the build asks for
	// CacheRef is set by "cache: enabled": BuildKit imports from and exports
	// to this registry reference.
	CacheRef string
}

// BuildLimits bound each RUN of a build. What is 0 is not bounded.
type BuildLimits struct {
	Memory, MemorySwap             int64 // bytes; MemorySwap -1 is as much as there is
	CPUShares, CPUPeriod, CPUQuota int64
	CPUSetCPUs, CPUSetMems         string
}

// A BuildOutput is a copy of what was built, in the workspace.
type BuildOutput struct {
	// Type is "local", a folder; "tar", its files in an archive; "oci" or
	// "docker", an image in an archive.
	Type string
	// Dest is relative to the working directory.
	Dest string
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

// Scan does a step that builds, once and without its delays and repetitions,
// for an engine that only looks. Other steps have nothing to look at.
func (s *Step) Scan(ctx context.Context, env *Env) (*Result, error) {
	b, ok := s.Do.(*Build)
	if !ok {
		return &Result{}, nil
	}
	return b.run(ctx, s, env)
}

func (b *Build) run(ctx context.Context, s *Step, env *Env) (*Result, error) {
	op := &BuildOp{
		Step: s.ID, BuildOptions: b.Options.onHost(env.Workspace), Workspace: env.Workspace,
		ContextKey: env.ContextKey, Progress: env.Progress, SecretValues: b.secretValues(s, env), Pins: env.Pins,
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
		image.Commit, image.Platforms = result.Commit, op.Platforms
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

// onHost are the options with absolute paths where the host has them.
func (o BuildOptions) onHost(workspace string) BuildOptions {
	move := func(p string) string {
		if filepath.IsAbs(p) {
			return hostPath(workspace, p)
		}
		return p
	}
	o.Secrets, o.SSH, o.Contexts, o.Outputs = slices.Clone(o.Secrets), slices.Clone(o.SSH), slices.Clone(o.Contexts), slices.Clone(o.Outputs)
	for i := range o.Secrets {
		o.Secrets[i].File = move(o.Secrets[i].File)
	}
	for i, key := range o.SSH {
		o.SSH[i].Paths = nil
		for _, p := range key.Paths {
			o.SSH[i].Paths = append(o.SSH[i].Paths, move(p))
		}
	}
	for i, spec := range o.Contexts {
		name, value, _ := strings.Cut(spec, "=")
		o.Contexts[i] = name + "=" + move(value)
	}
	for i := range o.Outputs {
		o.Outputs[i].Dest = move(o.Outputs[i].Dest)
	}
	return o
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
