package steps

import (
	"math"
	"path"
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
	// Secrets are the ids of secrets that come with the request. Steps may
	// have these beside those that the file declares; if it is nil, nobody
	// knows yet, and they may have any.
	Secrets []string
	// Strict makes an error of everything that Lint warns of.
	Strict bool

	marks *marks
}

// Parse reads a rendered task file. Every fault is reported, all of them as an
// Errors; a File that Parse returns is valid.
func Parse(name string, src []byte, o Options) (*File, error) {
	p := newParser(name, src, o)
	if o.Strict {
		p.lint = &linter{decoder: p.decoder}
	}
	f := p.parse()
	if o.Strict {
		p.strict(f)
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	return f, nil
}

// A parser goes from nodes to raw values, and from those to a File.
type parser struct {
	*decoder
	options Options
	raw     rawFile
}

func newParser(name string, src []byte, o Options) *parser {
	return &parser{decoder: &decoder{file: name, src: src, marks: o.marks}, options: o}
}

// parse is the File as far as it could be made, and nil if there is no
// document.
func (p *parser) parse() *File {
	root := p.document()
	if len(p.faults) > 0 {
		return nil
	}
	if root == nil { // an empty file is a task that does nothing
		root = &yaml.Node{Kind: yaml.MappingNode, Line: 1, Column: 1}
	}
	p.raw.put(root, false)
	fields(p.decoder, "graph.Task", taskKeys, root, &p.raw)
	return p.task()
}

// task judges what was read and makes the File.
func (p *parser) task() *File {
	raw := &p.raw
	f := &File{Version: raw.version, StepTimeout: defaultStepTimeout, WorkingDirectory: absolute(WorkspaceDir, p.options.WorkingDirectory)}
	if raw.workingDirectory != "" {
		f.WorkingDirectory = absolute(WorkspaceDir, raw.workingDirectory)
	}
	if f.Version == "" {
		f.Version = defaultVersion
	} else if !slices.Contains(versions, strings.ToLower(raw.version)) {
		p.fault(p.find(raw.node, "version"), "invalid version specified: %q, the current version is %q", raw.version, defaultVersion)
	}
	if raw.stepTimeout > 0 {
		f.StepTimeout = seconds(raw.stepTimeout)
	}
	f.Env = p.taskEnv()
	f.Secrets = p.secrets()
	f.Networks = p.networks()
	f.Volumes = p.volumes()
	f.Steps = p.steps(f)
	return f
}

// absolute is how acb joins a working directory: "../x" ends at the root.
func absolute(base, dir string) string {
	if path.IsAbs(dir) {
		return path.Clean(dir)
	}
	return path.Join("/", base, dir)
}

func hasSpace(s string) bool { return strings.ContainsFunc(s, unicode.IsSpace) }

// seconds stops at what a Duration can hold.
func seconds(n int) time.Duration {
	return time.Duration(min(n, int(math.MaxInt64/time.Second))) * time.Second
}
