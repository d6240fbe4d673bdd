package runner

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"acrd/steps"
)

// Overrides replace parts of a task for one run. Their JSON is ACR's
// overrideTaskStepProperties.
type Overrides struct {
	ContextPath string `json:"contextPath,omitempty"`
	// File replaces the Dockerfile, or the task file.
	File               string     `json:"file,omitempty"`
	Target             string     `json:"target,omitempty"`
	Arguments          []Argument `json:"arguments,omitempty"`
	Values             []Argument `json:"values,omitempty"`
	UpdateTriggerToken string     `json:"updateTriggerToken,omitempty"`
}

// Request is what a run of t asks for. Arguments and values of o count beside
// t's and replace those of the same name; what was secret stays secret.
func (t *Task) Request(o Overrides) (Request, error) {
	step := t.Step.with(o)
	if o.File != "" && t.Step.Type == EncodedTaskStep {
		return Request{}, &InvalidError{fmt.Errorf("task %s has its file in itself: another one cannot take its place for a run", t.Name)}
	}
	req := Request{
		Task: t.Name, UpdateTriggerToken: o.UpdateTriggerToken, AgentPool: t.AgentPool, LogTemplate: t.LogTemplate,
		Platform: t.Platform,
		Source:   step.ContextPath, Timeout: time.Duration(t.Timeout) * time.Second, Allow: slices.Clone(t.Allow), TaskLimit: t.Concurrency,
		Values: map[string]string{}, SecretValues: map[string]string{},
	}
	switch {
	case req.Source == "/dev/null":
		req.Source = ""
	case strings.HasPrefix(req.Source, ArchivePrefix):
		req.Source = UploadScheme + req.Source
	}
	// A token is for the source that it was given with, and for no other.
	if step.ContextPath == t.Step.ContextPath {
		req.SourceToken = step.ContextAccessToken.Reveal()
	}
	for _, v := range step.Values {
		if v.IsSecret {
			req.SecretValues[v.Name] = v.Value
			continue
		}
		req.Values[v.Name] = v.Value
	}
	t.addCredentials(&req)
	switch step.Type {
	case DockerStep:
		req.Build = step.build(t.Platform)
	case FileTaskStep:
		req.File, req.ValuesFile = step.TaskFile, step.ValuesFile
	case EncodedTaskStep:
		req.Inline, req.InlineValues = step.Content, step.ValuesContent
	}
	return req, nil
}

func (t *Task) addCredentials(req *Request) {
	if t.Credentials == nil {
		return
	}
	for host, c := range t.Credentials.CustomRegistries {
		if c.UserName == nil || c.Password == nil {
			continue // an identity, which opens nothing here
		}
		if c.UserName.Type == VaultSecret || c.Password.Type == VaultSecret {
			req.VaultCredentials = append(req.VaultCredentials, VaultCredential{
				host, c.UserName.Value.Reveal(), c.Password.Value.Reveal(), c.UserName.Type == VaultSecret, c.Password.Type == VaultSecret,
			})
			continue
		}
		req.Credentials = append(req.Credentials, steps.Credential{Registry: host, Username: c.UserName.Value.Reveal(), Password: c.Password.Value.Reveal()})
	}
}

func (s TaskStep) with(o Overrides) TaskStep {
	if o.ContextPath != "" {
		s.ContextPath = o.ContextPath
	}
	if o.Target != "" {
		s.Target = o.Target
	}
	if o.File != "" {
		s.Dockerfile, s.TaskFile = o.File, o.File
	}
	s.Arguments = overridden(s.Arguments, o.Arguments)
	s.Values = overridden(s.Values, o.Values)
	return s
}

func overridden(own, others []Argument) []Argument {
	all := slices.Clone(own)
	for _, a := range others {
		i := slices.IndexFunc(all, func(b Argument) bool { return b.Name == a.Name })
		if i < 0 {
			all = append(all, a)
			continue
		}
		a.IsSecret = a.IsSecret || all[i].IsSecret
		all[i] = a
	}
	return all
}

// build is the docker build of a Docker step.
func (s *TaskStep) build(p Platform) *BuildRequest {
	b := &BuildRequest{Tags: s.ImageNames, Dockerfile: s.Dockerfile, Push: s.Push == nil || *s.Push}
	if s.NoCache {
		b.Flags = append(b.Flags, "--no-cache")
	}
	if s.Target != "" {
		b.Flags = append(b.Flags, "--target", s.Target)
	}
	if p.Architecture != "" {
		b.Flags = append(b.Flags, "--platform", p.String())
	}
	for _, a := range s.Arguments {
		pair := a.Name + "=" + a.Value
		if a.IsSecret {
			b.SecretArgs = append(b.SecretArgs, pair)
			continue
		}
		b.Flags = append(b.Flags, "--build-arg", pair)
	}
	return b
}

// String is the platform as docker writes it.
func (p Platform) String() string {
	arch := strings.ToLower(p.Architecture)
	if arch == "x86" { // ACR's, for which docker says 386
		arch = "386"
	}
	text := strings.ToLower(p.OS)
	if arch != "" {
		text += "/" + arch
	}
	if p.Variant != "" {
		text += "/" + strings.ToLower(p.Variant)
	}
	return text
}
