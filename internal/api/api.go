// Package api is the management API of the daemon, both ends of it: the
// [Server], and the [Client] that the command line uses.
//
// Paths, names and bodies are those of Azure's Microsoft.ContainerRegistry
// (2019-06-01-preview), so that its SDKs fit. What Azure lacks is an extra
// field or an extra path below the same root: a run's log and progress as
// streams, uploads file by file, SSH agents.
package api

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"acrd/runner"
	"acrd/steps"
)

// root is where the resources of the one registry are. Whatever subscription,
// group and registry a client names, it means this daemon.
const root = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.ContainerRegistry/registries/{registry}"

// ourRoot is the root that our own client uses.
const ourRoot = "/subscriptions/acrd/resourceGroups/acrd/providers/Microsoft.ContainerRegistry/registries/acrd"

// The kinds of run requests.
const (
	DockerBuild = "DockerBuildRequest"
	FileTask    = "FileTaskRunRequest"
	EncodedTask = "EncodedTaskRunRequest"
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

	SourceLocation string       `json:"sourceLocation,omitempty"`
	Timeout        int          `json:"timeout,omitempty"` // seconds
	Platform       *Platform    `json:"platform,omitempty"`
	Credentials    *Credentials `json:"credentials,omitempty"`

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

// A Platform is what an image runs on.
type Platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture,omitempty"`
	Variant      string `json:"variant,omitempty"`
}

// Credentials open registries for one run.
type Credentials struct {
	CustomRegistries map[string]RegistryCredential `json:"customRegistries,omitempty"`
}

// A RegistryCredential is a user name and password.
type RegistryCredential struct {
	UserName SecretObject `json:"userName"`
	Password SecretObject `json:"password"`
}

// A SecretObject is a value as such.
type SecretObject struct {
	Value string `json:"value"`
	Type  string `json:"type,omitempty"` // Opaque
}

// request turns a body into what the runner takes.
func (b *RunRequest) request() (runner.Request, error) {
	req := runner.Request{
		Source: b.SourceLocation, Registry: b.RunRegistry,
		Timeout: time.Duration(b.Timeout) * time.Second,
		Secrets: b.Secrets, Allow: b.Entitlements,
		Values: map[string]string{}, SecretValues: map[string]string{},
	}
	if b.SourceLocation == "/dev/null" {
		req.Source = ""
	}
	for _, v := range b.Values {
		if v.IsSecret {
			req.SecretValues[v.Name] = v.Value
			continue
		}
		req.Values[v.Name] = v.Value
	}
	if b.Credentials != nil {
		for host, c := range b.Credentials.CustomRegistries {
			req.Credentials = append(req.Credentials, steps.Credential{Registry: host, Username: c.UserName.Value, Password: c.Password.Value})
		}
	}
	switch b.Type {
	case DockerBuild:
		req.Build = b.build()
	case FileTask:
		if b.TaskFilePath == "" {
			return req, fmt.Errorf("taskFilePath is missing")
		}
		req.File, req.ValuesFile = b.TaskFilePath, b.ValuesFilePath
	case EncodedTask:
		var err error
		if req.Inline, err = base64.StdEncoding.DecodeString(b.EncodedTaskContent); err != nil {
			return req, fmt.Errorf("encodedTaskContent: %w", err)
		}
		if req.InlineValues, err = base64.StdEncoding.DecodeString(b.EncodedValuesContent); err != nil {
			return req, fmt.Errorf("encodedValuesContent: %w", err)
		}
	default:
		return req, fmt.Errorf("type %q is not one of %s, %s, %s", b.Type, DockerBuild, FileTask, EncodedTask)
	}
	return req, nil
}

func (b *RunRequest) build() *runner.BuildRequest {
	out := &runner.BuildRequest{
		Flags: append([]string(nil), b.BuildFlags...), Tags: b.ImageNames, Dockerfile: b.DockerFilePath,
		Push: b.IsPushEnabled == nil || *b.IsPushEnabled,
	}
	if b.NoCache {
		out.Flags = append(out.Flags, "--no-cache")
	}
	if b.Target != "" {
		out.Flags = append(out.Flags, "--target", b.Target)
	}
	if p := b.Platform; p != nil && p.Architecture != "" {
		platform := strings.ToLower(p.OS) + "/" + p.Architecture
		if p.Variant != "" {
			platform += "/" + p.Variant
		}
		out.Flags = append(out.Flags, "--platform", platform)
	}
	for _, a := range b.Arguments {
		pair := a.Name + "=" + a.Value
		if a.IsSecret {
			out.SecretArgs = append(out.SecretArgs, pair)
			continue
		}
		out.Flags = append(out.Flags, "--build-arg", pair)
	}
	return out
}

// A Run is the resource of a run.
type Run struct {
	ID         string        `json:"id"`
	Name       string        `json:"name"`
	Type       string        `json:"type"`
	Properties RunProperties `json:"properties"`
}

// RunProperties are what is known of a run.
type RunProperties struct {
	RunID             string     `json:"runId"`
	Status            string     `json:"status"`
	RunType           string     `json:"runType"`
	CreateTime        *time.Time `json:"createTime"`
	StartTime         *time.Time `json:"startTime"`
	FinishTime        *time.Time `json:"finishTime"`
	LastUpdatedTime   *time.Time `json:"lastUpdatedTime"`
	OutputImages      []Image    `json:"outputImages"`
	Platform          Platform   `json:"platform"`
	RunErrorMessage   string     `json:"runErrorMessage,omitempty"`
	ProvisioningState string     `json:"provisioningState"`
	IsArchiveEnabled  bool       `json:"isArchiveEnabled"`

	// Extra fields.
	FailedStep   string              `json:"failedStep,omitempty"`
	ExitCode     *int                `json:"exitCode,omitempty"`
	Steps        []Step              `json:"steps,omitempty"`
	BuiltImages  []Image             `json:"builtImages,omitempty"`
	Dependencies []runner.Dependency `json:"dependencies,omitempty"`
}

// An Image is one tag of an image.
type Image struct {
	Registry   string `json:"registry"`
	Repository string `json:"repository"`
	Tag        string `json:"tag"`
	Digest     string `json:"digest"`
}

// A Step is what became of a step.
type Step struct {
	ID         string     `json:"id"`
	Status     string     `json:"status"`
	StartTime  *time.Time `json:"startTime"`
	FinishTime *time.Time `json:"finishTime,omitempty"`
	ExitCode   *int       `json:"exitCode,omitempty"`
	Error      string     `json:"error,omitempty"`
}

// NewRun is the resource of r.
func NewRun(r *runner.Run) *Run {
	p := RunProperties{
		RunID: r.ID, Status: string(r.Status), RunType: string(r.Type),
		CreateTime: moment(r.Created), StartTime: moment(r.Started), FinishTime: moment(r.Finished), LastUpdatedTime: moment(r.Updated),
		Platform: Platform{OS: "linux", Architecture: "amd64"}, RunErrorMessage: r.Err, ProvisioningState: provisioning(r.Status),
		FailedStep: r.FailedStep, ExitCode: r.ExitCode, Dependencies: r.Dependencies(),
	}
	for _, pushed := range r.Pushed {
		p.OutputImages = append(p.OutputImages, image(pushed.Ref, pushed.Digest))
	}
	for _, built := range r.Images {
		for _, tag := range built.Tags {
			p.BuiltImages = append(p.BuiltImages, image(tag, built.Digest))
		}
	}
	for _, s := range r.Steps {
		p.Steps = append(p.Steps, Step{
			ID: s.ID, Status: string(s.Status), StartTime: moment(s.Started), FinishTime: moment(s.Finished), ExitCode: s.ExitCode, Error: s.Err,
		})
	}
	return &Run{ID: ourRoot + "/runs/" + r.ID, Name: r.ID, Type: "Microsoft.ContainerRegistry/registries/runs", Properties: p}
}

func image(ref, digest string) Image {
	r := runner.NewReference(ref, digest)
	return Image{r.Registry, r.Repository, r.Tag, r.Digest}
}

// provisioning is ARM's view of a status.
func provisioning(s runner.Status) string {
	switch s {
	case runner.Canceled:
		return "Canceled"
	case runner.Failed, runner.Error, runner.Timeout:
		return "Failed"
	}
	return "Succeeded"
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
