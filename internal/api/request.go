package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"acrd/runner"
	"acrd/steps"
)

// The kinds of run requests.
const (
	DockerBuild = "DockerBuildRequest"
	FileTask    = "FileTaskRunRequest"
	EncodedTask = "EncodedTaskRunRequest"
	TaskRunKind = "TaskRunRequest"
)

// A RunRequest is the body of scheduleRun. Which fields count depends on Type.
type RunRequest struct {
	Type string `json:"type"`

	// DockerBuild
	ImageNames     []string   `json:"imageNames,omitempty"`
	IsPushEnabled  *bool      `json:"isPushEnabled,omitempty"` // default true
	NoCache        bool       `json:"noCache,omitempty"`
	DockerFilePath string     `json:"dockerFilePath,omitempty"`
	Target         string     `json:"target,omitempty"`
	Arguments      []Argument `json:"arguments,omitempty"`
	// BuildFlags are further flags of docker build.
	BuildFlags []string `json:"buildFlags,omitempty"`

	// FileTask and EncodedTask
	TaskFilePath         string     `json:"taskFilePath,omitempty"`
	ValuesFilePath       string     `json:"valuesFilePath,omitempty"`
	EncodedTaskContent   string     `json:"encodedTaskContent,omitempty"`
	EncodedValuesContent string     `json:"encodedValuesContent,omitempty"`
	Values               []Argument `json:"values,omitempty"`

	// TaskRunKind: the resource id of the task, or its name
	TaskID    string     `json:"taskId,omitempty"`
	Overrides *Overrides `json:"overrideTaskStepProperties,omitempty"`

	SourceLocation string `json:"sourceLocation,omitempty"`
	Timeout        int    `json:"timeout,omitempty"` // seconds, 300 to 28800
	// RunTimeout is Timeout without its lower bound.
	RunTimeout         int             `json:"runTimeout,omitempty"`
	Platform           *Platform       `json:"platform,omitempty"`
	Credentials        *Credentials    `json:"credentials,omitempty"`
	IsArchiveEnabled   bool            `json:"isArchiveEnabled,omitempty"`
	AgentPoolName      string          `json:"agentPoolName,omitempty"`
	LogTemplate        string          `json:"logTemplate,omitempty"`
	AgentConfiguration json.RawMessage `json:"agentConfiguration,omitempty"`

	// RunRegistry replaces the daemon's own as the run's registry.
	RunRegistry string `json:"runRegistry,omitempty"`
	// Secrets are values for --secret id=..., by id.
	Secrets map[string][]byte `json:"secrets,omitempty"`
	// Entitlements are granted to this run.
	Entitlements []string `json:"entitlements,omitempty"`
	// SSHAgents are the parking places (see Agents) of the requester's
	// agents, by the id that --ssh gives them.
	SSHAgents map[string]string `json:"sshAgents,omitempty"`
}

// An Argument is a named value; a secret one is never shown.
type Argument struct {
	Name     string `json:"name"`
	Value    string `json:"value"`
	IsSecret bool   `json:"isSecret,omitempty"`
}

// Overrides replace parts of a task for one run.
type Overrides struct {
	ContextPath        string     `json:"contextPath,omitempty"`
	File               string     `json:"file,omitempty"`
	Target             string     `json:"target,omitempty"`
	Arguments          []Argument `json:"arguments,omitempty"`
	Values             []Argument `json:"values,omitempty"`
	UpdateTriggerToken string     `json:"updateTriggerToken,omitempty"`
}

// A Platform is what an image runs on.
type Platform = runner.Platform

// Credentials open registries for one run.
type Credentials struct {
	SourceRegistry   *runner.SourceRegistry        `json:"sourceRegistry,omitempty"`
	CustomRegistries map[string]RegistryCredential `json:"customRegistries,omitempty"`
}

// A RegistryCredential is a user name and password.
type RegistryCredential struct {
	UserName SecretObject `json:"userName"`
	Password SecretObject `json:"password"`
	Identity string       `json:"identity,omitempty"`
}

// A SecretObject is a value as such, or the address of one in a vault.
type SecretObject struct {
	Value string `json:"value"`
	Type  string `json:"type,omitempty"` // Opaque or Vaultsecret
}

// check finds everything that is wrong with a body, but for what only the
// runner can know.
func (b *RunRequest) check() error {
	var faults runner.Faults
	add := func(code, target, message string) {
		faults = append(faults, runner.Fault{Code: code, Target: target, Message: message})
	}
	need := func(target, value string) {
		if value == "" {
			add("MissingRequiredProperty", target, "Missing required property '"+target+"'.")
		}
	}
	switch b.Type {
	case DockerBuild:
	case FileTask:
		need("taskFilePath", b.TaskFilePath)
	case EncodedTask:
		need("encodedTaskContent", b.EncodedTaskContent)
	case TaskRunKind:
		need("taskId", b.TaskID)
	default:
		add("InvalidRunRequestType", "type", fmt.Sprintf("'%s' is not one of %s, %s, %s, %s.", b.Type, DockerBuild, FileTask, EncodedTask, TaskRunKind))
	}
	if b.Timeout != 0 && (b.Timeout < runner.MinTaskTimeout || b.Timeout > runner.MaxTaskTimeout) {
		add("InvalidProperty", "timeout", fmt.Sprintf("%d is not between %d and %d seconds; runTimeout may be shorter.", b.Timeout, runner.MinTaskTimeout, runner.MaxTaskTimeout))
	}
	if b.Timeout != 0 && b.RunTimeout != 0 {
		add("InvalidProperty", "runTimeout", "There is a timeout already.")
	}
	if b.Platform != nil && strings.EqualFold(b.Platform.OS, "windows") {
		add("InvalidProperty", "platform.os", "acrd builds on Linux, for Linux.")
	}
	for target, text := range map[string]string{"encodedTaskContent": b.EncodedTaskContent, "encodedValuesContent": b.EncodedValuesContent} {
		if _, err := base64.StdEncoding.DecodeString(text); err != nil {
			add("InvalidProperty", target, "It is not base64: "+err.Error()+".")
		}
	}
	if len(faults) > 0 {
		return faults
	}
	return nil
}

// request turns a checked body into what the runner takes, unless it is about
// a task. It is the request of a task that has the same in it.
func (b *RunRequest) request() (runner.Request, error) {
	t := &runner.Task{TaskSpec: runner.TaskSpec{
		Timeout: max(b.Timeout, b.RunTimeout), AgentPool: b.AgentPoolName, LogTemplate: b.LogTemplate, Allow: b.Entitlements,
		Step: runner.TaskStep{
			ContextPath: b.SourceLocation, ImageNames: b.ImageNames, Push: b.IsPushEnabled, NoCache: b.NoCache,
			Dockerfile: b.DockerFilePath, Target: b.Target, Arguments: arguments(b.Arguments),
			TaskFile: b.TaskFilePath, ValuesFile: b.ValuesFilePath, Values: arguments(b.Values),
		},
		Credentials: b.Credentials.stored(),
	}}
	if b.Platform != nil {
		t.Platform = *b.Platform
	}
	switch b.Type {
	case DockerBuild:
		t.Step.Type = runner.DockerStep
	case FileTask:
		t.Step.Type = runner.FileTaskStep
	case EncodedTask:
		t.Step.Type = runner.EncodedTaskStep
		t.Step.Content, _ = base64.StdEncoding.DecodeString(b.EncodedTaskContent) // checked
		t.Step.ValuesContent, _ = base64.StdEncoding.DecodeString(b.EncodedValuesContent)
	}
	req, err := t.Request(runner.Overrides{})
	if req.Build != nil {
		req.Build.Flags = append(append([]string(nil), b.BuildFlags...), req.Build.Flags...)
		req.Build.Push = b.IsPushEnabled == nil || *b.IsPushEnabled
	}
	b.addCommon(&req)
	return req, err
}

// addCommon adds what a request of any kind may have.
func (b *RunRequest) addCommon(req *runner.Request) {
	req.Registry, req.Secrets, req.Archive = b.RunRegistry, b.Secrets, b.IsArchiveEnabled
	if t := max(b.Timeout, b.RunTimeout); t > 0 {
		req.Timeout = time.Duration(t) * time.Second
	}
	if b.AgentPoolName != "" {
		req.AgentPool = b.AgentPoolName
	}
	if b.LogTemplate != "" {
		req.LogTemplate = b.LogTemplate
	}
}

// addTo adds to the request of a task what is beyond the task.
func (b *RunRequest) addTo(req *runner.Request) {
	registry := req.Registry
	b.addCommon(req)
	if b.RunRegistry == "" {
		req.Registry = registry
	}
	req.Allow = append(req.Allow, b.Entitlements...)
	if b.Credentials == nil {
		return
	}
	for host, c := range b.Credentials.CustomRegistries {
		req.Credentials = append(req.Credentials, steps.Credential{Registry: host, Username: c.UserName.Value, Password: c.Password.Value})
	}
}

// taskName is the task's name in its resource id, or what is there instead.
func (b *RunRequest) taskName() string { return b.TaskID[strings.LastIndexByte(b.TaskID, '/')+1:] }

func (o *Overrides) stored() runner.Overrides {
	if o == nil {
		return runner.Overrides{}
	}
	return runner.Overrides{
		ContextPath: o.ContextPath, File: o.File, Target: o.Target, UpdateTriggerToken: o.UpdateTriggerToken,
		Arguments: arguments(o.Arguments), Values: arguments(o.Values),
	}
}

func arguments(list []Argument) []runner.Argument {
	var all []runner.Argument
	for _, a := range list {
		all = append(all, runner.Argument(a))
	}
	return all
}

func (c *Credentials) stored() *runner.TaskCredential {
	if c == nil {
		return nil
	}
	t := &runner.TaskCredential{SourceRegistry: c.SourceRegistry, CustomRegistries: map[string]runner.RegistryCredential{}}
	for host, r := range c.CustomRegistries {
		t.CustomRegistries[host] = runner.RegistryCredential{Identity: r.Identity, UserName: r.UserName.stored(), Password: r.Password.stored()}
	}
	return t
}

func (o SecretObject) stored() *runner.SecretObject {
	if o.Value == "" {
		return nil
	}
	return &runner.SecretObject{Type: o.Type, Value: runner.NewSecret(o.Value)}
}

// shown is the body without its secrets.
func (b *RunRequest) shown() *RunRequest {
	c := *b
	c.Arguments, c.Values = hidden(b.Arguments), hidden(b.Values)
	if b.Overrides != nil {
		o := *b.Overrides
		o.Arguments, o.Values = hidden(o.Arguments), hidden(o.Values)
		c.Overrides = &o
	}
	c.Secrets, c.SSHAgents = nil, nil
	if b.Credentials != nil {
		c.Credentials = &Credentials{SourceRegistry: b.Credentials.SourceRegistry, CustomRegistries: map[string]RegistryCredential{}}
		for host, r := range b.Credentials.CustomRegistries {
			c.Credentials.CustomRegistries[host] = RegistryCredential{UserName: r.UserName.hidden(), Password: r.Password.hidden(), Identity: r.Identity}
		}
	}
	return &c
}

func hidden(list []Argument) []Argument {
	var all []Argument
	for _, a := range list {
		if a.IsSecret {
			a.Value = ""
		}
		all = append(all, a)
	}
	return all
}

func (o SecretObject) hidden() SecretObject {
	if o.Type != runner.VaultSecret {
		o.Value = ""
	}
	return o
}
