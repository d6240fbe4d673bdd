package steps

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// An Engine does the work that the steps of one run ask for. It must be safe
// for concurrent use, must stop promptly when ctx is done, and must not keep
// an op or a writer after it returns, but for detached commands.
// stepstest.TestEngine checks an implementation.
type Engine interface {
	// Build builds an image and keeps it under its tags for later steps of
	// the run. A Dockerfile that fails is an *ExitError or a *BuildError.
	Build(ctx context.Context, op *BuildOp, out io.Writer) (*Image, error)
	// Exec runs a command in a container and waits for its end, or for its
	// start if op.Detach. A command that ran and failed, or that could not
	// be started, is an *ExitError.
	Exec(ctx context.Context, op *ExecOp, out Output) error
	// Push sends an image that the run has built under ref. It tries once.
	Push(ctx context.Context, ref string, out io.Writer) (*Pushed, error)
}

// A Session is the Engine of one run, with its network, its images and its
// detached containers. Close ends all of them, returns when nothing is left,
// and may be called when the engine is gone.
type Session interface {
	Engine
	Close(ctx context.Context) error
}

// A Place is what a Session needs to know of its run.
type Place struct {
	// Run is its id: letters and digits.
	Run string
	// Dir is a folder of the host for this run alone. Workspace and Home are
	// the folders that steps see as WorkspaceDir and HomeDir.
	Dir, Workspace, Home string
	Volumes              []Volume
	// Registry is the run's registry, host[:port].
	Registry    string
	Credentials []Credential
	// Allow are the entitlements that the owner has granted to this run.
	Allow []string
	// Untrusted says that a stranger wrote what the run does.
	Untrusted bool
	// KeepRegistry says that the run may delete nothing in the registry.
	KeepRegistry bool
	// Agents connect to the SSH agents that the request brought, by id.
	Agents map[string]Dial
}

// Dial connects to something that the request brought.
type Dial = func(context.Context) (io.ReadWriteCloser, error)

// A Credential opens one registry.
type Credential struct{ Registry, Username, Password string }

// Entitlements that a step may need and an owner may grant. The first three
// are BuildKit's words.
const (
	AllowInsecure = "security.insecure" // privileged
	AllowHostNet  = "network.host"
	AllowDevice   = "device"
	AllowMount    = "mount"    // folders of the host
	AllowRegistry = "registry" // the daemon's own registry, from inside a step
)

// Entitlements lists all of them.
var Entitlements = []string{AllowInsecure, AllowHostNet, AllowDevice, AllowMount, AllowRegistry}

// ErrEngineStopped says that the build engine died under a run. The daemon
// starts another; the run is lost.
var ErrEngineStopped = errors.New("build engine stopped")

// Output is where a command's two streams go.
type Output struct{ Stdout, Stderr io.Writer }

// A BuildOp is one docker build.
type BuildOp struct {
	Step string
	BuildOptions
	// Workspace is the folder of the host that no file of the build may be
	// outside of. Context and Root are below it: the build context, and
	// where relative file names of the build line start from. An empty
	// Context has no files.
	Workspace, Context, Root string
	// ContextKey names where the workspace's files came from, so that the
	// engine sends only what has changed since it last saw them.
	ContextKey string
	// Progress, if not nil, gets BuildKit's status messages as JSON lines.
	Progress io.Writer
	// Pushed says that a later step pushes this image, so that it is best
	// compressed at once.
	Pushed bool
	// SecretValues are those of --secret that are not in files, by id.
	SecretValues map[string][]byte
	// Pins are images, by reference, that the build must resolve to these
	// digests, unless the run itself or Contexts has something for the name.
	Pins map[string]string
	// CacheScope keeps what RUN leaves in the cache, its layers and the mounts
	// of type=cache, apart from builds of other scopes, whatever the build's
	// own arguments say. Empty is the scope of all builds that may be trusted.
	CacheScope string
}

// An ExecOp is one docker run.
type ExecOp struct {
	// Step is the name that other steps find the container by.
	Step  string
	Image string
	// Pull asks the registry even if the image is there.
	Pull       bool
	Entrypoint []string // nil: the image's
	Args       []string // empty: the image's
	Env        []string
	WorkDir    string // empty: the image's
	Network    string // a network of the run, "host", "none", or "bridge"
	Ports      []string
	Volumes    []VolumeMount
	Detach     bool
	RunFlags
}

// RunFlags are the flags of docker run that the language has no property for.
type RunFlags struct {
	User       string
	Privileged bool
	CPUs       float64
	Memory     int64 // bytes
	ShmSize    int64 // bytes
	PIDs       int64
	Ulimits    []Ulimit
	AddHosts   []string // name:address
	AddCaps    []string
	DropCaps   []string
	Devices    []string
	HostMounts []HostMount
	ReadOnly   bool
	Platform   string
	Hostname   string
}

// A Ulimit is a resource limit of a process.
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// A HostMount shows a folder of the host in a container.
type HostMount struct {
	Source, Target string
	ReadOnly       bool
}

// An Image is what a build made.
type Image struct {
	Tags   []string
	Digest string
	// Runtime is the image that the last stage starts from, and BuildTime
	// every other image that the build needed.
	Runtime   *Dependency
	BuildTime []Dependency
	// Platforms are those that were asked for; none is the engine's own.
	Platforms []string
	// Commit is what a git context of the build was at.
	Commit string
	Built  time.Time
	// Parts is how many instructions the build came to, and Cached how many
	// of them were done already.
	Parts, Cached int
}

// A Dependency is an image that another was built from.
type Dependency struct{ Ref, Digest string }

// Pushed is what a registry now has.
type Pushed struct {
	Ref, Digest string
	MediaType   string
	Size        int64
}

// An ExitError reports a command that ran and exited with a status other than
// 0, or that could not be started (125, 126, 127, as docker run says).
type ExitError struct {
	Code int
	// Reason is why, if more is known than the code.
	Reason string
}

func (e *ExitError) Error() string {
	if e.Reason != "" {
		return fmt.Sprintf("exit status %d: %s", e.Code, e.Reason)
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

// A BuildError reports a build that failed because of what it was given: the
// Dockerfile, the context, a registry that refused.
type BuildError struct{ Err error }

func (e *BuildError) Error() string { return e.Err.Error() }
func (e *BuildError) Unwrap() error { return e.Err }

// A RefusedError reports that a step asked for what this engine does not do,
// or what the owner has not allowed. Its text says what to do instead.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

// ErrTimeout is the cause when a step takes longer than its timeout.
var ErrTimeout = errors.New("timed out")

// A Need is an entitlement that a step asks for, and why.
type Need struct{ Step, What, Entitlement string }

// Refusal is the error for a need that is not granted.
func (n Need) Refusal() error {
	return &RefusedError{fmt.Sprintf("step %s: %s needs the entitlement %s, which this run does not have: the owner grants it with --allow %s",
		n.Step, n.What, n.Entitlement, n.Entitlement)}
}

// Needs lists the entitlements that the file's steps ask for.
func (f *File) Needs() []Need {
	var needs []Need
	for _, s := range f.Steps {
		switch do := s.Do.(type) {
		case *Cmd:
			needs = append(needs, do.op(s).Needs()...)
		case *Build:
			needs = append(needs, do.Options.needs(s.ID)...)
		}
	}
	return needs
}

func (o *BuildOptions) needs(step string) []Need {
	var needs []Need
	for _, word := range o.Allow {
		needs = append(needs, Need{step, "--allow " + word, word})
	}
	if o.Network == "host" {
		needs = append(needs, Need{step, "--network host", AllowHostNet})
	}
	return needs
}

// Needs lists the entitlements that the build asks for.
func (op *BuildOp) Needs() []Need { return op.needs(op.Step) }

// Needs lists the entitlements that the command asks for.
func (op *ExecOp) Needs() []Need {
	var needs []Need
	need := func(entitlement, format string, args ...any) {
		needs = append(needs, Need{op.Step, fmt.Sprintf(format, args...), entitlement})
	}
	if op.Privileged {
		need(AllowInsecure, "privileged: true")
	}
	for _, c := range op.AddCaps {
		need(AllowInsecure, "--cap-add %s", c)
	}
	if op.Network == "host" {
		need(AllowHostNet, "network: host")
	}
	for _, d := range op.Devices {
		need(AllowDevice, "--device %s", d)
	}
	for _, m := range op.HostMounts {
		need(AllowMount, "-v %s:%s", m.Source, m.Target)
	}
	return needs
}
