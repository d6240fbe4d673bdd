// Package steps is the acr-task language: what a task file says, in which
// order its steps run, and what one step does.
//
//	source bytes --Render--> YAML --Parse--> File --Graph--> Steps --Step.Run--> Engine
//
// steps knows nothing of runs, queues, stores or HTTP. It asks for the work it
// needs through [Engine], which internal/buildkit implements and
// steps/stepstest fakes.
//
// The language is that of Azure/acr-builder ("acb"); where this package does
// something else on purpose, docs/compatibility.md says what and why.
package steps

import "time"

// A File is a parsed and valid task file. Nothing in it changes while it runs,
// so it may be shared.
type File struct {
	Version string
	// StepTimeout is the timeout of steps that have none of their own.
	StepTimeout time.Duration
	// WorkingDirectory is absolute.
	WorkingDirectory string
	Env              []string
	Secrets          []Secret
	Networks         []Network
	Volumes          []Volume
	Steps            []*Step
}

// A Secret is a value that a task file may use as {{.Secrets.ID}}.
type Secret struct {
	ID string
	// KeyVault is the URL of a Key Vault secret, and ClientID the managed
	// identity that reads it.
	KeyVault, ClientID string
}

// A Network connects steps under their ids.
type Network struct {
	Name, Driver string
	IPv6         bool
	// SkipCreation says that the network is there already.
	SkipCreation bool
	// Default makes it the network of steps that name none.
	Default bool
}

// A Volume is a folder of secret files, kept in memory.
type Volume struct {
	Name  string
	Files map[string][]byte
}

// DefaultNetwork is the network of a task that lists none.
const DefaultNetwork = "acb_default_network"

// The folders that all steps of a run share.
const (
	WorkspaceDir = "/workspace"
	HomeDir      = "/acb/home"
)

// A Step is one entry under "steps:". Do says what it does; the other fields
// say when, how often and with what.
type Step struct {
	ID string
	// When lists the steps that must end first, as it is meant: the step
	// above for a step that says nothing, none for one that says "-".
	When []string
	// Always says that it runs whatever became of those, and OnFailure that
	// it runs only if one of them did not succeed.
	Always, OnFailure bool
	Do                Action

	Timeout, StartDelay, RetryDelay time.Duration
	Repeat, Retries                 int
	// RetryOn are texts one of which must be in the output for a retry to
	// be worth it; none means always.
	RetryOn      []string
	IgnoreErrors bool

	Env []string // merged with the file's
	// WorkingDirectory is absolute, and empty if the image's counts.
	WorkingDirectory string
	Network          string
	User             string
	EntryPoint       string
	Isolation        string
	CPUs             string
	Ports, Expose    []string
	VolumeMounts     []VolumeMount
	Privileged       bool
	Detach, Keep     bool
	Pull             bool
	PullRetries      int
	PullRetryDelay   time.Duration
	// ExitedWith and ExitedWithout decide which exit codes are a success,
	// see Succeeded.
	ExitedWith, ExitedWithout []int
	// EnvFiles are files of the workspace, absolute, that hold variables when
	// the step starts, see WithEnvFiles.
	EnvFiles []string
	// Secrets are those that the step sees.
	Secrets []StepSecret

	// ownEnv is how many of Env the step says itself: they are the first.
	ownEnv int
}

// A VolumeMount shows a volume of the file in a step; if File is not empty,
// only that file of it.
type VolumeMount struct{ Name, Path, File string }

// Cmds says whether any step runs a command, and so could write to the
// workspace.
func (f *File) Cmds() bool {
	for _, s := range f.Steps {
		if _, ok := s.Do.(*Cmd); ok {
			return true
		}
	}
	return false
}

// Pushes lists the images that steps push, in order.
func (f *File) Pushes() []string {
	var refs []string
	for _, s := range f.Steps {
		if p, ok := s.Do.(*Push); ok {
			refs = append(refs, p.Refs...)
		}
	}
	return refs
}
