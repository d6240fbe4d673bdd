package steps

// rawFile and the types below are the file as written, with its names.
type rawFile struct {
	spot
	version, workingDirectory string
	stepTimeout               int
	env                       []item
	secrets                   []*rawSecret
	networks                  []*rawNetwork
	volumes                   []*rawVolume
	steps                     []*rawStep
}

type rawSecret struct {
	spot
	id, keyVault, clientID string
}

type rawNetwork struct {
	spot
	name, driver                  string
	ipv6, skipCreation, isDefault bool
}

type rawVolume struct {
	spot
	name  string
	files []pair
	// given is set by a "secret:", even an empty one.
	given bool
}

// A pair is an entry of a mapping of names to texts.
type pair struct{ name, value item }

type rawMount struct {
	spot
	name, path string
}

type rawStepSecret struct {
	spot
	id, name, env, file string
}

type rawStep struct {
	spot
	id, cmd, build                       string
	push, when, retryOnErrors            []item
	timeout, startDelay                  int
	retries, retryDelay, repeat          int
	ignoreErrors                         bool
	exitedWith, exitedWithout            []int
	keep, detach, privileged, pull       bool
	user, network, isolation, cpus       string
	entryPoint, workingDirectory, cache  string
	env, envFile, expose, ports          []item
	secrets                              []*rawStepSecret
	volumeMounts                         []*rawMount
	disableWorkingDirectoryOverride      bool
	cmdDownloadRetries, cmdDownloadDelay int
}

// The keys of the language. docs/task-reference.md and acr-task.schema.json
// say what they mean, and a test holds both to these tables.
var (
	taskKeys = map[string]key[rawFile]{
		"version":          text(func(f *rawFile) *string { return &f.version }),
		"stepTimeout":      number(func(f *rawFile) *int { return &f.stepTimeout }),
		"workingDirectory": text(func(f *rawFile) *string { return &f.workingDirectory }),
		"env":              texts(func(f *rawFile) *[]item { return &f.env }),
		"secrets":          objects("graph.Secret", secretKeys, func(f *rawFile) *[]*rawSecret { return &f.secrets }),
		"networks":         objects("graph.Network", networkKeys, func(f *rawFile) *[]*rawNetwork { return &f.networks }),
		"volumes":          objects("volume.Volume", volumeKeys, func(f *rawFile) *[]*rawVolume { return &f.volumes }),
		"steps":            objects("graph.Step", stepKeys, func(f *rawFile) *[]*rawStep { return &f.steps }),
	}
	secretKeys = map[string]key[rawSecret]{
		"id":       text(func(s *rawSecret) *string { return &s.id }),
		"keyvault": text(func(s *rawSecret) *string { return &s.keyVault }),
		"clientID": text(func(s *rawSecret) *string { return &s.clientID }),
	}
	networkKeys = map[string]key[rawNetwork]{
		"name":         text(func(n *rawNetwork) *string { return &n.name }),
		"driver":       text(func(n *rawNetwork) *string { return &n.driver }),
		"ipv6":         toggle(func(n *rawNetwork) *bool { return &n.ipv6 }),
		"skipCreation": toggle(func(n *rawNetwork) *bool { return &n.skipCreation }),
		"isDefault":    toggle(func(n *rawNetwork) *bool { return &n.isDefault }),
	}
	volumeKeys = map[string]key[rawVolume]{
		"name":   text(func(v *rawVolume) *string { return &v.name }),
		"secret": {"mapping of file names to base64", readVolumeFiles},
	}
	mountKeys = map[string]key[rawMount]{
		"name":      text(func(m *rawMount) *string { return &m.name }),
		"mountPath": text(func(m *rawMount) *string { return &m.path }),
	}
	stepSecretKeys = map[string]key[rawStepSecret]{
		"id":   text(func(s *rawStepSecret) *string { return &s.id }),
		"name": text(func(s *rawStepSecret) *string { return &s.name }),
		"env":  text(func(s *rawStepSecret) *string { return &s.env }),
		"file": text(func(s *rawStepSecret) *string { return &s.file }),
	}
	stepKeys = map[string]key[rawStep]{
		"id":    text(func(s *rawStep) *string { return &s.id }),
		"cmd":   commandLine(func(s *rawStep) *string { return &s.cmd }),
		"build": commandLine(func(s *rawStep) *string { return &s.build }),
		"push":  texts(func(s *rawStep) *[]item { return &s.push }),

		"when":          texts(func(s *rawStep) *[]item { return &s.when }),
		"startDelay":    number(func(s *rawStep) *int { return &s.startDelay }),
		"timeout":       number(func(s *rawStep) *int { return &s.timeout }),
		"repeat":        number(func(s *rawStep) *int { return &s.repeat }),
		"retries":       number(func(s *rawStep) *int { return &s.retries }),
		"retryDelay":    number(func(s *rawStep) *int { return &s.retryDelay }),
		"retryOnErrors": texts(func(s *rawStep) *[]item { return &s.retryOnErrors }),
		"ignoreErrors":  toggle(func(s *rawStep) *bool { return &s.ignoreErrors }),
		"exitedWith":    numbers(func(s *rawStep) *[]int { return &s.exitedWith }),
		"exitedWithout": numbers(func(s *rawStep) *[]int { return &s.exitedWithout }),

		"env":                             texts(func(s *rawStep) *[]item { return &s.env }),
		"envFile":                         textOrTexts(func(s *rawStep) *[]item { return &s.envFile }),
		"secrets":                         objects("steps.StepSecret", stepSecretKeys, func(s *rawStep) *[]*rawStepSecret { return &s.secrets }),
		"workingDirectory":                text(func(s *rawStep) *string { return &s.workingDirectory }),
		"disableWorkingDirectoryOverride": toggle(func(s *rawStep) *bool { return &s.disableWorkingDirectoryOverride }),
		"entryPoint":                      text(func(s *rawStep) *string { return &s.entryPoint }),
		"user":                            text(func(s *rawStep) *string { return &s.user }),
		"network":                         text(func(s *rawStep) *string { return &s.network }),
		"ports":                           texts(func(s *rawStep) *[]item { return &s.ports }),
		"expose":                          texts(func(s *rawStep) *[]item { return &s.expose }),
		"volumeMounts":                    objects("volume.Mount", mountKeys, func(s *rawStep) *[]*rawMount { return &s.volumeMounts }),
		"detach":                          toggle(func(s *rawStep) *bool { return &s.detach }),
		"keep":                            toggle(func(s *rawStep) *bool { return &s.keep }),
		"privileged":                      toggle(func(s *rawStep) *bool { return &s.privileged }),
		"cpus":                            text(func(s *rawStep) *string { return &s.cpus }),
		"isolation":                       text(func(s *rawStep) *string { return &s.isolation }),
		"pull":                            toggle(func(s *rawStep) *bool { return &s.pull }),
		"cmdDownloadRetries":              number(func(s *rawStep) *int { return &s.cmdDownloadRetries }),
		"cmdDownloadRetryDelay":           number(func(s *rawStep) *int { return &s.cmdDownloadDelay }),
		"cache":                           text(func(s *rawStep) *string { return &s.cache }),
	}
)
