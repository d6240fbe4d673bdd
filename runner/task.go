package runner

import (
	"encoding/json"
	"time"
)

// A Task is a stored definition of runs: what to do, and what starts it. Its
// JSON is ACR's resource of a task without what follows from the name, and so
// is that of everything in it.
//
// Secrets of a task are of type [*Secret], or are values that say themselves
// that they are secret ([Argument], [SecretObject]). They marshal to null,
// always, so that neither the API nor a store that writes the JSON can give
// them away. A store takes them out by [Task.Secrets], keeps them sealed beside
// the JSON, and puts them back by [Task.SetSecrets].
type Task struct {
	Name     string            `json:"name"`
	Location string            `json:"location,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
	Identity *Identity         `json:"identity,omitempty"`
	TaskSpec `json:"properties"`
}

// A TaskSpec is everything about a task but its name and labels.
type TaskSpec struct {
	Status   TaskStatus `json:"status,omitempty"`
	Platform Platform   `json:"platform"`
	// Agent and AgentPool choose a machine in Azure. They are kept.
	Agent       *Agent          `json:"agentConfiguration,omitempty"`
	AgentPool   string          `json:"agentPoolName,omitempty"`
	Timeout     int             `json:"timeout,omitempty"` // seconds
	Step        TaskStep        `json:"step"`
	Trigger     *TaskTrigger    `json:"trigger,omitempty"`
	Credentials *TaskCredential `json:"credentials,omitempty"`
	LogTemplate string          `json:"logTemplate,omitempty"`
	IsSystem    bool            `json:"isSystemTask,omitempty"`
	// Allow are the entitlements that runs of the task have. ACR has no such
	// field.
	Allow []string `json:"entitlements,omitempty"`
	// Concurrency is how many runs of the task may execute at a time; 0 is no
	// limit. ACR has no such field.
	Concurrency int `json:"concurrency,omitempty"`

	Created time.Time `json:"creationDate,omitzero"`
	Updated time.Time `json:"lastUpdatedTime,omitzero"`
}

// TaskStatus says whether a task, or a trigger of one, may start runs.
type TaskStatus string

// The statuses of tasks and triggers. Empty means Enabled.
const (
	Enabled  TaskStatus = "Enabled"
	Disabled TaskStatus = "Disabled"
)

// Active says that it may start runs.
func (s TaskStatus) Active() bool { return s != Disabled }

// An Identity is who a task is towards Azure. Here it opens nothing.
type Identity struct {
	Type         string                     `json:"type,omitempty"`
	PrincipalID  string                     `json:"principalId,omitempty"`
	TenantID     string                     `json:"tenantId,omitempty"`
	UserAssigned map[string]json.RawMessage `json:"userAssignedIdentities,omitempty"`
}

// A Platform is what an image runs on. Without an architecture it is the
// daemon's own.
type Platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture,omitempty"`
	Variant      string `json:"variant,omitempty"`
}

// An Agent is a size of machine.
type Agent struct {
	CPU int `json:"cpu,omitempty"`
}

// StepType tells the three kinds of task apart.
type StepType string

// The types of steps.
const (
	DockerStep      StepType = "Docker"
	FileTaskStep    StepType = "FileTask"
	EncodedTaskStep StepType = "EncodedTask"
)

// A TaskStep is what a task does. Which fields count depends on Type.
type TaskStep struct {
	Type StepType `json:"type"`
	// ContextPath is the source; the token opens it if it is git.
	ContextPath        string  `json:"contextPath,omitempty"`
	ContextAccessToken *Secret `json:"contextAccessToken"`
	// BaseImages are what the last successful run was built on, or before
	// there is one, what the source says. Only the daemon writes them.
	BaseImages []BaseImage `json:"baseImageDependencies,omitempty"`

	// DockerStep
	ImageNames []string   `json:"imageNames,omitempty"`
	Push       *bool      `json:"isPushEnabled,omitempty"` // nil: if there are names
	NoCache    bool       `json:"noCache,omitempty"`
	Dockerfile string     `json:"dockerFilePath,omitempty"`
	Target     string     `json:"target,omitempty"`
	Arguments  []Argument `json:"arguments,omitempty"`

	// FileTaskStep: paths in the source
	TaskFile   string `json:"taskFilePath,omitempty"`
	ValuesFile string `json:"valuesFilePath,omitempty"`
	// EncodedTaskStep: the files themselves, in base64
	Content       []byte `json:"encodedTaskContent,omitempty"`
	ValuesContent []byte `json:"encodedValuesContent,omitempty"`
	// both
	Values []Argument `json:"values,omitempty"`
}

// A BaseImage is an image that a task's image is built on.
type BaseImage struct {
	Type       string `json:"type"` // BuildTime or RunTime
	Registry   string `json:"registry"`
	Repository string `json:"repository"`
	Tag        string `json:"tag,omitempty"`
	Digest     string `json:"digest,omitempty"`
	// KnownFrom is KnownFromScan if the image was found in the source, and no
	// build has confirmed it yet. ACR has no such field.
	KnownFrom string `json:"knownFrom,omitempty"`
}

// KnownFromScan is what BaseImage.KnownFrom says.
const KnownFromScan = "scan"

// An Argument is a named value, of a build argument or for {{.Values}}.
type Argument struct {
	Name  string
	Value string
	// IsSecret keeps the value from being marshalled.
	IsSecret bool
}

// A TaskTrigger is what starts runs of a task by itself.
type TaskTrigger struct {
	Timers    []TimerTrigger    `json:"timerTriggers,omitempty"`
	Sources   []SourceTrigger   `json:"sourceTriggers,omitempty"`
	BaseImage *BaseImageTrigger `json:"baseImageTrigger,omitempty"`
}

// A TimerTrigger starts a run at times. The schedule is NCrontab's: five
// fields, UTC.
type TimerTrigger struct {
	Name     string     `json:"name"`
	Schedule string     `json:"schedule"`
	Status   TaskStatus `json:"status,omitempty"`
	// TimeZone is where the schedule's times are read, such as
	// Europe/Berlin; empty is UTC. ACR has no such field, nor the next two.
	TimeZone string `json:"timeZone,omitempty"`
	// CatchUp says what becomes of times that nobody was there for; empty is
	// CatchUpLatest.
	CatchUp string `json:"catchUp,omitempty"`
	// Overlap says what becomes of a time at which the timer's last run has
	// not ended; empty is OverlapAllow.
	Overlap string `json:"overlap,omitempty"`
}

// What timers do about times that were missed.
const (
	CatchUpSkip   = "skip"
	CatchUpLatest = "latest"
	CatchUpAll    = "all"
)

// What timers do about runs that have not ended.
const (
	OverlapAllow   = "allow"
	OverlapSkip    = "skip"
	OverlapQueue   = "queue"
	OverlapReplace = "replace"
)

// Events of a source trigger.
const (
	CommitEvent      = "commit"
	PullRequestEvent = "pullrequest"
)

// A SourceTrigger starts a run when a repository has changed: its one branch,
// as in ACR, or what the patterns say, which ACR does not have. In a pattern *
// is anything but a slash, ** anything; one that begins with ! takes out again
// what those before it have let in.
type SourceTrigger struct {
	Name       string           `json:"name"`
	Repository SourceRepository `json:"sourceRepository"`
	Events     []string         `json:"sourceTriggerEvents,omitempty"`
	Status     TaskStatus       `json:"status,omitempty"`
	// Branches and Tags take the place of the repository's one branch.
	Branches []string `json:"branchPatterns,omitempty"`
	Tags     []string `json:"tagPatterns,omitempty"`
	// Paths are those that a commit has to touch; none are all.
	Paths []string `json:"pathPatterns,omitempty"`
	// Provider is who has the repository, for the status of commits: github,
	// gitlab, gitea or azure. Empty is what its host says.
	Provider string `json:"provider,omitempty"`
	// WebhookSecret signs webhooks; two, with a space between, count both.
	// None takes no webhooks.
	WebhookSecret *Secret `json:"webhookSecret,omitempty"`
}

// A SourceRepository is what a source trigger looks at.
type SourceRepository struct {
	Type   string      `json:"sourceControlType,omitempty"` // Github or VisualStudioTeamService
	URL    string      `json:"repositoryUrl"`
	Branch string      `json:"branch,omitempty"`
	Auth   *SourceAuth `json:"sourceControlAuthProperties,omitempty"`
}

// A SourceAuth opens a repository.
type SourceAuth struct {
	TokenType    string  `json:"tokenType,omitempty"` // PAT or OAuth
	Token        *Secret `json:"token"`
	RefreshToken *Secret `json:"refreshToken"`
	Scope        string  `json:"scope,omitempty"`
	ExpiresIn    int     `json:"expiresIn,omitempty"`
}

// What a base image trigger watches.
const (
	RuntimeBases = "Runtime"
	AllBases     = "All"
)

// A BaseImageTrigger starts a run when an image changes that the task's last
// image was built on.
type BaseImageTrigger struct {
	Name   string     `json:"name"`
	Type   string     `json:"baseImageTriggerType,omitempty"` // Runtime or All
	Status TaskStatus `json:"status,omitempty"`
	// Endpoint is told of updates. It may hold a password, so it is secret.
	Endpoint    *Secret `json:"updateTriggerEndpoint"`
	PayloadType string  `json:"updateTriggerPayloadType,omitempty"` // Default or Token
	// TagPatterns are REPOSITORY:PATTERN, a glob or a range of versions: of
	// such a repository the newest tag that matches takes the place of the one
	// that a build names. ACR has no such field.
	TagPatterns []string `json:"tagPatterns,omitempty"`
}

// A TaskCredential opens registries for runs of a task.
type TaskCredential struct {
	SourceRegistry   *SourceRegistry               `json:"sourceRegistry,omitempty"`
	CustomRegistries map[string]RegistryCredential `json:"customRegistries,omitempty"`
}

// LoginNone keeps the daemon's own registry from being open to a run.
const LoginNone = "None"

// A SourceRegistry says how runs are to use the registry that the task is in.
type SourceRegistry struct {
	LoginMode string `json:"loginMode,omitempty"` // None or Default
}

// A RegistryCredential is a user name and password, or an identity.
type RegistryCredential struct {
	UserName *SecretObject `json:"userName,omitempty"`
	Password *SecretObject `json:"password,omitempty"`
	Identity string        `json:"identity,omitempty"`
}

// The types of secret objects.
const (
	Opaque      = "Opaque"
	VaultSecret = "Vaultsecret"
)

// A SecretObject is a value, or the address of one in a vault. Only the
// address is marshalled.
type SecretObject struct {
	Type  string // Opaque or Vaultsecret; empty is Opaque
	Value *Secret
}
