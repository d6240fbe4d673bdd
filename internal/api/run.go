package api

import (
	"runtime"
	"strings"
	"time"

	"acrd/runner"
)

// A Run is the resource of a run.
type Run struct {
	ID         string        `json:"id"`
	Name       string        `json:"name"`
	Type       string        `json:"type"`
	Properties RunProperties `json:"properties"`
}

// RunProperties are what is known of a run.
type RunProperties struct {
	RunID           string     `json:"runId"`
	Status          string     `json:"status"`
	RunType         string     `json:"runType"`
	Task            string     `json:"task,omitempty"`
	CreateTime      *time.Time `json:"createTime"`
	StartTime       *time.Time `json:"startTime"`
	FinishTime      *time.Time `json:"finishTime"`
	LastUpdatedTime *time.Time `json:"lastUpdatedTime"`
	OutputImages    []Image    `json:"outputImages"`
	Platform        Platform   `json:"platform"`
	runner.Cause
	CustomRegistries   []string `json:"customRegistries,omitempty"`
	UpdateTriggerToken string   `json:"updateTriggerToken,omitempty"`
	AgentPoolName      string   `json:"agentPoolName,omitempty"`
	RunErrorMessage    string   `json:"runErrorMessage,omitempty"`
	ProvisioningState  string   `json:"provisioningState"`
	IsArchiveEnabled   bool     `json:"isArchiveEnabled"`

	// Extra fields. QueuePosition is told of one run, not of many.
	QueuePosition int                 `json:"queuePosition,omitempty"`
	Reason        string              `json:"reason,omitempty"` // why it started by itself
	FailedStep    string              `json:"failedStep,omitempty"`
	ExitCode      *int                `json:"exitCode,omitempty"`
	Steps         []Step              `json:"steps,omitempty"`
	BuiltImages   []Image             `json:"builtImages,omitempty"`
	Dependencies  []runner.Dependency `json:"dependencies,omitempty"`
}

// Trigger is what started the run, in the words of az's tables.
func (p *RunProperties) Trigger() string { return p.Cause.Trigger() }

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

// newRun is the resource of r below base.
func newRun(base string, r *runner.Run) *Run {
	req := &r.Request
	p := RunProperties{
		RunID: r.ID, Status: string(r.Status), RunType: string(r.Type), Task: req.Task,
		CreateTime: moment(r.Created), StartTime: moment(r.Started), FinishTime: moment(r.Finished), LastUpdatedTime: moment(r.Updated),
		Platform: platform(req.Platform), UpdateTriggerToken: req.UpdateTriggerToken, AgentPoolName: req.AgentPool,
		RunErrorMessage: r.Err, ProvisioningState: provisioning(r.Status), IsArchiveEnabled: r.Archived,
		Reason: req.Reason, FailedStep: r.FailedStep, ExitCode: r.ExitCode, Dependencies: r.Dependencies(),
	}
	if req.Cause != nil {
		p.Cause = *req.Cause
	}
	for _, c := range req.Credentials {
		p.CustomRegistries = append(p.CustomRegistries, c.Registry)
	}
	for _, pushed := range r.Pushed {
		p.OutputImages = append(p.OutputImages, image(pushed.Ref, pushed.Digest))
	}
	for _, built := range r.Images {
		if len(built.Tags) == 0 && built.Digest != "" {
			p.BuiltImages = append(p.BuiltImages, Image{Digest: built.Digest})
		}
		for _, tag := range built.Tags {
			p.BuiltImages = append(p.BuiltImages, image(tag, built.Digest))
		}
	}
	for _, s := range r.Steps {
		p.Steps = append(p.Steps, Step{
			ID: s.ID, Status: string(s.Status), StartTime: moment(s.Started), FinishTime: moment(s.Finished), ExitCode: s.ExitCode, Error: s.Err,
		})
	}
	return &Run{ID: base + "/runs/" + r.ID, Name: r.ID, Type: "Microsoft.ContainerRegistry/registries/runs", Properties: p}
}

func image(ref, digest string) Image {
	r := runner.NewReference(ref, digest)
	return Image{r.Registry, r.Repository, r.Tag, r.Digest}
}

// platform is what was asked for, or else what this daemon runs on.
func platform(p Platform) Platform {
	if p.OS == "" {
		p.OS = "linux"
	}
	p.OS = strings.ToLower(p.OS)
	if p.Architecture == "" {
		p.Architecture = runtime.GOARCH
	}
	return p
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
