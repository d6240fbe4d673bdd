package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"acrd/runner/mask"
	"acrd/steps"
)

// maxTaskFile bounds a task or values file.
const maxTaskFile = 1 << 20

// A taskFile is what a run is to do, as far as it is known before the file is
// rendered.
type taskFile struct {
	name    string
	text    []byte
	values  steps.Values
	options steps.Options
}

// taskFile reads the file of a request that is not a docker build. Root is the
// source's folder, and nil if there is none yet.
func (r *Runner) taskFile(ctx context.Context, run *Run, root *os.Root) (*taskFile, error) {
	req := &run.Request
	f := &taskFile{name: "task.yaml", text: req.Inline, options: steps.Options{Env: req.Env, Secrets: req.secretIDs()}}
	if req.File != "" {
		f.name = req.File
		var err error
		if f.text, err = ReadFile(root, req.File); err != nil {
			return nil, steps.Errors{{File: req.File, Msg: err.Error()}}
		}
	}
	values, err := req.values(root)
	if err != nil {
		return nil, err
	}
	f.values = steps.Values{Run: run.values(), Values: values, Foreign: req.Foreign, Hidden: slices.Collect(maps.Values(req.SecretValues)), ImageAliases: r.ImageAliases, Alias: r.aliases(ctx, root)}
	return f, nil
}

// aliases reads what "alias: src" names: a file of the source, or a URL.
func (r *Runner) aliases(ctx context.Context, root *os.Root) func(string) ([]byte, error) {
	return func(src string) ([]byte, error) {
		switch {
		case !strings.Contains(src, "://"):
			return ReadFile(root, src)
		case r.FetchText == nil:
			return nil, errors.New("this daemon fetches no aliases")
		}
		return r.FetchText(ctx, src)
	}
}

// load is the task with the values of its secrets, which are none as long as
// nobody has asked for them.
func (f *taskFile) load(secrets map[string]string) (*steps.File, error) {
	v := f.values
	v.Secrets = secrets
	return steps.Load(f.name, f.text, v, f.options)
}

// trial is the task as it would be with other secrets: with some text for
// each, or with none, for a number must be one.
func (f *taskFile) trial() (*steps.File, error) {
	declared, err := steps.DeclaredSecrets(f.name, f.text, f.values)
	if err != nil {
		return nil, err
	}
	some := map[string]string{}
	for _, s := range declared {
		some[s.ID] = mask.Mark
	}
	file, err := f.load(some)
	if err != nil && len(declared) > 0 {
		if file, e := f.load(nil); e == nil {
			return file, nil
		}
	}
	return file, err
}

// secretIDs are the secrets that a step may name without declaring them.
func (req *Request) secretIDs() []string {
	ids := []string{}
	for id := range req.SecretValues {
		ids = append(ids, id)
	}
	for id := range req.Secrets {
		ids = append(ids, id)
	}
	return ids
}

// values are those of the file, and over them those given one by one.
func (req *Request) values(root *os.Root) (map[string]any, error) {
	all, err := steps.ParseValues("values", req.InlineValues)
	if err != nil {
		return nil, err
	}
	if req.ValuesFile != "" && root != nil {
		b, err := ReadFile(root, req.ValuesFile)
		if err != nil {
			return nil, steps.Errors{{File: req.ValuesFile, Msg: err.Error()}}
		}
		if all, err = steps.ParseValues(req.ValuesFile, b); err != nil {
			return nil, err
		}
	}
	for _, given := range []map[string]string{req.Values, req.SecretValues} {
		for k, v := range given {
			all[k] = v
		}
	}
	return all, nil
}

// values are what {{.Run}} says.
func (r *Run) values() steps.RunValues {
	return steps.RunValues{
		ID: r.ID, Registry: r.Request.Registry, RegistryName: RegistryName(r.Request.Registry),
		Commit: cmp.Or(r.Request.Commit, r.Commit), Branch: cmp.Or(r.Request.Branch, r.Branch),
		Repository: r.Request.Repository, GitTag: r.Request.GitTag, TriggeredBy: r.Request.TriggeredBy,
		Date: steps.Date(cmp.Or(r.Started, r.Created, time.Now())), SharedVolume: "acb_vol_" + r.ID,
		OS: runtime.GOOS, Architecture: runtime.GOARCH,
	}
}

// RegistryName is {{.Run.RegistryName}}: the first label of the registry's
// host.
func RegistryName(registry string) string {
	name, _, _ := strings.Cut(registry, ".")
	name, _, _ = strings.Cut(name, ":")
	return name
}

// ACR's timeouts of the two steps of a docker build.
const (
	buildTimeout = 8 * time.Hour
	pushTimeout  = time.Hour
)

// file is the task that a docker build amounts to: a step that builds, and one
// that pushes.
func (b *BuildRequest) file(run *Run) (*steps.File, error) {
	words := slices.Clone(b.Flags)
	for i, w := range words {
		var err error
		if words[i], err = steps.RenderWord(w, steps.Values{Run: run.values()}); err != nil {
			return nil, err
		}
	}
	var tags []string
	for _, t := range b.Tags {
		t, err := steps.RenderWord(t, steps.Values{Run: run.values()})
		if err != nil {
			return nil, err
		}
		tags = append(tags, run.Request.prefixed(t))
	}
	for _, t := range tags {
		words = append(words, "-t", t)
	}
	for _, a := range b.SecretArgs {
		words = append(words, "--build-arg", a)
	}
	if b.Dockerfile != "" {
		words = append(words, "-f", b.Dockerfile)
	}
	context := "."
	if run.Request.Source == "" {
		context = "/dev/null"
	}
	build, err := steps.ParseBuildArgs(append(words, context))
	if err != nil {
		return nil, err
	}
	f := &steps.File{WorkingDirectory: steps.WorkspaceDir, Steps: []*steps.Step{{
		ID: "build", Do: build, Timeout: cmp.Or(run.Request.StepTimeout, buildTimeout), WorkingDirectory: steps.WorkspaceDir,
	}}}
	if b.Push {
		if len(build.Options.Tags) == 0 {
			return nil, errors.New("there is nothing to push: name the image with -t")
		}
		f.Steps = append(f.Steps, &steps.Step{
			ID: "push", When: []string{"build"}, Do: steps.NewPush(build.Options.Tags), Timeout: pushTimeout,
		})
	}
	return f, nil
}

// prefixed puts the run's registry before a tag, unless it names a registry
// that this run knows or is one of Docker Hub's own images.
func (req *Request) prefixed(tag string) string {
	known := []string{req.Registry}
	for _, c := range req.Credentials {
		known = append(known, c.Registry)
	}
	for _, k := range known {
		if k != "" && strings.HasPrefix(tag, k+"/") {
			return tag
		}
	}
	if strings.HasPrefix(tag, "library/") || req.Registry == "" {
		return tag
	}
	return req.Registry + "/" + tag
}

// adopted are the tags of a docker build that name some registry and get the
// run's before it nevertheless. ACR does that too, and does not say so.
func (req *Request) adopted() []string {
	if req.Build == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(req.Build.Tags), func(tag string) bool {
		first, _, ok := strings.Cut(tag, "/")
		return !ok || !strings.ContainsAny(first, ".:") || req.prefixed(tag) == tag
	})
}

// ReadFile reads a task or values file of a source. A link that leads out of
// it is refused, and so is a file of more than 1 MiB.
func ReadFile(root *os.Root, name string) ([]byte, error) {
	if root == nil {
		return nil, errors.New("there is no source that it could be in")
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would keep us waiting
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("unable to find %q in the source", name)
	case err != nil && strings.Contains(err.Error(), "escapes"):
		return nil, errors.New("it is a link that leads out of the source: put the file itself there")
	case err != nil:
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.New("it is not a file")
	}
	b, err := io.ReadAll(io.LimitReader(f, maxTaskFile+1))
	if err == nil && len(b) > maxTaskFile {
		err = fmt.Errorf("larger than %d KiB", maxTaskFile>>10)
	}
	return b, err
}
