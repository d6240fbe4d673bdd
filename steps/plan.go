package steps

import (
	"slices"
	"strings"
	"time"
)

// A Plan is what a task file would do, with everything resolved: defaults
// applied, environments merged, working directories absolute. Durations are in
// seconds. It is the answer of acrd run --dry-run.
type Plan struct {
	Version  string        `json:"version"`
	Networks []PlanNetwork `json:"networks"`
	Volumes  []PlanVolume  `json:"volumes"`
	// Steps are in the order of the file; each starts when all in its When
	// have ended.
	Steps []PlanStep `json:"steps"`
}

// A PlanNetwork is a network of the plan.
type PlanNetwork struct {
	Name         string `json:"name"`
	Driver       string `json:"driver,omitempty"`
	IPv6         bool   `json:"ipv6,omitempty"`
	SkipCreation bool   `json:"skipCreation,omitempty"`
	IsDefault    bool   `json:"isDefault,omitempty"`
}

// A PlanVolume is a volume without what is in its files.
type PlanVolume struct {
	Name  string   `json:"name"`
	Files []string `json:"files"`
}

// A PlanStep is one step: one of Cmd, Build, Push and Volume is there. Volume
// steps come first; the file does not list them.
type PlanStep struct {
	ID           string      `json:"id"`
	When         []string    `json:"when"`
	Condition    string      `json:"condition,omitempty"` // always or failure
	Cmd          *PlanCmd    `json:"cmd,omitempty"`
	Build        *PlanBuild  `json:"build,omitempty"`
	Push         []string    `json:"push,omitempty"`
	Volume       *PlanVolume `json:"volume,omitempty"`
	Timeout      int         `json:"timeout"`
	StartDelay   int         `json:"startDelay,omitempty"`
	Retries      int         `json:"retries,omitempty"`
	RetryDelay   int         `json:"retryDelay,omitempty"`
	RetryOn      []string    `json:"retryOnErrors,omitempty"`
	Repeat       int         `json:"repeat,omitempty"`
	IgnoreErrors bool        `json:"ignoreErrors,omitempty"`

	EntryPoint       string      `json:"entryPoint,omitempty"`
	Env              []string    `json:"env,omitempty"`
	EnvFiles         []string    `json:"envFile,omitempty"`
	Secrets          []string    `json:"secrets,omitempty"`
	WorkingDirectory string      `json:"workingDirectory,omitempty"`
	Network          string      `json:"network,omitempty"`
	User             string      `json:"user,omitempty"`
	Privileged       bool        `json:"privileged,omitempty"`
	Detach           bool        `json:"detach,omitempty"`
	Keep             bool        `json:"keep,omitempty"`
	Pull             bool        `json:"pull,omitempty"`
	Ports            []string    `json:"ports,omitempty"`
	Expose           []string    `json:"expose,omitempty"`
	CPUs             string      `json:"cpus,omitempty"`
	Isolation        string      `json:"isolation,omitempty"`
	VolumeMounts     []PlanMount `json:"volumeMounts,omitempty"`
	ExitedWith       []int       `json:"exitedWith,omitempty"`
	ExitedWithout    []int       `json:"exitedWithout,omitempty"`
}

// A PlanMount shows a volume in a step.
type PlanMount struct {
	Name string `json:"name"`
	Path string `json:"mountPath"`
}

// A PlanCmd is a container.
type PlanCmd struct {
	Image string   `json:"image"`
	Args  []string `json:"args"`
	// Mounts are folders of the host, SOURCE:TARGET[:ro].
	Mounts []string `json:"mounts,omitempty"`
}

// A PlanBuild is a build. Tags are those that ACR sees too; OtherTags are
// written --tag=NAME, which its dependency scanner misses.
type PlanBuild struct {
	Tags       []string `json:"tags"`
	OtherTags  []string `json:"otherTags,omitempty"`
	Dockerfile string   `json:"dockerfile"`
	Target     string   `json:"target,omitempty"`
	Context    string   `json:"context"`
	BuildArgs  []string `json:"buildArgs,omitempty"`
	Platforms  []string `json:"platforms,omitempty"`
	Labels     []string `json:"labels,omitempty"`
	NoCache    bool     `json:"noCache,omitempty"`
	Pull       bool     `json:"pull,omitempty"`
	Cache      string   `json:"cache,omitempty"`
	// Secrets are the ids of --secret.
	Secrets []string `json:"secrets,omitempty"`
}

// Plan says what the file would do.
func (f *File) Plan() *Plan {
	p := &Plan{Version: f.Version, Networks: []PlanNetwork{}, Volumes: []PlanVolume{}, Steps: []PlanStep{}}
	for _, n := range f.Networks {
		p.Networks = append(p.Networks, PlanNetwork{n.Name, n.Driver, n.IPv6, n.SkipCreation, n.Default})
	}
	for _, v := range f.Volumes {
		volume := PlanVolume{Name: v.Name, Files: []string{}}
		for name := range v.Files {
			volume.Files = append(volume.Files, name)
		}
		slices.Sort(volume.Files)
		p.Volumes = append(p.Volumes, volume)
		p.Steps = append(p.Steps, PlanStep{ID: "acb_volume_" + v.Name, When: []string{}, Volume: &volume})
	}
	for _, s := range f.Steps {
		p.Steps = append(p.Steps, s.plan())
	}
	return p
}

func (s *Step) plan() PlanStep {
	p := PlanStep{
		ID: s.ID, When: append([]string{}, s.When...), Timeout: whole(s.Timeout), StartDelay: whole(s.StartDelay),
		Retries: s.Retries, RetryOn: s.RetryOn, Repeat: s.Repeat, IgnoreErrors: s.IgnoreErrors,
	}
	switch {
	case s.Always:
		p.Condition = "always"
	case s.OnFailure:
		p.Condition = "failure"
	}
	if s.Retries > 0 {
		p.RetryDelay = whole(s.RetryDelay)
	}
	switch do := s.Do.(type) {
	case *Push:
		p.Push = do.Refs
		return p
	case *Build:
		p.Build = do.plan()
	case *Cmd:
		p.Cmd = do.plan()
		p.EntryPoint = s.EntryPoint
	}
	p.Env, p.WorkingDirectory, p.Network, p.User = s.Env, s.WorkingDirectory, s.Network, s.User
	p.Privileged, p.Detach, p.Keep, p.Pull = s.Privileged, s.Detach, s.Keep, s.Pull
	p.Ports, p.Expose, p.CPUs, p.Isolation = s.Ports, s.Expose, s.CPUs, s.Isolation
	p.ExitedWith, p.ExitedWithout, p.EnvFiles = s.ExitedWith, s.ExitedWithout, s.EnvFiles
	for _, secret := range s.Secrets {
		p.Secrets = append(p.Secrets, secret.ID)
	}
	for _, m := range s.VolumeMounts {
		p.VolumeMounts = append(p.VolumeMounts, PlanMount{m.Name, m.Path})
	}
	return p
}

func (c *Cmd) plan() *PlanCmd {
	p := &PlanCmd{Image: c.Image, Args: append([]string{}, c.Args...)}
	for _, m := range c.Flags.HostMounts {
		mount := m.Source + ":" + m.Target
		if m.ReadOnly {
			mount += ":ro"
		}
		p.Mounts = append(p.Mounts, mount)
	}
	return p
}

func (b *Build) plan() *PlanBuild {
	o := b.Options
	p := &PlanBuild{
		Tags: []string{}, Dockerfile: o.File, Target: o.Target, Context: b.Context.String(), BuildArgs: o.BuildArgs,
		Platforms: o.Platforms, Labels: o.Labels, NoCache: o.NoCache, Pull: o.Pull, Cache: b.Cache,
	}
	if p.Dockerfile == "" {
		p.Dockerfile = "Dockerfile"
	}
	for _, t := range o.Tags {
		if strings.Contains(b.Line, "--tag="+t) || strings.Contains(b.Line, "-t"+t) || strings.Contains(b.Line, "-t="+t) {
			p.OtherTags = append(p.OtherTags, t)
			continue
		}
		p.Tags = append(p.Tags, t)
	}
	for _, s := range o.Secrets {
		p.Secrets = append(p.Secrets, s.ID)
	}
	return p
}

func whole(d time.Duration) int { return int(d / time.Second) }
