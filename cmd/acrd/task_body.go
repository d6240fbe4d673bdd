package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"acrd/steps"

	"github.com/spf13/pflag"
)

// A body is a task, or part of one, as the API takes it: with its secrets, and
// with what is to stay as it is left out.
type body map[string]any

// taskForm are the flags from which tasks are made and changed: those of az
// acr task create and update.
type taskForm struct {
	flags *pflag.FlagSet

	name, context, file, cmd      string
	images                        []string
	noPush, noCache               bool
	args, secretArgs              []string
	set, setSecret                []string
	target, values                string
	status, platform              string
	cpu, timeout                  int
	commit, pull                  bool
	sourceName, gitToken          string
	branches, tags, paths         []string
	hookSecret, provider          string
	schedules                     []string
	timers                        timerOptions
	base                          bool
	baseType, baseName            string
	tagPatterns                   []string
	endpoint, payloadType         string
	identity                      wordList
	authMode, pool, log, sourceID string
	system                        bool
	allow                         []string
	maxRuns                       int
}

// define defines the flags. Those that only create has are left out of an
// update.
func (f *taskForm) define(fs *pflag.FlagSet, update bool) {
	f.flags = fs
	fs.StringVarP(&f.name, "name", "n", "", "name of the task: 5 to 50 letters, digits, - and _")
	fs.StringVarP(&f.context, "context", "c", "", "source: a git URL, the URL of a tar archive, oci://..., or /dev/null")
	fs.StringVarP(&f.file, "file", "f", "", "Dockerfile or task file in the source; with /dev/null one of this machine, - is standard input")
	fs.StringVar(&f.cmd, "cmd", "", "one command to run instead of a file, with -c /dev/null")
	fs.StringArrayVarP(&f.images, "image", "t", nil, "name of the image, repository:tag (repeat)")
	fs.BoolVar(&f.noPush, "no-push", false, "build only")
	fs.BoolVar(&f.noCache, "no-cache", false, "do not use the build cache")
	fs.StringArrayVar(&f.args, "arg", nil, "build argument NAME[=VALUE]; without a value, this environment's (repeat)")
	fs.StringArrayVar(&f.secretArgs, "secret-arg", nil, "build argument whose value is not shown (repeat)")
	fs.StringVar(&f.target, "target", "", "stage to build")
	fs.StringVar(&f.values, "values", "", "values file in the source; with /dev/null one of this machine")
	fs.StringArrayVar(&f.set, "set", nil, "value NAME[=VALUE] for {{.Values.NAME}} (repeat)")
	fs.StringArrayVar(&f.setSecret, "set-secret", nil, "value that is never shown, NAME[=VALUE] (repeat)")
	fs.StringVar(&f.status, "status", "Enabled", "Enabled or Disabled")
	fs.StringVar(&f.platform, "platform", "linux", "linux[/ARCH[/VARIANT]]; without ARCH the daemon's own")
	fs.IntVar(&f.cpu, "cpu", 2, "processors, in Azure; kept with the task")
	fs.IntVar(&f.timeout, "timeout", 3600, "seconds that a run may take, 300 to 28800")
	fs.BoolVar(&f.commit, "commit-trigger-enabled", true, "run when a commit is pushed to the branch of the context")
	fs.BoolVar(&f.pull, "pull-request-trigger-enabled", false, "run when there is a pull request to the branch")
	fs.StringVar(&f.gitToken, "git-access-token", "", "token that opens the repository")
	fs.StringArrayVar(&f.branches, "branch-pattern", nil, "branches to run for, instead of the one of the context: * is anything but /, ** anything, ! in front takes out (repeat)")
	fs.StringArrayVar(&f.tags, "tag-pattern", nil, "tags to run for, in the same way (repeat)")
	fs.StringArrayVar(&f.paths, "path-pattern", nil, "files and folders of which a commit has to touch one (repeat)")
	fs.StringVar(&f.hookSecret, "webhook-secret", "", "secret of webhooks to /hooks/PROVIDER/TASK/TRIGGER; two with a space between are both good; without, none are taken")
	fs.StringVar(&f.provider, "git-provider", "", "github, gitlab, gitea or azure, for the status of commits; without, what the host of the repository says")
	fs.BoolVar(&f.base, "base-image-trigger-enabled", true, "run when an image changes that the last one was built on")
	fs.StringVar(&f.baseType, "base-image-trigger-type", "Runtime", "Runtime or All")
	fs.StringArrayVar(&f.tagPatterns, "base-image-tag-pattern", nil, "REPOSITORY:PATTERN, a glob or a range of versions: the newest tag that matches takes the place of the one that a build names (repeat)")
	fs.StringVar(&f.endpoint, "update-trigger-endpoint", "", "URL that is told of base image updates")
	fs.StringVar(&f.payloadType, "update-trigger-payload-type", "Default", "Default or Token")
	fs.StringVar(&f.authMode, "auth-mode", "", "None or Default: whether runs log in to the registry themselves")
	fs.StringVar(&f.pool, "agent-pool", "", "kept with the task")
	fs.StringVar(&f.log, "log-template", "", "kept with the task")
	fs.StringVar(&f.sourceID, "source-acr-auth-id", "", "ignored: only Azure has this")
	fs.StringArrayVar(&f.allow, "allow", nil, "entitlement for runs of the task: security.insecure, network.host, device, mount, registry (repeat)")
	fs.IntVar(&f.maxRuns, "max-runs", 0, "runs of the task that may execute at a time; 0 is no limit")
	_ = fs.MarkHidden("source-acr-auth-id")
	if update {
		fs.VisitAll(hideDefault) // what is not given stays
		return
	}
	fs.StringVar(&f.sourceName, "source-trigger-name", "defaultSourceTriggerName", "name of the source trigger")
	fs.StringVar(&f.baseName, "base-image-trigger-name", "defaultBaseimageTriggerName", "name of the base image trigger")
	fs.StringArrayVar(&f.schedules, "schedule", nil, "five cron fields or NAME:FIELDS; t1, t2, ... are the names of those without (repeat)")
	f.timers.define(fs)
	fs.Var(&f.identity, "assign-identity", "identities, in Azure; kept with the task")
	fs.Lookup("assign-identity").NoOptDefVal = "[system]"
	fs.BoolVar(&f.system, "is-system-task", false, "the task quicktask, which has no step")
}

func hideDefault(f *pflag.Flag) {
	f.DefValue = map[string]string{"int": "0", "bool": "false", "stringArray": "[]"}[f.Value.Type()]
}

func (f *taskForm) given(flag string) bool { return f.flags.Changed(flag) }

// taskFileTypes are the endings of task files; every other file is a
// Dockerfile.
var taskFileTypes = []string{
	".yaml", ".yml", ".toml", ".json", ".sh", ".bash", ".zsh", ".ps1", ".ps", ".cmd", ".bat", ".ts", ".js", ".php", ".py", ".rb", ".lua",
}

func isTaskFile(name string) bool {
	return slices.Contains(taskFileTypes, strings.ToLower(path.Ext(name)))
}

// noSource is the context of tasks that have none.
const noSource = "/dev/null"

// create is the body of a new task.
func (f *taskForm) create(s *session) (body, error) {
	platform, err := f.platformBody()
	if err != nil {
		return nil, err
	}
	properties := body{
		"status": f.status, "platform": platform, "timeout": f.timeout, "agentConfiguration": body{"cpu": f.cpu},
	}
	if f.system {
		properties["isSystemTask"] = true
	} else {
		if err := f.checkSource(); err != nil {
			return nil, err
		}
		if properties["step"], err = f.step(s); err != nil {
			return nil, err
		}
		if properties["trigger"], err = f.trigger(); err != nil {
			return nil, err
		}
	}
	f.addPlain(properties)
	task := body{"location": "local", "properties": properties}
	if len(f.identity) > 0 {
		task["identity"] = identityBody(f.identity)
	}
	return task, nil
}

// addPlain adds what has no default.
func (f *taskForm) addPlain(properties body) {
	for flag, set := range map[string]func(){
		"agent-pool":   func() { properties["agentPoolName"] = f.pool },
		"log-template": func() { properties["logTemplate"] = f.log },
		"auth-mode":    func() { properties["credentials"] = body{"sourceRegistry": body{"loginMode": f.authMode}} },
		"allow":        func() { properties["entitlements"] = entitlements(f.allow) },
		"max-runs":     func() { properties["concurrency"] = f.maxRuns },
	} {
		if f.given(flag) {
			set()
		}
	}
}

func entitlements(list []string) []string {
	all := []string{}
	for _, words := range list {
		all = append(all, strings.Split(words, ",")...)
	}
	return all
}

func (f *taskForm) checkSource() error {
	switch {
	case f.context == "":
		return &usageError{"the flag --context is missing: a git URL, the URL of a tar archive, oci://..., or /dev/null"}
	case f.cmd != "" && (f.file != "" || f.context != noSource):
		return &usageError{"Task can be created with either --cmd myCommand -c /dev/null or -f myFile -c myContext, but not both."}
	case f.cmd == "" && f.file == "":
		return &usageError{"missing --file/-f argument"}
	}
	where, err := steps.ParseContext(f.context)
	if err != nil {
		return &usageError{err.Error()}
	}
	if where.Kind == steps.ContextLocal {
		return &usageError{fmt.Sprintf("the context %s is a folder: a task fetches its source for each run, from a git URL, a tar archive or oci://...", f.context)}
	}
	return nil
}

// step is what the task does: which of the three kinds follows from context
// and file.
func (f *taskForm) step(s *session) (body, error) {
	step := body{"contextPath": f.context}
	if f.gitToken != "" {
		step["contextAccessToken"] = f.gitToken
	}
	values, err := named(s, "--set", f.set, f.setSecret, false)
	if err != nil {
		return nil, err
	}
	switch {
	case f.context == noSource:
		step["type"], step["values"] = "EncodedTask", values
		return step, f.encode(s, step)
	case isTaskFile(f.file):
		step["type"], step["taskFilePath"], step["values"] = "FileTask", f.file, values
		if f.values != "" {
			step["valuesFilePath"] = f.values
		}
		return step, nil
	}
	step["type"], step["dockerFilePath"], step["imageNames"] = "Docker", f.file, f.images
	step["isPushEnabled"], step["noCache"] = !f.noPush && len(f.images) > 0, f.noCache
	if !f.noPush && len(f.images) == 0 {
		fmt.Fprintln(s.stderr, "'--image or -t' is not provided. Skipping image push after build.")
	}
	if f.target != "" {
		step["target"] = f.target
	}
	step["arguments"], err = named(s, "--arg", f.args, f.secretArgs, true)
	return step, err
}

// encode puts the task file itself into a step.
func (f *taskForm) encode(s *session, step body) error {
	text := cmdTask(f.cmd, f.timeout)
	if f.cmd == "" {
		var err error
		if f.file == "-" {
			text, err = io.ReadAll(io.LimitReader(s.stdin, 2<<20))
		} else {
			text, err = os.ReadFile(f.file)
		}
		if err != nil {
			return &usageError{err.Error()}
		}
	}
	step["encodedTaskContent"] = base64.StdEncoding.EncodeToString(text)
	if f.values == "" {
		return nil
	}
	b, err := os.ReadFile(f.values)
	if err != nil {
		return &usageError{err.Error()}
	}
	step["encodedValuesContent"] = base64.StdEncoding.EncodeToString(b)
	return nil
}

// named reads NAME[=VALUE] from flags. A build argument without a value takes
// this environment's, any other is empty.
func named(s *session, flag string, open, secret []string, environment bool) ([]body, error) {
	all := []body{}
	for _, list := range []struct {
		pairs  []string
		secret bool
	}{{open, false}, {secret, true}} {
		for _, pair := range list.pairs {
			name, value, ok := strings.Cut(pair, "=")
			if name == "" {
				return nil, &usageError{"failed to parse " + flag + " data; expected a key=val format"}
			}
			if !ok && environment {
				value = s.getenv(name)
			}
			all = append(all, body{"name": name, "value": value, "isSecret": list.secret})
		}
	}
	return all, nil
}

// trigger is what starts the task.
func (f *taskForm) trigger() (body, error) {
	trigger := body{}
	timers := []body{}
	for i, text := range f.schedules {
		name, schedule, ok := strings.Cut(text, ":")
		if !ok {
			name, schedule = fmt.Sprintf("t%d", i+1), text
		}
		timer := body{"name": strings.TrimSpace(name), "schedule": strings.TrimSpace(schedule)}
		f.timers.addTo(timer, f.flags)
		timers = append(timers, timer)
	}
	if len(timers) > 0 {
		trigger["timerTriggers"] = timers
	}
	if events := f.events(); len(events) > 0 {
		source := body{"name": f.sourceName, "sourceTriggerEvents": events, "status": "Enabled", "sourceRepository": f.repository()}
		f.addPatterns(source)
		trigger["sourceTriggers"] = []body{source}
	}
	if f.base {
		base := body{"name": f.baseName, "baseImageTriggerType": f.baseType, "status": "Enabled"}
		if len(f.tagPatterns) > 0 {
			base["tagPatterns"] = f.tagPatterns
		}
		if f.endpoint != "" {
			base["updateTriggerEndpoint"], base["updateTriggerPayloadType"] = f.endpoint, f.payloadType
		}
		trigger["baseImageTrigger"] = base
	}
	return trigger, nil
}

// addPatterns adds what ACR's source triggers do not have, if it is given, and
// says whether any is.
func (f *taskForm) addPatterns(source body) bool {
	n := len(source)
	for flag, field := range map[string]struct {
		name  string
		value any
	}{
		"branch-pattern": {"branchPatterns", f.branches}, "tag-pattern": {"tagPatterns", f.tags}, "path-pattern": {"pathPatterns", f.paths},
		"webhook-secret": {"webhookSecret", f.hookSecret}, "git-provider": {"provider", f.provider},
	} {
		if f.given(flag) {
			source[field.name] = field.value
		}
	}
	return len(source) > n
}

// events are what a source trigger waits for: nothing, where the source is not
// a git repository.
func (f *taskForm) events() []string {
	where, err := steps.ParseContext(f.context)
	if err != nil || where.Kind != steps.ContextGit {
		return nil
	}
	events := []string{}
	if f.commit {
		events = append(events, "commit")
	}
	if f.pull {
		events = append(events, "pullrequest")
	}
	return events
}

// repository is the one that a source trigger watches: the context's, and of
// its branches the one after #, or else master.
func (f *taskForm) repository() body {
	address, fragment, _ := strings.Cut(f.context, "#")
	branch, _, _ := strings.Cut(fragment, ":")
	if branch == "" {
		branch = "master"
	}
	kind := "VisualStudioTeamService"
	if strings.Contains(strings.ToUpper(address), "GITHUB.COM") {
		kind = "Github"
	}
	repository := body{"repositoryUrl": address, "branch": branch, "sourceControlType": kind}
	if f.gitToken != "" {
		repository["sourceControlAuthProperties"] = body{"tokenType": "PAT", "token": f.gitToken, "scope": "repo"}
	}
	return repository
}

func (f *taskForm) platformBody() (body, error) {
	parts := strings.Split(strings.ToLower(f.platform), "/")
	p := body{"os": parts[0]}
	for i, allowed := range []struct {
		name  string
		words []string
	}{{"OS", []string{"linux", "windows"}}, {"architecture", []string{"amd64", "x86", "386", "arm", "arm64"}}, {"variant", []string{"v6", "v7", "v8"}}} {
		if i >= len(parts) {
			break
		}
		if !slices.Contains(allowed.words, parts[i]) {
			return nil, &usageError{fmt.Sprintf("'%s' is not a valid value for %s specified in --platform. Valid options are %s.", parts[i], allowed.name, strings.Join(allowed.words, ","))}
		}
		p[strings.ToLower(allowed.name)] = parts[i]
	}
	if len(parts) > 3 {
		return nil, &usageError{fmt.Sprintf("%q is not a platform: want linux/ARCH[/VARIANT]", f.platform)}
	}
	return p, nil
}
