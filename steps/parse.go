package steps

import (
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"gopkg.in/yaml.v3"
)

const (
	defaultVersion     = "v1.0.0"
	defaultStepTimeout = 600 * time.Second
	defaultRetryDelay  = 5 * time.Second
	rootID             = "acb_root"
)

// DefaultStepTimeout is the timeout of a step when the file names none.
const DefaultStepTimeout = defaultStepTimeout

var versions = []string{"1.0-preview-1", "v1.0.0", "v1.1.0"}

// Options are what a task file does not say itself.
type Options struct {
	// Env has the lowest priority of all.
	Env []string
	// Network, if not empty, is there already and becomes the default.
	Network string
	// WorkingDirectory is where steps start that say nothing.
	WorkingDirectory string
	// ImageAliases replace the first word of a cmd.
	ImageAliases map[string]string

	marks *marks
}

// Parse reads a rendered task file. Every fault is reported, all of them as an
// Errors; a File that Parse returns is valid.
func Parse(name string, src []byte, o Options) (*File, error) {
	p := &parser{decoder: newDecoder(name, src), options: o}
	root := p.root(src)
	var raw rawFile
	if root != nil {
		p.readFile(root, &raw)
	}
	if len(p.faults) > 0 { // what could not be read cannot be judged
		return nil, p.err()
	}
	f := p.file(root, &raw)
	return f, p.err()
}

// A parser goes from nodes to raw values, and from those to a File.
type parser struct {
	*decoder
	options Options
}

// rawFile and rawStep are the file as written, with its names.
type rawFile struct {
	version, workingDirectory string
	stepTimeout               int
	env                       []string
	envNode                   *yaml.Node
	secrets                   []rawSecret
	networks                  []Network
	volumes                   []rawVolume
	steps                     []*rawStep
	versionNode               *yaml.Node
}

type rawSecret struct {
	Secret
	node *yaml.Node
}

type rawVolume struct {
	name  string
	files map[string]string
	node  *yaml.Node
}

type rawStep struct {
	node                                 *yaml.Node
	at                                   map[string]*yaml.Node // key -> value
	id, cmd, build                       string
	push                                 []string
	when                                 []string
	timeout, startDelay                  int
	retries, retryDelay, repeat          int
	retryOnErrors                        []string
	ignoreErrors                         bool
	exitedWith, exitedWithout            []int
	keep, detach, privileged             bool
	user, network, isolation, cpus       string
	entryPoint                           string
	env, expose, ports                   []string
	volumeMounts                         []VolumeMount
	workingDirectory                     string
	disableWorkingDirectoryOverride      bool
	pull                                 bool
	cmdDownloadRetries, cmdDownloadDelay int
	cache                                string
}

func (p *parser) readFile(n *yaml.Node, raw *rawFile) {
	p.fields(n, map[string]func(*yaml.Node){
		"version":          func(n *yaml.Node) { raw.versionNode = n; p.text(&raw.version)(n) },
		"stepTimeout":      p.integer(&raw.stepTimeout),
		"workingDirectory": p.text(&raw.workingDirectory),
		"env":              func(n *yaml.Node) { raw.envNode = n; p.texts(&raw.env)(n) },
		"secrets":          p.each("[]*graph.Secret", func(n *yaml.Node) { raw.secrets = append(raw.secrets, p.readSecret(n)) }),
		"networks":         p.each("[]*graph.Network", func(n *yaml.Node) { raw.networks = append(raw.networks, p.readNetwork(n)) }),
		"volumes":          p.each("[]*volume.Volume", func(n *yaml.Node) { raw.volumes = append(raw.volumes, p.readVolume(n)) }),
		"steps":            p.each("[]*graph.Step", func(n *yaml.Node) { raw.steps = append(raw.steps, p.readStep(n)) }),
	})
}

func (p *parser) readSecret(n *yaml.Node) rawSecret {
	s := rawSecret{node: n}
	p.mapping(n, "graph.Secret", func(n *yaml.Node) {
		p.fields(n, map[string]func(*yaml.Node){
			"id": p.text(&s.ID), "keyvault": p.text(&s.KeyVault), "clientID": p.text(&s.ClientID),
		})
	})
	return s
}

func (p *parser) readNetwork(n *yaml.Node) Network {
	var w Network
	p.mapping(n, "graph.Network", func(n *yaml.Node) {
		p.fields(n, map[string]func(*yaml.Node){
			"name": p.text(&w.Name), "driver": p.text(&w.Driver), "ipv6": p.boolean(&w.IPv6),
			"skipCreation": p.boolean(&w.SkipCreation), "isDefault": p.boolean(&w.Default),
		})
		if w.Name == "" {
			p.fault(n, "network name is empty")
		}
	})
	return w
}

func (p *parser) readVolume(n *yaml.Node) rawVolume {
	v := rawVolume{node: n}
	p.mapping(n, "volume.Volume", func(n *yaml.Node) {
		p.fields(n, map[string]func(*yaml.Node){
			"name": p.text(&v.name),
			"secret": func(n *yaml.Node) {
				p.mapping(n, "map[string]string", func(n *yaml.Node) {
					v.files = map[string]string{}
					for i := 0; i+1 < len(n.Content); i += 2 {
						var value string
						p.text(&value)(p.follow(n.Content[i+1]))
						v.files[n.Content[i].Value] = value
					}
				})
			},
		})
	})
	return v
}

func (p *parser) readStep(n *yaml.Node) *rawStep {
	s := &rawStep{node: n, at: map[string]*yaml.Node{}}
	if isNull(n) {
		p.fault(n, "step is missing a cmd, build, or push property")
		return s
	}
	p.mapping(n, "graph.Step", func(n *yaml.Node) {
		known := s.fields(p)
		for key, set := range known {
			known[key] = func(n *yaml.Node) { s.at[key] = n; set(n) }
		}
		p.fields(n, known)
	})
	return s
}

// fields are the keys of a step. stepKeys in the schema's test are the same.
func (s *rawStep) fields(p *parser) map[string]func(*yaml.Node) {
	return map[string]func(*yaml.Node){
		"id": p.text(&s.id), "cmd": p.text(&s.cmd), "build": p.text(&s.build), "push": p.texts(&s.push),
		"when": p.texts(&s.when), "timeout": p.integer(&s.timeout), "startDelay": p.integer(&s.startDelay),
		"retries": p.integer(&s.retries), "retryDelay": p.integer(&s.retryDelay), "repeat": p.integer(&s.repeat),
		"retryOnErrors": p.texts(&s.retryOnErrors), "ignoreErrors": p.boolean(&s.ignoreErrors),
		"exitedWith": p.integers(&s.exitedWith), "exitedWithout": p.integers(&s.exitedWithout),
		"keep": p.boolean(&s.keep), "detach": p.boolean(&s.detach), "privileged": p.boolean(&s.privileged),
		"user": p.text(&s.user), "network": p.text(&s.network), "isolation": p.text(&s.isolation),
		"cpus": p.text(&s.cpus), "entryPoint": p.text(&s.entryPoint),
		"env": p.texts(&s.env), "expose": p.texts(&s.expose), "ports": p.texts(&s.ports),
		"volumeMounts":                    p.each("[]*volume.Mount", func(n *yaml.Node) { s.volumeMounts = append(s.volumeMounts, p.readMount(n)) }),
		"workingDirectory":                p.text(&s.workingDirectory),
		"disableWorkingDirectoryOverride": p.boolean(&s.disableWorkingDirectoryOverride),
		"pull":                            p.boolean(&s.pull),
		"cmdDownloadRetries":              p.integer(&s.cmdDownloadRetries),
		"cmdDownloadRetryDelay":           p.integer(&s.cmdDownloadDelay),
		"cache":                           p.text(&s.cache),
	}
}

func (p *parser) readMount(n *yaml.Node) VolumeMount {
	var m VolumeMount
	p.mapping(n, "volume.Mount", func(n *yaml.Node) {
		p.fields(n, map[string]func(*yaml.Node){"name": p.text(&m.Name), "mountPath": p.text(&m.Path)})
	})
	return m
}

// file judges what was read and makes the File.
func (p *parser) file(root *yaml.Node, raw *rawFile) *File {
	f := &File{Version: raw.version, WorkingDirectory: absolute(WorkspaceDir, p.options.WorkingDirectory)}
	if raw.workingDirectory != "" {
		f.WorkingDirectory = absolute(WorkspaceDir, raw.workingDirectory)
	}
	if f.Version == "" {
		f.Version = defaultVersion
	} else if !slices.Contains(versions, strings.ToLower(raw.version)) {
		p.fault(raw.versionNode, "invalid version specified: %q, the current version is %q", raw.version, defaultVersion)
	}
	f.StepTimeout = defaultStepTimeout
	if raw.stepTimeout > 0 {
		f.StepTimeout = seconds(raw.stepTimeout)
	}
	p.env(root, raw, f)
	p.secrets(raw, f)
	p.networks(raw, f)
	p.volumes(raw, f)
	p.steps(raw, f)
	return f
}

// env splits task-level entries at commas, as acb does.
func (p *parser) env(root *yaml.Node, raw *rawFile, f *File) {
	own, err := splitEnv(raw.env)
	if err != nil {
		p.fault(orNode(raw.envNode, root), "%s", err)
	}
	given, err := splitEnv(p.options.Env)
	if err != nil {
		p.fault(orNode(raw.envNode, root), "%s", err)
	}
	f.Env = mergeEnv(own, given)
}

func orNode(n, fallback *yaml.Node) *yaml.Node {
	switch {
	case n != nil:
		return n
	case fallback != nil:
		return fallback
	}
	return &yaml.Node{Line: 1, Column: 1}
}

func splitEnv(entries []string) ([]string, error) {
	var all []string
	for _, e := range entries {
		for part := range strings.SplitSeq(e, ",") {
			if !strings.Contains(part, "=") {
				return nil, fmt.Errorf("cannot parse task environment variable %s correctly", part)
			}
			all = append(all, unquoteEnv(part))
		}
	}
	return all, nil
}

// unquoteEnv takes off the quotes that acb's shell would have: around the
// whole entry, or around the whole value.
func unquoteEnv(e string) string {
	if inner, ok := unquote(e); ok {
		return inner
	}
	name, value, _ := strings.Cut(e, "=")
	if inner, ok := unquote(value); ok {
		return name + "=" + inner
	}
	return e
}

func unquote(s string) (string, bool) {
	if len(s) < 2 || s[0] != s[len(s)-1] || (s[0] != '\'' && s[0] != '"') {
		return s, false
	}
	words, err := splitWords(s)
	if err != nil || len(words) != 1 {
		return s, false
	}
	return words[0], true
}

// mergeEnv keeps the first list whole and adds what it lacks of the second.
func mergeEnv(first, second []string) []string {
	merged := slices.Clone(first)
	for _, e := range second {
		name, _, _ := strings.Cut(e, "=")
		if !slices.ContainsFunc(merged, func(m string) bool { return strings.HasPrefix(m, name+"=") }) {
			merged = append(merged, e)
		}
	}
	return merged
}

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func (p *parser) secrets(raw *rawFile, f *File) {
	seen := map[string]bool{}
	for _, s := range raw.secrets {
		if err := s.check(); err != nil {
			p.fault(s.node, "failed to validate secret with ID: %s: %s", s.ID, err)
			continue
		}
		if seen[s.ID] {
			p.fault(s.node, "duplicate secret found with ID: %s", s.ID)
		}
		seen[s.ID] = true
		f.Secrets = append(f.Secrets, s.Secret)
	}
}

func (s rawSecret) check() error {
	switch {
	case s.ID == "":
		return errors.New("secret is missing an ID as well as auto-generated ID")
	case hasSpace(s.ID):
		return errors.New("secret ID cannot contain spaces")
	case s.KeyVault == "":
		return errors.New("secret should contain either keyvault property for vault secret, or msi clientID/aadResourceId for msi authentication")
	case s.ClientID != "" && !guid.MatchString(s.ClientID):
		return errors.New("msi client ID is not a valid guid")
	}
	return nil
}

// networks: with none listed there is one that connects every step; of those
// listed, the last default counts; without a default, steps are on none.
func (p *parser) networks(raw *rawFile, f *File) {
	f.Networks = raw.networks
	if len(f.Networks) == 0 && p.options.Network == "" {
		f.Networks = []Network{{Name: DefaultNetwork, Driver: "bridge", Default: true}}
	}
	if p.options.Network != "" {
		f.Networks = append(f.Networks, Network{Name: p.options.Network, Driver: "external", SkipCreation: true, Default: true})
	}
}

func (f *File) defaultNetwork() string {
	for _, n := range slices.Backward(f.Networks) {
		if n.Default {
			return n.Name
		}
	}
	return ""
}

var (
	volumeName = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)
	fileName   = regexp.MustCompile(`^[a-zA-Z0-9_.-]+$`)
)

func (p *parser) volumes(raw *rawFile, f *File) {
	seen := map[string]bool{}
	for _, v := range raw.volumes {
		switch {
		case v.name == "":
			p.fault(v.node, "volume name is empty")
		case !volumeName.MatchString(v.name):
			p.fault(v.node, "volume name is not well formed. Only use alphanumeric and - _")
		case seen[v.name]:
			p.fault(v.node, "volume with duplicate name found")
		case v.files == nil:
			p.fault(v.node, "currently only support for source type secret")
		case len(v.files) == 0:
			p.fault(v.node, "secret is empty")
		default:
			f.Volumes = append(f.Volumes, p.volume(v))
		}
		seen[v.name] = true
	}
}

func (p *parser) volume(v rawVolume) Volume {
	out := Volume{Name: v.name, Files: map[string][]byte{}}
	for name, value := range v.files {
		content, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
		switch {
		case name == "":
			p.fault(v.node, "secret name provided for value is empty")
		case !fileName.MatchString(name) || name == "." || name == "..":
			p.fault(v.node, "file name, %s, is not well formed. Only use alphanumeric and - _ .", name)
		case err != nil:
			p.fault(v.node, "failed to decode Base64 value. please make sure value provided is Base64 encoded")
		}
		out.Files[name] = content
	}
	return out
}

func (p *parser) steps(raw *rawFile, f *File) {
	for i, s := range raw.steps {
		if s.id == "" {
			s.id = fmt.Sprintf("acb_step_%d", i)
		}
	}
	before := map[string]bool{}
	for i, s := range raw.steps {
		p.step(f, raw, s, i, before)
		before[s.id] = true
	}
}

// step judges one step in acb's order and adds it to the file.
func (p *parser) step(f *File, raw *rawFile, s *rawStep, i int, before map[string]bool) {
	at := func(key string) *yaml.Node {
		if n := s.at[key]; n != nil {
			return n
		}
		return s.node
	}
	if s.retries < 0 {
		p.fault(at("retries"), "step must specify retries >= 0")
	}
	if s.repeat < 0 {
		p.fault(at("repeat"), "step must specify repeat >= 0")
	}
	if hasSpace(s.id) {
		p.fault(at("id"), "step ID cannot contain spaces")
	}
	if before[s.id] {
		p.fault(at("id"), "%s already exists as a vertex", s.id)
	}
	if s.id == rootID {
		p.fault(at("id"), "%s is a reserved ID, it can't be used", rootID)
	}
	out := &Step{
		ID: s.id, Timeout: f.StepTimeout, StartDelay: seconds(max(s.startDelay, 0)),
		Retries: max(s.retries, 0), RetryDelay: defaultRetryDelay, Repeat: max(s.repeat, 0),
		RetryOn: s.retryOnErrors, IgnoreErrors: s.ignoreErrors,
		Network: s.network, User: s.user, EntryPoint: s.entryPoint, Isolation: s.isolation, CPUs: s.cpus,
		Ports: s.ports, Expose: s.expose, VolumeMounts: s.volumeMounts,
		Privileged: s.privileged, Detach: s.detach, Keep: s.keep, Pull: s.pull,
		PullRetries: max(s.cmdDownloadRetries, 0), PullRetryDelay: seconds(max(s.cmdDownloadDelay, 0)),
		ExitedWith: s.exitedWith, ExitedWithout: s.exitedWithout,
	}
	if s.timeout > 0 {
		out.Timeout = seconds(s.timeout)
	}
	if s.retryDelay > 0 {
		out.RetryDelay = seconds(s.retryDelay)
	}
	p.mounts(raw, s, at)
	p.stepEnv(f, s, out, at)
	p.action(f, s, out, at)
	p.when(raw, s, out, i, before, at)
	f.Steps = append(f.Steps, out)
}

func (p *parser) mounts(raw *rawFile, s *rawStep, at func(string) *yaml.Node) {
	seen := map[string]bool{}
	if len(s.volumeMounts) > 0 && len(s.push) > 0 {
		p.fault(at("volumeMounts"), "invalid use of Mounts. Mounts must have unique container paths and only used for cmd or build steps")
	}
	for _, m := range s.volumeMounts {
		switch {
		case m.Name == "" || m.Path == "":
			p.fault(at("volumeMounts"), "mount name or mount path is empty")
		case seen[m.Path]:
			p.fault(at("volumeMounts"), "mount with duplicate container file path found")
		case !slices.ContainsFunc(raw.volumes, func(v rawVolume) bool { return v.name == m.Name }):
			p.fault(at("volumeMounts"), "mount name, %s, does not correspond to a volume", m.Name)
		case !path.IsAbs(m.Path):
			p.fault(at("volumeMounts"), "mount path %s is not absolute", m.Path)
		}
		seen[m.Path] = true
	}
}

func (p *parser) stepEnv(f *File, s *rawStep, out *Step, at func(string) *yaml.Node) {
	var own []string
	for _, e := range s.env {
		if !strings.Contains(e, "=") {
			p.fault(at("env"), "failed to merge task and step environment variables: cannot parse step environment variable %s correctly", e)
			continue
		}
		own = append(own, unquoteEnv(e))
	}
	out.Env = mergeEnv(own, f.Env)
}

func (p *parser) when(raw *rawFile, s *rawStep, out *Step, i int, before map[string]bool, at func(string) *yaml.Node) {
	switch {
	case len(s.when) == 0:
		if i > 0 {
			out.When = []string{raw.steps[i-1].id}
		}
		return
	case slices.Equal(s.when, []string{"-"}):
		return
	case slices.Contains(s.when, "-"):
		p.fault(at("when"), "step cannot contain other IDs in when if the immediate execution token is specified")
		return
	}
	for _, id := range s.when {
		switch {
		case id == s.id:
			p.fault(at("when"), "Step ID: %s is self-referenced", id)
		case id == "":
			p.fault(at("when"), "from cannot be empty")
		case !before[id]:
			p.fault(at("when"), "%s does not exist as a vertex [from: %s, to: %s]", id, id, s.id)
		case !slices.Contains(out.When, id):
			out.When = append(out.When, id)
		}
	}
}

// action finds out what the step does.
func (p *parser) action(f *File, s *rawStep, out *Step, at func(string) *yaml.Node) {
	kinds := 0
	for _, given := range []bool{s.cmd != "", s.build != "", len(s.push) > 0} {
		if given {
			kinds++
		}
	}
	if c := strings.ToLower(s.cache); c != "" && c != cacheEnabled && c != "disabled" {
		p.fault(at("cache"), "invalid value for cache property. Valid values are 'enabled', 'disabled'")
	}
	switch {
	case kinds > 1:
		p.fault(s.node, "step must only contain a single build, cmd, or push property")
		return
	case kinds == 0:
		p.fault(s.node, "step is missing a cmd, build, or push property")
		return
	}
	out.WorkingDirectory = f.WorkingDirectory
	if s.workingDirectory != "" {
		out.WorkingDirectory = absolute(WorkspaceDir, s.workingDirectory)
	}
	var err error
	key := "push"
	switch {
	case s.build != "":
		key, err = "build", p.build(s, out)
	case s.cmd != "":
		key, err = "cmd", p.cmd(s, out)
	default:
		out.Do = NewPush(s.push)
		err = checkReferences(s.push)
	}
	if s.disableWorkingDirectoryOverride && s.cmd != "" {
		out.WorkingDirectory = ""
	}
	if out.Network == "" {
		out.Network = f.defaultNetwork()
	}
	if err != nil {
		p.fault(at(key), "%s: %s", key, err)
	}
}

func (p *parser) build(s *rawStep, out *Step) error {
	b, err := parseBuild(s.build)
	if err != nil {
		return err
	}
	b.Line, b.Cache = s.build, strings.ToLower(s.cache)
	if out.Network == "" {
		out.Network = b.Options.Network
	}
	out.Do = b
	return nil
}

func (p *parser) cmd(s *rawStep, out *Step) error {
	c, err := parseCmd(expandImageAlias(s.cmd, p.options.ImageAliases))
	if err != nil {
		return err
	}
	c.Line = s.cmd
	out.Do = c
	return out.take(&c.Flags)
}

// take moves flags of docker run into the properties that mean the same. The
// flag wins: on acb's command line it came last.
func (s *Step) take(f *CmdFlags) error {
	set := func(into *string, v string) {
		if v != "" {
			*into = v
		}
	}
	set(&s.User, f.User)
	set(&s.Network, f.Network)
	set(&s.EntryPoint, f.EntryPoint)
	set(&s.WorkingDirectory, f.WorkDir)
	s.Privileged = s.Privileged || f.Privileged
	s.Detach = s.Detach || f.Detach
	s.Pull = s.Pull || f.Pull
	s.Ports = append(s.Ports, f.Ports...)
	var env []string
	for _, e := range f.Env {
		if !strings.Contains(e, "=") {
			continue // docker would take it from its own environment: there is none
		}
		env = append(env, e)
	}
	s.Env = mergeEnv(env, s.Env)
	if s.CPUs != "" && f.CPUs == 0 {
		cpus, err := parseCPUs(s.CPUs)
		if err != nil {
			return fmt.Errorf("cpus: %w", err)
		}
		f.CPUs = cpus
	}
	return s.hostMounts(f)
}

// hostMounts are -v: a folder of the host needs the owner's leave, which the
// runner asks for.
func (s *Step) hostMounts(f *CmdFlags) error {
	for _, v := range f.Volumes {
		parts := strings.Split(v, ":")
		m := HostMount{Source: parts[0]}
		switch {
		case len(parts) == 2 || len(parts) == 3:
			m.Target = parts[1]
			m.ReadOnly = len(parts) == 3 && slices.Contains(strings.Split(parts[2], ","), "ro")
		default:
			return fmt.Errorf("-v %s: want SOURCE:TARGET[:ro]", v)
		}
		if !path.IsAbs(m.Target) {
			return fmt.Errorf("-v %s: the target is not absolute", v)
		}
		f.HostMounts = append(f.HostMounts, m)
	}
	return nil
}

// absolute is how acb joins a working directory: "../x" ends at the root.
func absolute(base, dir string) string {
	if path.IsAbs(dir) {
		return path.Clean(dir)
	}
	return path.Join("/", base, dir)
}

func hasSpace(s string) bool { return strings.ContainsFunc(s, unicode.IsSpace) }

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
