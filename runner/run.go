package runner

import (
	"maps"
	"slices"
	"time"

	"acrd/eventing"
	"acrd/steps"
)

// Status is where a run is in its life, in ACR's words. It only moves forward.
type Status string

// The statuses, in the order of a run's life.
const (
	Queued    Status = "Queued"
	Started   Status = "Started" // a slot is free for it
	Running   Status = "Running"
	Succeeded Status = "Succeeded"
	Failed    Status = "Failed" // a step ran and failed, or the file is wrong
	Canceled  Status = "Canceled"
	Timeout   Status = "Timeout" // the run, not a step, took too long
	Error     Status = "Error"   // we could not carry it out
)

// Final says that the status will not change any more.
func (s Status) Final() bool {
	return !slices.Contains([]Status{Queued, Started, Running}, s)
}

// Type is what kind of request a run came from, in ACR's words.
type Type string

// The types of runs. Auto means that a stored task is behind it, even if a
// person has started it.
const (
	QuickBuild Type = "QuickBuild"
	QuickRun   Type = "QuickRun"
	AutoBuild  Type = "AutoBuild"
	AutoRun    Type = "AutoRun"
)

// A Request asks for one run. Exactly one of Build, Inline and File says what
// to do.
type Request struct {
	// Task is the name of the task that the run belongs to, if any, and
	// Cause what started the run if nobody has.
	Task  string
	Cause *Cause
	// Reason says the cause to people, and what was waited for.
	Reason string
	// Intents are the keys of what made Task run: AddRun decides them in the
	// transaction that queues the run.
	Intents []string
	// Superseded are the keys of those that the run makes needless. They are
	// decided in the same transaction, if they are not yet.
	Superseded []string `json:",omitempty"`
	// TaskLimit is how many runs of the task may execute at a time; 0 is no
	// limit.
	TaskLimit int
	// Archive keeps the run's record for longer than others'.
	Archive bool
	// UpdateTriggerToken is passed through to who is told of the run, and
	// AgentPool and LogTemplate are kept with it.
	UpdateTriggerToken, AgentPool, LogTemplate string
	// Platform is what was asked for, for the record.
	Platform Platform

	// Build is a docker build.
	Build *BuildRequest
	// Inline is a task file as such; File names one in the source.
	Inline []byte
	File   string

	// Source is where the context comes from: a git, tarball or oci URL, or
	// UploadScheme and the id of an upload. Empty is no context.
	Source string
	// SourceToken opens Source, if it is git.
	SourceToken string
	// Values fill the task file's {{.Values}}; those of ValuesFile, a YAML
	// file in the source, have less weight, and those of SecretValues are
	// never shown.
	Values       map[string]string
	SecretValues map[string]string
	ValuesFile   string
	InlineValues []byte // what such a file would say
	// Foreign names those of Values that no one who may submit runs has said.
	Foreign []string `json:",omitempty"`

	Timeout     time.Duration // 0 means DefaultTimeout
	StepTimeout time.Duration // of a docker build's step; 0 means ACR's
	Registry    string        // empty means the Runner's
	Credentials []steps.Credential
	// VaultCredentials are those whose values are in a vault.
	VaultCredentials []VaultCredential
	// Secrets are values for build secrets, by id.
	Secrets map[string][]byte
	// Allow are the entitlements that the owner grants to this run.
	Allow []string
	// Agents connect to the requester's SSH agents, by id. They do not
	// survive this process; AgentIDs tells later ones that there were some.
	Agents   map[string]steps.Dial `json:"-"`
	AgentIDs []string
	// Env has the lowest priority of a task's environment.
	Env []string
	// TriggeredBy and the like fill {{.Run}}.
	TriggeredBy, GitTag, Commit, Branch, Repository string

	// Pins are images that builds must resolve to these digests, by
	// reference.
	Pins map[string]string
	// Lineage are the tasks whose runs led to this one.
	Lineage []string
	// Untrusted says that a stranger wrote the source.
	Untrusted bool
	// KeepRegistry says that whoever asked may not delete in the registry.
	KeepRegistry bool `json:",omitempty"`
}

// A VaultCredential opens a registry. Its parts are values, or addresses of
// values in a vault.
type VaultCredential struct {
	Registry                     string
	UserName, Password           string
	UserNameVault, PasswordVault bool
}

// UploadScheme begins the Source of a context that a client has uploaded.
const UploadScheme = "upload:"

// ArchivePrefix begins the id of an upload that is an archive, as opposed to a
// folder: its path, as listBuildSourceUploadUrl returned it.
const ArchivePrefix = "source/"

// A BuildRequest is a docker build, as az acr build asks for it.
type BuildRequest struct {
	// Flags are those of docker build, without the context.
	Flags []string
	// Tags get the run's registry in front, unless they name one.
	Tags []string
	// SecretArgs are build arguments whose values are never shown.
	SecretArgs []string
	Dockerfile string
	Push       bool
}

// A Run is one execution, past or present.
type Run struct {
	ID   string
	Type Type
	// Request is what was asked for; as a rule as Public says.
	Request Request `json:"-"`
	Status  Status
	// Err is why it did not succeed, and FailedStep where.
	Err        string
	FailedStep string
	// ExitCode is the failed step's, nil if it has none.
	ExitCode *int

	Created, Started, Finished, Updated time.Time
	// Attempt counts how often the run was taken from the queue, Owner is
	// the daemon that has it, and Requeued how often it was put back because
	// its daemon had died.
	Attempt  int
	Owner    string
	Requeued int
	// Pinned is the name of the only daemon that can execute it, empty if
	// any can.
	Pinned string
	// Cancel says that somebody wants it cancelled.
	Cancel bool
	// Archived runs are kept beyond the retention.
	Archived bool
	LogBytes int64
	// LogURL is where its log can be read by whoever may; see Runner.
	LogURL string

	Steps []StepState
	// Images are what builds have made, as soon as they have.
	Images []*steps.Image
	Pushed []*steps.Pushed
	// Commit is what the source was at.
	Commit, Branch string

	// untold are events that go with the next save.
	untold []eventing.Event
	// decided says that the steps have ended by themselves: nothing that
	// comes after changes how the run has ended.
	decided bool
}

// A StepState is what became of a step.
type StepState struct {
	ID string
	// Kind is build, cmd or push.
	Kind              string
	Status            Status
	Err               string
	ExitCode          *int
	Started, Finished time.Time
}

// Clone is a copy that shares nothing that changes.
func (r *Run) Clone() *Run {
	c := *r
	c.Steps, c.Images, c.Pushed = slices.Clone(r.Steps), slices.Clone(r.Images), slices.Clone(r.Pushed)
	c.Request.Values = maps.Clone(r.Request.Values)
	return &c
}

func (r *Run) end(s Status, why string, at time.Time) {
	r.Status, r.Err, r.Finished, r.Updated = s, why, at, at
}

// took is how long the run went on; 0 if it never began.
func (r *Run) took() time.Duration {
	if r.Started.IsZero() {
		return 0
	}
	return r.Finished.Sub(r.Started).Round(time.Millisecond)
}

func (r *Run) begin(s *steps.Step) {
	now := time.Now()
	r.Steps = append(r.Steps, StepState{ID: s.ID, Kind: Kind(s), Status: Running, Started: now})
	r.Updated = now
}

// Kind is what a step does, in a word: build, cmd or push.
func Kind(s *steps.Step) string {
	switch s.Do.(type) {
	case *steps.Build:
		return "build"
	case *steps.Push:
		return "push"
	}
	return "cmd"
}

func (r *Run) step(id string) *StepState {
	for i := range r.Steps {
		if r.Steps[i].ID == id {
			return &r.Steps[i]
		}
	}
	return nil
}
