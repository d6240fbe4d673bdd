package steps

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// parseBuild reads the value of "build:", which follows "docker build". An
// error is a *lineError or lineErrors.
func parseBuild(line string, m *marks) (*Build, error) {
	words, err := readWords(line)
	if err != nil {
		return nil, err
	}
	b, err := readBuild(withMarks(words, m))
	if err != nil {
		return nil, err
	}
	b.Line = m.all(line)
	return b, nil
}

// ParseBuildArgs reads the words that would follow "docker build" or "docker
// buildx build". What BuildKit, or a build without a docker daemon, cannot do
// is refused by name, and so is every value that could not be meant.
func ParseBuildArgs(words []string) (*Build, error) {
	b, err := readBuild(placeless(words))
	if err != nil {
		return nil, err
	}
	b.Line = strings.Join(words, " ")
	return b, nil
}

// readBuild reads flags and the context. Without one the context is the
// working directory, as acb has it.
func readBuild(words []word) (*Build, error) {
	b := &Build{}
	rest, faults := b.Options.flags().parse(words, true)
	where := word{text: ".", at: -1}
	switch {
	case len(rest) > 1 && len(faults) < maxLineErrors:
		faults.add(rest[1].at, "%s", manyContexts(rest))
	case len(rest) == 1:
		where = rest[0]
	}
	if where.text == "-" {
		faults.add(where.at, "a context from standard input is not there in a step: write it to the workspace")
	} else {
		var err error
		if b.Context, err = ParseContext(where.text); err != nil && where.brought {
			err = fmt.Errorf("the context %w", errNotTaken)
		}
		if err != nil {
			faults.add(where.at, "%s", err)
		}
	}
	if err := faults.err(); err != nil {
		return nil, err
	}
	return b, nil
}

func manyContexts(rest []word) string {
	if rest[0].text == "docker" || rest[0].text == "buildx" {
		return "begins with docker build: leave that out, and write what follows it"
	}
	var names []string
	for _, w := range rest[:min(len(rest), 5)] {
		names = append(names, w.shown())
	}
	return fmt.Sprintf("one build context is needed, not %d: %s", len(rest), strings.Join(names, " "))
}

// flags are those of docker build --help and docker buildx build --help.
func (o *BuildOptions) flags() flagSet {
	fs := make(flagSet, 100)
	fs.list(&o.Tags, checkTag, "-t", "--tag")
	fs.value(o.file, "-f", "--file")
	fs.value(nameOnly(&o.Target), "--target")
	fs.list(&o.BuildArgs, checkAssignment, "--build-arg")
	fs.list(&o.Labels, checkLabel, "--label")
	fs.value(annotation(&o.Annotations), "--annotation")
	fs.value(platforms(&o.Platforms), "--platform")
	fs.toggle(&o.NoCache, "--no-cache")
	fs.value(o.noCacheFilter, "--no-cache-filter")
	fs.toggle(&o.Pull, "--pull")
	fs.toggle(&o.Load, "--load")
	fs.value(o.secret, "--secret")
	fs.value(o.ssh, "--ssh")
	fs.value(cache(&o.CacheFrom), "--cache-from")
	fs.value(cache(&o.CacheTo, "mode", "image-manifest", "oci-mediatypes", "compression", "compression-level",
		"force-compression", "ignore-error"), "--cache-to")
	fs.list(&o.Contexts, namedContext, "--build-context")
	fs.value(o.network, "--network", "--net")
	fs.value(addHost(&o.AddHosts), "--add-host")
	fs.value(size(&o.ShmSize), "--shm-size")
	fs.value(ulimit(&o.Ulimits), "--ulimit")
	fs.value(attest(&o.Attests), "--attest")
	fs.names(shorthand(&o.Attests, "sbom"), "--sbom")
	fs.names(shorthand(&o.Attests, "provenance"), "--provenance")
	fs.value(o.allow, "--allow")
	fs.value(o.output, "-o", "--output")
	o.Limits.flags(fs)
	otherBuildFlags(fs)
	return fs
}

func (l *BuildLimits) flags(fs flagSet) {
	fs.value(size(&l.Memory), "-m", "--memory")
	fs.value(swap(&l.MemorySwap), "--memory-swap")
	fs.value(count(&l.CPUShares, 1), "-c", "--cpu-shares")
	fs.value(count(&l.CPUPeriod, 1), "--cpu-period")
	fs.value(count(&l.CPUQuota, 1), "--cpu-quota")
	fs.value(nameOnly(&l.CPUSetCPUs), "--cpuset-cpus")
	fs.value(nameOnly(&l.CPUSetMems), "--cpuset-mems")
}

// otherBuildFlags are those that mean nothing here, and those that cannot be
// had.
func otherBuildFlags(fs flagSet) {
	fs.ignoredSwitch("--rm", "--force-rm", "--quiet", "-q", "--compress", "--debug", "-D", "--disable-content-trust")
	fs.value(only("the log is plain", "auto", "plain", "tty", "quiet", "rawjson", "none"), "--progress")
	fs.value(only("it needs Windows: leave it out", "default"), "--isolation")
	fs.value(only("it needs a builder of its own; lint the Dockerfile elsewhere", "build"), "--call")
	fs.refusedSwitch("lint the Dockerfile elsewhere", "--check")
	fs.refusedSwitch("push with a push step", "--push")
	fs.refusedSwitch("BuildKit has no squash", "--squash")
	fs.refusedSwitch("a step has no standard input", "--stream")
	fs.refused("BuildKit has no security options; see --allow", "--security-opt")
	fs.refused("builds run in the engine's own control group", "--cgroup-parent")
	fs.refused("builds run in the daemon's engine", "--builder")
	fs.refused("there is no policy engine", "--policy")
	fs.refused("a step has no terminal", "--invoke", "--on")
	fs.refused("it is for debugging a builder", "--print", "--root", "--detach", "--server-config")
	fs.refused("the digest is in the run's record", "--iidfile", "--metadata-file")
}

func checkTag(v string) error {
	switch {
	case v == "":
		return errors.New("is empty")
	case strings.Contains(v, "@"):
		return fmt.Errorf("%q has a digest: want [REGISTRY/]NAME[:TAG]", brief(v))
	}
	return checkReference(v)
}

func (o *BuildOptions) file(v string) error {
	switch {
	case v == "-":
		return errors.New("- is standard input, which is not there in a step: write the Dockerfile to the workspace")
	case strings.Contains(v, "://"):
		return fmt.Errorf("%s is not supported: the Dockerfile is a file, of the context or the workspace", brief(v))
	}
	o.File = v
	return nil
}

// nameOnly is a value that has no blanks and is not empty.
func nameOnly(into *string) func(string) error {
	return func(v string) error {
		if v == "" || strings.ContainsAny(v, " \t\r\n") {
			return fmt.Errorf("%q is not a name", brief(v))
		}
		*into = v
		return nil
	}
}

func (o *BuildOptions) noCacheFilter(v string) error {
	for stage := range strings.SplitSeq(v, ",") {
		if err := checkName(stage); err != nil {
			return fmt.Errorf("%q: want STAGE[,STAGE]", brief(v))
		}
		o.NoCacheFilter = append(o.NoCacheFilter, stage)
	}
	return nil
}

// network takes BuildKit's three. bridge was the default of docker's classic
// builder.
func (o *BuildOptions) network(v string) error {
	switch v {
	case "host", "none":
		o.Network = v
		return nil
	case "default", "bridge", "":
		o.Network = ""
		return nil
	}
	return fmt.Errorf("%s is not supported: a build is on a network of its own; want default, none or host", brief(v))
}

func (o *BuildOptions) allow(v string) error {
	for one := range strings.SplitSeq(v, ",") {
		if !slices.Contains([]string{AllowInsecure, AllowHostNet, AllowDevice}, one) {
			return fmt.Errorf("%s is not supported: a build can be allowed %s, %s or %s", brief(v), AllowInsecure, AllowHostNet, AllowDevice)
		}
		o.Allow = append(o.Allow, one)
	}
	return nil
}

func (o *BuildOptions) secret(v string) error {
	fields, err := keyValues(v)
	if err != nil {
		return err
	}
	var s BuildSecret
	kind := ""
	for _, f := range fields {
		switch f.key {
		case "id":
			s.ID = f.value
		case "src", "source":
			s.File = f.value
		case "env":
			s.Env = f.value
		case "type":
			kind = f.value
		default:
			return fmt.Errorf("has no field %q: want id=ID,src=FILE or id=ID,env=NAME", brief(f.key))
		}
	}
	if kind == "env" && s.Env == "" {
		s.Env, s.File = s.File, ""
	}
	s.ID = cmp.Or(s.ID, filepath.Base(s.File))
	switch {
	case s.ID == "" || s.ID == ".":
		return errors.New("needs an id: id=ID,src=FILE or id=ID,env=NAME")
	case kind != "" && kind != "file" && kind != "env":
		return fmt.Errorf("type=%s: want file or env", brief(kind))
	case s.File != "" && s.Env != "":
		return errors.New("has both a file and a variable: want id=ID,src=FILE or id=ID,env=NAME")
	}
	o.Secrets = append(o.Secrets, s)
	return nil
}

func (o *BuildOptions) ssh(v string) error {
	id, paths, keyed := strings.Cut(v, "=")
	s := BuildSSH{ID: cmp.Or(id, "default")}
	if keyed {
		s.Paths = strings.Split(paths, ",")
	}
	if slices.Contains(s.Paths, "") || strings.ContainsAny(id, " \t\r\n,") {
		return fmt.Errorf("%q: want ID or ID=KEY[,KEY]", brief(v))
	}
	o.SSH = append(o.SSH, s)
	return nil
}

// output is -o FOLDER or type=...,dest=...: a copy in the workspace. The image
// itself is kept for later steps by -t, and goes to a registry by a push step.
func (o *BuildOptions) output(v string) error {
	out := BuildOutput{Type: "local", Dest: v}
	if strings.Contains(v, "=") {
		var err error
		if out, err = parseOutput(v); err != nil {
			return err
		}
	}
	switch {
	case out.Type == "docker" && out.Dest == "": // --load
		return nil
	case out.Type == "registry":
		return errors.New("type=registry is not supported: push with a push step")
	case out.Type == "image":
		return errors.New("type=image is not supported: name the image with -t, and push it with a push step")
	case !slices.Contains([]string{"local", "tar", "oci", "docker"}, out.Type):
		return fmt.Errorf("type=%s: want local, tar, oci or docker", brief(out.Type))
	case out.Dest == "" || out.Dest == "-":
		return fmt.Errorf("%s: want a path in the workspace, dest=PATH", brief(v))
	}
	o.Outputs = append(o.Outputs, out)
	return nil
}

func parseOutput(v string) (BuildOutput, error) {
	fields, err := keyValues(v)
	out := BuildOutput{}
	for _, f := range fields {
		switch f.key {
		case "type":
			out.Type = f.value
		case "dest":
			out.Dest = f.value
		default:
			if out.Type != "registry" && out.Type != "image" {
				return out, fmt.Errorf("%s=%s is not supported: want type=TYPE,dest=PATH", brief(f.key), brief(f.value))
			}
		}
	}
	return out, err
}
