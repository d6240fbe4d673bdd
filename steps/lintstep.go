package steps

import (
	"slices"
	"strings"
	"time"
)

// longestRun is ACR's limit of a run, in seconds.
const longestRun = 8 * 60 * 60

// A stepLinter looks at one step.
type stepLinter struct {
	*parser
	raw   *rawStep
	step  *Step
	built map[string]bool // tags that the task builds
}

func (l *stepLinter) run() {
	l.ignoredKeys()
	l.beyondACR()
	l.times()
	l.duplicateWhen()
	l.exitCodes("exitedWith", l.raw.exitedWith)
	l.exitCodes("exitedWithout", l.raw.exitedWithout)
	switch do := l.step.Do.(type) {
	case *Cmd:
		l.floatingTag(do)
	case *Build:
		l.equalsFlags()
	}
}

// has says whether the step has a key, be it merged.
func (l *stepLinter) has(key string) bool { return l.lookup(l.raw.node, key) != nil }

func (l *stepLinter) warn(rule, key, format string, args ...any) {
	l.lint.warn(rule, l.find(l.raw.node, key), format, args...)
}

// What the keys of a step are for. Keys that are not here are for every kind.
var (
	onlyCmd = []string{
		"entryPoint", "pull", "cmdDownloadRetries", "cmdDownloadRetryDelay", "exitedWith", "exitedWithout", "keep", "detach",
		"privileged", "user", "network", "ports", "expose", "cpus", "isolation", "volumeMounts", "disableWorkingDirectoryOverride",
	}
	notPush = append([]string{"retries", "retryDelay", "retryOnErrors", "repeat", "env", "workingDirectory", "cache"}, onlyCmd...)
)

// ignoredKeys are those that do nothing in a step of this kind.
func (l *stepLinter) ignoredKeys() {
	ignored, kind := []string{"cache"}, "cmd"
	switch l.step.Do.(type) {
	case *Build:
		ignored, kind = onlyCmd, "build"
	case *Push:
		ignored, kind = notPush, "push"
	}
	for _, key := range ignored {
		if l.has(key) {
			l.warn("ignored-key", key, "%s does nothing in a %s step", key, kind)
		}
	}
	for _, pair := range [][2]string{{"retryDelay", "retries"}, {"retryOnErrors", "retries"}, {"cmdDownloadRetries", "pull"}, {"cmdDownloadRetryDelay", "cmdDownloadRetries"}} {
		key, without := pair[0], pair[1]
		if kind != "push" && !slices.Contains(ignored, key) && l.has(key) && !l.has(without) {
			l.warn("ignored-key", key, "%s does nothing without %s", key, without)
		}
	}
	if kind == "cmd" && l.raw.disableWorkingDirectoryOverride && l.has("workingDirectory") {
		l.warn("ignored-key", "workingDirectory", "workingDirectory does nothing with disableWorkingDirectoryOverride")
	}
}

// beyondACR notes what ACR does not do.
func (l *stepLinter) beyondACR() {
	for _, key := range []string{"exitedWith", "exitedWithout", "envFile", "secrets"} {
		if l.has(key) {
			l.warn(ruleNotOnACR, key, "%s works here; ACR ignores it", key)
		}
	}
	if l.step.Always || l.step.OnFailure {
		l.warn(ruleNotOnACR, "when", "%s and %s in when work here; ACR refuses the file", whenAlways, whenFailure)
	}
}

func (l *stepLinter) times() {
	if l.raw.timeout > longestRun {
		l.warn("long-timeout", "timeout", "a run ends after %d s at the latest", longestRun)
	}
}

func (l *stepLinter) duplicateWhen() {
	seen := map[string]bool{}
	for _, w := range l.raw.when {
		if seen[w.text] {
			l.lint.warn("duplicate-when", w.node, "%s is there twice; on ACR the step would never start", w.text)
		}
		seen[w.text] = true
	}
}

// exitCodes warns of codes that no container ends with.
func (l *stepLinter) exitCodes(key string, codes []int) {
	for _, c := range codes {
		if c < 0 || c > 255 {
			l.warn("exit-code", key, "no container ends with %d: exit codes are 0 to 255", c)
		}
	}
}

// floatingTag warns of an image that may be another one tomorrow.
func (l *stepLinter) floatingTag(c *Cmd) {
	image := normalTag(c.Image)
	if !strings.HasSuffix(image, ":latest") || strings.Contains(image, "$") || l.built[image] {
		return
	}
	l.warn("floating-tag", "cmd", "%s is whatever was pushed last: name a version, or a digest", c.Image)
}

// equalsFlags warns of flags that ACR's scanner of dependencies does not see.
func (l *stepLinter) equalsFlags() {
	for word := range strings.FieldsSeq(l.raw.build) {
		name, _, ok := strings.Cut(word, "=")
		if ok && slices.Contains([]string{"--file", "--tag", "--target", "--build-arg"}, name) {
			l.warn("flag-equals", "build", "%s=... works here; ACR's dependency scan sees only %s with a space behind", name, name)
		}
	}
}

// lintUnreachable warns of steps that no run can get to.
func (p *parser) lintUnreachable(f *File) {
	starts := map[string]time.Duration{}
	mayFail, hopeless := false, map[string]bool{}
	for i, s := range f.Steps {
		raw := p.raw.steps[i]
		start := s.StartDelay
		for _, id := range s.When {
			start = max(start, starts[id]+s.StartDelay)
			if hopeless[id] && !s.Always && !s.OnFailure {
				p.lint.warn("never-runs", p.find(raw.node, "when"), "step %s never runs: %s cannot succeed", s.ID, id)
				hopeless[s.ID] = true
			}
		}
		starts[s.ID] = min(start, 2*longestRun*time.Second)
		switch {
		case s.OnFailure && !mayFail:
			p.lint.warn("never-runs", p.find(raw.node, "when"), "step %s never runs: no step before it can fail", s.ID)
		case start >= longestRun*time.Second && start-s.StartDelay < longestRun*time.Second:
			p.lint.warn("never-runs", p.find(raw.node, "startDelay"), "step %s never runs: the run ends before its startDelay does", s.ID)
		}
		mayFail = mayFail || !s.IgnoreErrors
		if _, ok := s.Do.(*Cmd); ok && !s.IgnoreErrors && !s.canSucceed() {
			p.lint.warn("never-succeeds", p.find(raw.node, "exitedWith"), "no exit code makes step %s a success", s.ID)
			hopeless[s.ID] = true
		}
	}
}

// canSucceed says whether there is an exit code that is a success.
func (s *Step) canSucceed() bool {
	for code := range 256 {
		if s.Succeeded(code) {
			return true
		}
	}
	return false
}
