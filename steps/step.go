package steps

import (
	"fmt"
	"strings"
)

const rootID = "acb_root"

func (p *parser) steps(f *File) []*Step {
	if len(p.raw.steps) > maxSteps {
		p.fault(p.find(p.raw.node, "steps"), "the task has more than %d steps", maxSteps)
		return nil
	}
	for i, s := range p.raw.steps {
		if s.id == "" {
			s.id = fmt.Sprintf("acb_step_%d", i)
		}
	}
	all := make([]*Step, 0, len(p.raw.steps))
	before := map[string]bool{}
	for i, s := range p.raw.steps {
		p.identity(s, before[s.id])
		all = append(all, p.step(f, s, i))
		before[s.id] = true
	}
	return all
}

func (p *parser) identity(s *rawStep, taken bool) {
	switch {
	case hasSpace(s.id):
		p.fault(p.find(s.node, "id"), "step ID cannot contain spaces")
	case taken:
		p.fault(p.find(s.node, "id"), "%s already exists as a vertex", s.id)
	case s.id == rootID:
		p.fault(p.find(s.node, "id"), "%s is a reserved ID, it can't be used", rootID)
	}
}

// step judges one step and makes it.
func (p *parser) step(f *File, s *rawStep, i int) *Step {
	p.bounds(s)
	out := &Step{
		ID: s.id, Timeout: f.StepTimeout, StartDelay: seconds(max(s.startDelay, 0)),
		Retries: max(s.retries, 0), RetryDelay: defaultRetryDelay, Repeat: max(s.repeat, 0),
		RetryOn: plain(s.retryOnErrors), IgnoreErrors: s.ignoreErrors,
		Network: s.network, User: s.user, EntryPoint: s.entryPoint, Isolation: s.isolation, CPUs: s.cpus,
		Ports: plain(s.ports), Expose: plain(s.expose),
		Privileged: s.privileged, Detach: s.detach, Keep: s.keep, Pull: s.pull,
		PullRetries: max(s.cmdDownloadRetries, 0), PullRetryDelay: seconds(max(s.cmdDownloadDelay, 0)),
		ExitedWith: s.exitedWith, ExitedWithout: s.exitedWithout,
		WorkingDirectory: f.WorkingDirectory,
	}
	if s.timeout > 0 {
		out.Timeout = seconds(s.timeout)
	}
	if s.retryDelay > 0 {
		out.RetryDelay = seconds(s.retryDelay)
	}
	if s.workingDirectory != "" {
		out.WorkingDirectory = absolute(WorkspaceDir, s.workingDirectory)
	}
	p.environment(f, s, out)
	out.VolumeMounts = p.mounts(s)
	p.when(s, out, i)
	return out
}

// environment is what a step does, and the surroundings that its own command
// line has a say in.
func (p *parser) environment(f *File, s *rawStep, out *Step) {
	out.EnvFiles = p.envFiles(s, out.WorkingDirectory)
	p.action(s, out)
	if s.disableWorkingDirectoryOverride && s.cmd != "" {
		out.WorkingDirectory = ""
	}
	if out.Network == "" {
		out.Network = f.defaultNetwork()
	}
	var flags []string
	if c, ok := out.Do.(*Cmd); ok {
		flags = c.Flags.Env
	}
	out.Env = p.stepEnv(s, flags)
	out.ownEnv = len(out.Env)
	out.Env = mergeEnv(out.Env, f.Env)
	out.Secrets = p.stepSecrets(s)
}

func (p *parser) bounds(s *rawStep) {
	if s.retries < 0 {
		p.fault(p.find(s.node, "retries"), "step must specify retries >= 0")
	}
	if s.repeat < 0 {
		p.fault(p.find(s.node, "repeat"), "step must specify repeat >= 0")
	}
	if c := strings.ToLower(s.cache); c != "" && c != cacheEnabled && c != "disabled" {
		p.fault(p.find(s.node, "cache"), "invalid value for cache property. Valid values are 'enabled', 'disabled'")
	}
}
