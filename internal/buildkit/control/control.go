// Package control is what the daemon says to its engine child beside
// BuildKit's own API: open a run, execute a command in it, push what it built,
// close it. It is JSON over HTTP on a unix socket that only the daemon's user
// may open.
//
// Both ends of each message are in this package: the types that travel, and
// the [Client] that sends them. The receiving end is internal/buildkit/engine.
package control

import "time"

// Config is the first thing a child reads, as one JSON value on its standard
// input. The input then stays open: its end is the end of the daemon, and the
// child goes with it.
type Config struct {
	// Dir is the engine's state: caches, snapshots, runs.
	Dir string
	// Instance tells this engine's interfaces and control groups from those
	// of others on the host; five letters or digits.
	Instance string
	// Life tells this child from those before and after it, which have the
	// same sockets. It answers only who names it: what was meant for a child
	// that has died must not reach the next.
	Life string
	// Subnets is the range that runs get addresses from; empty means the
	// default.
	Subnets string
	// PlainHTTP are the registries (host:port) to speak HTTP to.
	PlainHTTP []string
	// Own, if not nil, is the daemon's registry: the name that images have,
	// and a socket where it asks for no password and no TLS.
	Own *Door
	// Cache bounds what builds leave behind.
	Cache Cache
	// Run bounds what the commands of one run may use together, and what
	// one RUN of a Dockerfile may.
	Run Limits
	// Disk bounds, likewise, what they may write.
	Disk Disk
	// Debug asks for BuildKit's debug log.
	Debug bool
}

// LifeHeader names, in each request, the child that it is for.
const LifeHeader = "Acrd-Engine-Life"

// Files of the child beyond standard input, output and error.
const (
	BuildKitFD = 3 // listener of BuildKit's API
	ControlFD  = 4 // listener of this package's API
	StatusFD   = 5 // pipe that gets one Status
)

// Status is what the child says once, when it is ready or when it cannot be.
type Status struct {
	// Error is empty when the engine is ready.
	Error string
	// Final says that starting again will not help.
	Final bool
	// Reaped counts what an engine that was killed had left behind.
	Reaped int
}

// Cache bounds the build cache, in bytes of the disk that holds it. Builds may
// exceed it while they run; what is in use is never removed.
type Cache struct {
	// Reserved is kept even if nobody has used it for long.
	Reserved int64
	// MaxUsed is the most that the cache may hold.
	MaxUsed int64
	// MinFree is what must stay free on the disk.
	MinFree int64
}

// Limits bound a group of processes; zero means no limit.
type Limits struct {
	Memory int64 // bytes
	PIDs   int64
	CPUs   float64
}

// Disk bounds what is written to the disk; zero means no limit.
type Disk struct {
	Bytes int64
	Files int64 // folders and links count
}

// OpenRun readies a place for the steps of a run. It must come before any
// other call for the run.
type OpenRun struct {
	// Dir is the run's folder on the host: workspace, home and volumes are
	// below it, and the engine adds its own.
	Dir string
	// Secret holds files that must not touch a disk: name below the folder
	// "secret" of Dir, and content.
	Secret map[string][]byte
	// Registry, if not nil, opens a door to the daemon's registry in every
	// network namespace of the run.
	Registry *Door
	// Limits of the run's commands; zero fields mean the engine's own.
	Limits Limits
}

// Exec runs one command in a container.
type Exec struct {
	// ID names this execution within its run: letters, digits, - and _.
	ID string
	// Step is the name that others find it by on its network.
	Step string
	// Image is a reference; Own says that it is one of the run's own images
	// and in no registry.
	Image string
	Own   bool
	// Platform picks one of a multi-platform image; empty is this host's.
	Platform string
	// Entrypoint, if not nil, replaces the image's, and then its command does
	// not count. It may be empty.
	Entrypoint []string
	Args       []string
	Env        []string
	User       string // empty is the image's
	WorkDir    string // empty is the image's
	Hostname   string // empty is made of Step
	// Network is the name of one of the run's networks, which are made as
	// they are asked for; NetworkNone, NetworkHost, or NetworkBridge.
	Network    string
	AddHosts   []string // name:address
	Mounts     []Mount
	Ports      []Port
	Limits     Limits // of this container, within the run's
	ShmSize    int64
	Ulimits    []Ulimit
	AddCaps    []string
	DropCaps   []string
	Devices    []string
	ReadOnly   bool
	Privileged bool
}

// Networks that are not the run's own.
const (
	NetworkNone   = "none"
	NetworkHost   = "host"
	NetworkBridge = "bridge" // a network on which nobody has a name
)

// A Mount shows a folder of the run's Dir inside the container.
type Mount struct {
	Source   string // below the run's Dir, unless Host
	Target   string
	ReadOnly bool
	// Host says that Source is a path of the host.
	Host bool
}

// A Port is published on the host while the container runs.
type Port struct {
	HostIP    string
	HostPort  int // 0 is any
	Container int
}

// A Ulimit is one resource limit of a process.
type Ulimit struct {
	Name       string // nofile
	Soft, Hard int64
}

// Exit is how a command ended. It is the last thing an execution says.
type Exit struct {
	// Code is docker's: the command's own, 128 and the signal, or 125 to
	// 127 if it could not be started.
	Code int
	// Reason says why it could not be started, or what ended it.
	Reason string
	// OOM and PIDs name the limit that it ran into.
	OOM, PIDs bool
	// Fault says that the engine failed, and not the command.
	Fault string
}

// Stop ends an execution: SIGTERM, Grace, SIGKILL.
type Stop struct{ Grace time.Duration }

// Push sends an image of the run to a registry.
type Push struct {
	// Name is the image's in the engine's store, Ref where it goes.
	Name, Ref string
	// Session is the BuildKit session that has the credentials.
	Session string
	// Insecure allows plain HTTP and unknown certificates.
	Insecure bool
}

// Pushed says what a push has sent.
type Pushed struct {
	Digest    string
	MediaType string
	Size      int64
}

// RunFrontend is the BuildKit frontend that opens a run: a solve of it lasts
// as long as the run and lends it a session. Its option names the run.
const (
	RunFrontend = "acrd.run.v0"
	RunOption   = "run"
)

// ResolvedKey is where a build's response lists, as JSON, the []Resolved that
// its frontend asked registries for.
const ResolvedKey = "frontend.acrd.resolved"

// Resolved is an image reference and what it meant when a build looked.
type Resolved struct {
	Ref      string `json:"ref"`
	Platform string `json:"platform,omitempty"`
	Digest   string `json:"digest"`
}

// ImageDomain begins the name of every image that lives in the engine's store
// only. RFC 2606 keeps .invalid out of the DNS.
const ImageDomain = "acrd.invalid"

// ImageName is the name, in the engine's store, of an image that a run made.
func ImageName(run, hash string) string { return ImageDomain + "/" + run + "/" + hash + ":x" }
