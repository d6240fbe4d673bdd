package runner

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"acrd/internal/pattern"
	"acrd/steps"
)

// A Fault is one thing that is wrong with a resource. Target is the path of
// the field, in the names of its JSON.
type Fault struct {
	Code, Target, Message string
}

// Faults are everything that is wrong.
type Faults []Fault

func (f Faults) Error() string {
	var all []string
	for _, one := range f {
		all = append(all, one.Target+": "+one.Message)
	}
	return strings.Join(all, "\n")
}

// Codes of faults.
const (
	missingProperty = "MissingRequiredProperty"
	invalidProperty = "InvalidProperty"
)

// Bounds of a task's timeout in seconds: ACR's.
const (
	MinTaskTimeout = 300
	MaxTaskTimeout = 28800
)

var (
	taskName    = pattern.New(`^[a-zA-Z0-9_-]{5,50}$`)
	taskRunName = pattern.New(`^[a-zA-Z0-9-]{5,50}$`)
	// repositoryURL is as lenient as ACR: with and without .git.
	repositoryURL = pattern.New(`^(?:(?:https?|ssh|git)://[^/\s]+/\S+|[^@/\s]+@[^:/\s]+:\S+)$`)
)

// Normalize fills in ACR's defaults, and writes words the way ACR does. What
// is not one of ACR's words stays as it is, for Check.
func (t *Task) Normalize() {
	word(&t.Status, Enabled, Disabled)
	word(&t.Platform.OS, "linux", "windows")
	t.Platform.Architecture = strings.ToLower(t.Platform.Architecture)
	if t.Timeout == 0 {
		t.Timeout = int(DefaultTimeout.Seconds())
	}
	if t.Step.Type != "" {
		word(&t.Step.Type, DockerStep, FileTaskStep, EncodedTaskStep)
	}
	if t.Step.Type == DockerStep && t.Step.Push == nil {
		push := len(t.Step.ImageNames) > 0
		t.Step.Push = &push
	}
	if t.Trigger != nil {
		t.Trigger.normalize()
	}
}

func (t *TaskTrigger) normalize() {
	for i := range t.Timers {
		word(&t.Timers[i].Status, Enabled, Disabled)
		t.Timers[i].CatchUp = strings.ToLower(t.Timers[i].CatchUp)
		t.Timers[i].Overlap = strings.ToLower(t.Timers[i].Overlap)
	}
	for i := range t.Sources {
		s := &t.Sources[i]
		word(&s.Status, Enabled, Disabled)
		word(&s.Repository.Type, "Github", "VisualStudioTeamService")
		for j := range s.Events {
			word(&s.Events[j], CommitEvent, PullRequestEvent)
		}
	}
	if t.BaseImage != nil {
		word(&t.BaseImage.Status, Enabled, Disabled)
		word(&t.BaseImage.Type, RuntimeBases, AllBases)
		word(&t.BaseImage.PayloadType, "Default", "Token")
	}
}

// word makes of v the one of the words that it is but for its case, and the
// first if it is empty.
func word[S ~string](v *S, words ...S) {
	if *v == "" {
		*v = words[0]
		return
	}
	for _, w := range words {
		if strings.EqualFold(string(w), string(*v)) {
			*v = w
		}
	}
}

// A checker collects faults.
type checker struct{ faults Faults }

func (c *checker) add(code, target, format string, args ...any) {
	c.faults = append(c.faults, Fault{code, target, fmt.Sprintf(format, args...)})
}

func (c *checker) need(target, value string) bool {
	if value == "" {
		c.add(missingProperty, target, "Missing required property '%s'.", target[strings.LastIndexByte(target, '.')+1:])
	}
	return value != ""
}

func (c *checker) oneOf(target, value string, words ...string) {
	if !slices.Contains(words, value) {
		c.add(invalidProperty, target, "'%s' is not one of %s.", value, strings.Join(words, ", "))
	}
}

// Check finds everything that is wrong with a normalized task; the error is
// Faults. An encoded task file is checked too, if it needs no values.
func (t *Task) Check() error {
	c := &checker{}
	if !taskName().MatchString(t.Name) {
		c.add("InvalidResourceName", "name", "'%s' is not a name for a task: it has 5 to 50 letters, digits, '-' and '_'.", t.Name)
	}
	c.oneOf("properties.status", string(t.Status), string(Enabled), string(Disabled))
	c.platform("properties.platform", t.Platform)
	c.timeout("properties.timeout", t.Timeout)
	for _, w := range t.Allow {
		c.oneOf("properties.entitlements", w, steps.Entitlements...)
	}
	if t.Concurrency < 0 {
		c.add(invalidProperty, "properties.concurrency", "%d is not a number of runs.", t.Concurrency)
	}
	if t.IsSystem && t.Name != "quicktask" {
		c.add(invalidProperty, "properties.isSystemTask", "A system task is called quicktask.")
	}
	if !t.IsSystem || t.Step.Type != "" {
		c.step("properties.step", t)
	}
	if t.Trigger != nil {
		c.trigger("properties.trigger", t.Trigger)
	}
	if t.Credentials != nil {
		c.credentials("properties.credentials", t.Credentials)
	}
	if len(c.faults) > 0 {
		return c.faults
	}
	return nil
}

func (c *checker) platform(at string, p Platform) {
	if p.OS == "windows" {
		c.add(invalidProperty, at+".os", "acrd builds on Linux, for Linux.")
	} else {
		c.oneOf(at+".os", p.OS, "linux")
	}
	if p.Architecture != "" {
		c.oneOf(at+".architecture", p.Architecture, "amd64", "x86", "386", "arm", "arm64")
	}
	if p.Variant != "" {
		c.oneOf(at+".variant", p.Variant, "v6", "v7", "v8")
	}
}

func (c *checker) timeout(at string, seconds int) {
	if seconds < MinTaskTimeout || seconds > MaxTaskTimeout {
		c.add(invalidProperty, at, "%d is not between %d and %d seconds.", seconds, MinTaskTimeout, MaxTaskTimeout)
	}
}

func (c *checker) step(at string, t *Task) {
	s := &t.Step
	switch s.Type {
	case DockerStep:
		c.need(at+".dockerFilePath", s.Dockerfile)
	case FileTaskStep:
		c.need(at+".taskFilePath", s.TaskFile)
		if s.ContextPath == "" || s.ContextPath == "/dev/null" {
			c.add(missingProperty, at+".contextPath", "A task file has to be somewhere: give the context that it is in.")
		}
	case EncodedTaskStep:
		if len(s.Content) == 0 {
			c.need(at+".encodedTaskContent", "")
		}
	default:
		c.oneOf(at+".type", string(s.Type), string(DockerStep), string(FileTaskStep), string(EncodedTaskStep))
		return
	}
	for kind, list := range map[string][]Argument{".arguments": s.Arguments, ".values": s.Values} {
		for i, a := range list {
			c.need(fmt.Sprintf("%s%s[%d].name", at, kind, i), a.Name)
		}
	}
	if len(c.faults) > 0 {
		return
	}
	req, err := t.Request(Overrides{})
	if err == nil {
		req.Timeout = DefaultTimeout
		err = req.check()
	}
	if err == nil && selfContained(req.Inline) {
		err = new(Runner).judge(context.Background(), &Run{ID: "run", Request: req}) // reads nothing but the text
	}
	if err != nil {
		c.add(invalidProperty, at, "%s", err)
	}
}

// selfContained tells whether a task file says all of itself, without values
// that only its runs will have.
func selfContained(text []byte) bool {
	return len(text) > 0 && !bytes.Contains(text, []byte("{{")) && !bytes.Contains(text, []byte("alias"))
}

func (c *checker) trigger(at string, t *TaskTrigger) {
	var names []string
	for i, timer := range t.Timers {
		at := fmt.Sprintf("%s.timerTriggers[%d]", at, i)
		names = append(names, c.name(at, timer.Name, names)...)
		c.oneOf(at+".status", string(timer.Status), string(Enabled), string(Disabled))
		if c.need(at+".schedule", timer.Schedule) && len(strings.Fields(timer.Schedule)) != 5 {
			c.add(invalidProperty, at+".schedule", "'%s' is an invalid crontab expression. It must contain 5 components of a schedule in the sequence of minutes, hours, days, months, and days of week.", timer.Schedule)
		}
		if _, err := time.LoadLocation(timer.TimeZone); err != nil || timer.TimeZone == "Local" {
			c.add(invalidProperty, at+".timeZone", "'%s' is not the name of a time zone, such as Europe/Berlin.", timer.TimeZone)
		}
		if timer.CatchUp != "" {
			c.oneOf(at+".catchUp", timer.CatchUp, CatchUpLatest, CatchUpSkip, CatchUpAll)
		}
		if timer.Overlap != "" {
			c.oneOf(at+".overlap", timer.Overlap, OverlapAllow, OverlapSkip, OverlapQueue, OverlapReplace)
		}
	}
	names = nil
	for i, s := range t.Sources {
		at := fmt.Sprintf("%s.sourceTriggers[%d]", at, i)
		names = append(names, c.name(at, s.Name, names)...)
		c.source(at, s)
	}
	if b := t.BaseImage; b != nil {
		at += ".baseImageTrigger"
		c.need(at+".name", b.Name)
		c.oneOf(at+".baseImageTriggerType", b.Type, RuntimeBases, AllBases)
		c.oneOf(at+".status", string(b.Status), string(Enabled), string(Disabled))
		c.oneOf(at+".updateTriggerPayloadType", b.PayloadType, "Default", "Token")
	}
}

func (c *checker) name(at, name string, before []string) []string {
	if c.need(at+".name", name) && slices.Contains(before, name) {
		c.add(invalidProperty, at+".name", "There are two triggers with the name '%s'.", name)
	}
	return []string{name}
}

func (c *checker) source(at string, s SourceTrigger) {
	c.oneOf(at+".status", string(s.Status), string(Enabled), string(Disabled))
	if len(s.Events) == 0 {
		c.add(missingProperty, at+".sourceTriggerEvents", "Missing required property 'SourceTriggerEvents'.")
	}
	for _, e := range s.Events {
		c.oneOf(at+".sourceTriggerEvents", e, CommitEvent, PullRequestEvent)
	}
	repository := at + ".sourceRepository"
	if c.need(repository+".repositoryUrl", s.Repository.URL) {
		if !repositoryURL().MatchString(s.Repository.URL) {
			c.add("InvalidRepositoryUrl", repository+".repositoryUrl", "'%s' is not the URL of a git repository.", s.Repository.URL)
		}
	}
	c.patterns(at+".branchPatterns", s.Branches)
	c.patterns(at+".tagPatterns", s.Tags)
	c.patterns(at+".pathPatterns", s.Paths)
	if s.Provider != "" {
		c.oneOf(at+".provider", s.Provider, "github", "gitlab", "gitea", "azure")
	}
	if secret := s.WebhookSecret.Reveal(); secret != "" && len(strings.TrimSpace(secret)) < 16 {
		c.add(invalidProperty, at+".webhookSecret", "A secret for webhooks has at least 16 characters: make one with 'openssl rand -hex 20'.")
	}
	c.oneOf(repository+".sourceControlType", s.Repository.Type, "Github", "VisualStudioTeamService")
	if a := s.Repository.Auth; a != nil && a.TokenType != "" {
		c.oneOf(repository+".sourceControlAuthProperties.tokenType", a.TokenType, "PAT", "OAuth")
	}
}

func (c *checker) patterns(at string, all []string) {
	for i, p := range all {
		if strings.TrimSpace(strings.TrimPrefix(p, "!")) == "" || len(p) > 1000 {
			c.add(invalidProperty, fmt.Sprintf("%s[%d]", at, i), "A pattern has 1 to 1000 characters.")
		}
	}
}

func (c *checker) credentials(at string, t *TaskCredential) {
	if s := t.SourceRegistry; s != nil && s.LoginMode != "" {
		c.oneOf(at+".sourceRegistry.loginMode", s.LoginMode, LoginNone, "Default")
	}
	for host, r := range t.CustomRegistries {
		at := fmt.Sprintf("%s.customRegistries[%s]", at, host)
		if r.Identity != "" && r.Password == nil {
			continue
		}
		for part, o := range map[string]*SecretObject{".userName": r.UserName, ".password": r.Password} {
			if o == nil {
				c.need(at+part, "")
				continue
			}
			if o.Type != "" {
				c.oneOf(at+part+".type", o.Type, Opaque, VaultSecret)
			}
			c.need(at+part+".value", o.Value.Reveal())
		}
	}
}
