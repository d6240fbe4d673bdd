package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"acrd/internal/api"
	"acrd/steps"

	"github.com/spf13/pflag"
)

// buildFlags are the flags of acrd build: those of az acr build, and those of
// docker build that BuildKit honours.
type buildFlags struct {
	images, args, secretArgs    []string
	file, target, platform      string
	isolation                   string
	noPush, noCache, pull, push bool
	labels, secrets, ssh        []string
	contexts                    []string
	pass                        []string // words for docker build's own parser
	common                      requestFlags
	wait                        waiting
	quiet                       bool
	idFile, metadataFile        string
	load                        bool
	ignoredNoFormat             bool
}

func build(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "build [FLAGS] SOURCE", `Build an image and push it to the registry.

SOURCE is a folder, a git URL (https://host/repo.git#ref:folder), the URL of a
tar archive, oci://registry/repository:tag, /dev/null, or - for standard input:
a Dockerfile, or a tar archive. Ctrl-C cancels the build.`)
	f := &buildFlags{}
	f.define(fs, s)
	rest, err := parse(fs, args, 1, 1)
	if err != nil {
		return err
	}
	if f.quiet {
		f.wait.progress = "quiet"
	}
	f.quiet = f.wait.progress == "quiet"
	if err := f.wait.check(s.stdout); err != nil {
		return err
	}
	if err := checkIsolation(f.isolation); err != nil {
		return err
	}
	conn, err := f.common.server.connect(ctx, s)
	if err != nil {
		return err
	}
	return conn.during(ctx, func() error { return f.build(ctx, s, conn, rest[0]) })
}

func (f *buildFlags) define(fs *pflag.FlagSet, s *session) {
	fs.StringArrayVarP(&f.images, "image", "t", nil, "name of the image, repository:tag; the registry is put before it (repeat)")
	fs.StringArrayVar(&f.images, "tag", nil, "same as --image")
	fs.StringVarP(&f.file, "file", "f", "", "Dockerfile, relative to this folder; in a remote source, relative to that; - is standard input")
	fs.BoolVar(&f.noPush, "no-push", false, "build only")
	fs.StringArrayVar(&f.args, "build-arg", nil, "build argument NAME[=VALUE]; without a value, this environment's (repeat)")
	fs.StringArrayVar(&f.secretArgs, "secret-build-arg", nil, "build argument whose value is not shown; it stays in the image's history, so prefer --secret (repeat)")
	fs.StringVar(&f.target, "target", "", "stage to build")
	fs.StringVar(&f.platform, "platform", "", "platforms to build for: linux/amd64,linux/arm64")
	fs.StringVar(&f.isolation, "isolation", "", "default; the others, process and hyperv, need Windows")
	fs.BoolVar(&f.noCache, "no-cache", false, "do not use the build cache")
	fs.BoolVar(&f.pull, "pull", false, "ask for newer base images even if some are here")
	fs.StringArrayVar(&f.labels, "label", nil, "label NAME=VALUE (repeat)")
	fs.StringArrayVar(&f.secrets, "secret", nil, "secret for RUN --mount=type=secret: id=NAME,src=FILE or id=NAME,env=VARIABLE (repeat)")
	fs.StringArrayVar(&f.ssh, "ssh", nil, "SSH agent or key for RUN --mount=type=ssh: default, or ID=SOCKET-OR-KEY (repeat)")
	fs.StringArrayVar(&f.contexts, "build-context", nil, "further context NAME=FOLDER, of the source, or NAME=docker-image://... or URL (repeat)")
	f.defineDocker(fs)
	fs.BoolVar(&f.push, "push", false, "push the image: the default when it has a name")
	fs.BoolVar(&f.load, "load", false, "make the image even if it has no name; there is no docker engine to load it into")
	f.common.define(fs, s)
	f.wait.define(fs)
	fs.StringVar(&f.wait.progress, "progress", "auto", "how to show the build: auto, tty, plain, quiet or rawjson")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "print the digest only: same as --progress quiet")
	fs.StringVar(&f.idFile, "iidfile", "", "file to write the digest of the image to")
	fs.StringVar(&f.metadataFile, "metadata-file", "", "file to write names and digest of the image to, as JSON")
	fs.BoolVar(&f.ignoredNoFormat, "no-format", false, "ignored: nothing is formatted but on a terminal")
	for _, name := range []string{"load", "no-format", "tag", "push"} {
		_ = fs.MarkHidden(name)
	}
	fs.SetNormalizeFunc(nil)
}

func (f *buildFlags) build(ctx context.Context, s *session, c *connection, source string) error {
	notes := s.stderr
	source, remove, err := f.fromInput(ctx, s, source)
	if err != nil {
		return err
	}
	defer remove()
	req, agents, err := f.request(s)
	if err != nil {
		return err
	}
	if err := f.addContexts(req, source); err != nil {
		return err
	}
	sent, err := c.sendSource(ctx, notes, source, f.file)
	if err != nil {
		return err
	}
	req.SourceLocation, req.DockerFilePath = sent.location, sent.dockerfile
	if err := f.common.apply(c, s, req); err != nil {
		return err
	}
	parking, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	c.offer(parking, agents)
	run, err := c.schedule(ctx, req)
	if err != nil {
		return err
	}
	f.announce(s, run)
	f.wait.succeeded = f.writeFiles
	return c.follow(ctx, s, run, f.wait)
}

// writeFiles leaves what scripts want to know of the image.
func (f *buildFlags) writeFiles(p api.RunProperties) error {
	if len(p.BuiltImages) == 0 {
		return nil
	}
	digest := p.BuiltImages[0].Digest
	if f.idFile != "" {
		if err := os.WriteFile(f.idFile, []byte(digest), 0o666); err != nil { //nolint:gosec // as docker does: the umask decides
			return err
		}
	}
	if f.metadataFile == "" {
		return nil
	}
	var names []string
	for _, i := range p.BuiltImages {
		if i.Repository == "" {
			continue // it has no name
		}
		names = append(names, i.Registry+"/"+i.Repository+":"+i.Tag)
	}
	b, err := json.MarshalIndent(map[string]string{
		"containerimage.digest": digest, "image.name": strings.Join(names, ","), "acrd.run": p.RunID,
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(f.metadataFile, append(b, '\n'), 0o666) //nolint:gosec // as docker does: the umask decides
}

// announce is what az acr build says when the build is queued.
func (f *buildFlags) announce(s *session, run *api.Run) {
	out := s.stdout
	if f.wait.output.document() || f.wait.progress == "quiet" {
		out = s.stderr
	}
	fmt.Fprintf(out, "Queued a build with ID: %s\n", run.Properties.RunID)
}

// request makes the body, but for the source.
func (f *buildFlags) request(s *session) (*api.RunRequest, map[string]steps.Dial, error) {
	push := !f.noPush && len(f.images) > 0
	req := &api.RunRequest{
		Type: api.DockerBuild, ImageNames: f.images, IsPushEnabled: &push, NoCache: f.noCache, Target: f.target,
		BuildFlags: f.pass,
	}
	if len(f.images) == 0 && !f.noPush {
		fmt.Fprintln(s.stderr, "'--image or -t' is not provided. Skipping image push after build.")
	}
	if slices.ContainsFunc(f.images, func(name string) bool { return strings.Contains(name, ".Build.ID") }) {
		fmt.Fprintln(s.stderr, ".Build.ID is no longer supported as valid substitution, use .Run.ID instead.")
	}
	if f.pull {
		req.BuildFlags = append(req.BuildFlags, "--pull")
	}
	if f.platform != "" {
		platform, err := buildPlatform(f.platform)
		if err != nil {
			return nil, nil, err
		}
		req.BuildFlags = append(req.BuildFlags, "--platform", platform)
	}
	for _, l := range f.labels {
		req.BuildFlags = append(req.BuildFlags, "--label", l)
	}
	if f.load || f.quiet || f.idFile != "" || f.metadataFile != "" {
		req.BuildFlags = append(req.BuildFlags, "--load") // its digest is asked for
	}
	// What cannot be done is said before anything is sent.
	if _, err := steps.ParseBuildArgs(append(slices.Clone(req.BuildFlags), ".")); err != nil {
		return nil, nil, &usageError{err.Error()}
	}
	for _, list := range []struct {
		args   []string
		secret bool
	}{{f.args, false}, {f.secretArgs, true}} {
		for _, a := range list.args {
			name, value, ok := strings.Cut(a, "=")
			if !ok {
				value = s.getenv(name)
			}
			req.Arguments = append(req.Arguments, api.Argument{Name: name, Value: value, IsSecret: list.secret})
		}
	}
	if err := f.readSecrets(s, req); err != nil {
		return nil, nil, err
	}
	agents, err := f.findAgents(s, req)
	return req, agents, err
}

// checkIsolation knows acb's words, of which Linux has but the default.
func checkIsolation(word string) error {
	switch word {
	case "", "default":
		return nil
	case "process", "hyperv":
		return &usageError{fmt.Sprintf("--isolation %s: acrd builds on Linux, for Linux", word)}
	}
	return &usageError{"invalid isolation: " + word}
}

// buildPlatform accepts az's os[/arch[/variant]] and docker's lists.
func buildPlatform(list string) (string, error) {
	var all []string
	for p := range strings.SplitSeq(list, ",") {
		parts := strings.Split(strings.ToLower(p), "/")
		if parts[0] == "windows" {
			return "", &usageError{"--platform windows: acrd builds on Linux, for Linux"}
		}
		if parts[0] != "linux" || len(parts) > 3 {
			return "", &usageError{fmt.Sprintf("%q is not a platform: want linux/ARCH[/VARIANT]", p)}
		}
		if len(parts) == 1 {
			parts = append(parts, "amd64")
		}
		switch parts[1] {
		case "x86", "x64", "x86_64":
			parts[1] = "amd64"
		}
		all = append(all, strings.Join(parts, "/"))
	}
	return strings.Join(all, ","), nil
}
