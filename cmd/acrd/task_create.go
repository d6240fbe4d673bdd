package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"acrd/internal/api"
	"acrd/runner"
	"acrd/steps"
)

func createTask(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "task create -n NAME -c CONTEXT -f FILE [FLAGS]", `Create a task, or replace the one of that name.

FILE is a Dockerfile or, if its name ends like one, a task file. With -c
/dev/null it is a file of this machine, or --cmd says what to run.
What starts the task by itself: commits to the branch of a git context and
changes of base images, unless switched off, and schedules.`)
	var form taskForm
	form.define(fs, false)
	need(fs, "name")
	var f resourceFlags
	f.define(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	b, err := form.create(s)
	if err != nil {
		return err
	}
	return f.with(ctx, s, func(c *connection) error {
		t, err := c.PutTask(ctx, form.name, b)
		if err != nil {
			return err
		}
		warnOfCircle(ctx, s, c, form.name)
		c.remind(s)
		return f.output.print(s, t, taskTable(t))
	})
}

func updateTask(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "task update -n NAME [FLAGS]", `Change a task. What is not given stays as it is, with one exception, which is
az's: a task that builds a Dockerfile pushes again unless --no-push is given.`)
	var form taskForm
	form.define(fs, true)
	need(fs, "name")
	var f resourceFlags
	f.define(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	return f.with(ctx, s, func(c *connection) error {
		old, err := c.Task(ctx, form.name)
		if err != nil {
			return err
		}
		patch, err := form.update(s, old)
		if err != nil {
			return err
		}
		t, err := c.PatchTask(ctx, form.name, patch)
		if err != nil {
			return err
		}
		warnOfCircle(ctx, s, c, form.name)
		return f.output.print(s, t, taskTable(t))
	})
}

// warnOfCircle says if a task builds, by way of others, on itself, as far as
// builds have shown.
func warnOfCircle(ctx context.Context, s *session, c *connection, name string) {
	if x, err := c.Why(ctx, name); err == nil && len(x.Circle) > 0 {
		fmt.Fprintf(s.stderr, "acrd: the tasks %s build on each other's images, in a circle: a change starts each of them once\n", strings.Join(x.Circle, ", "))
	}
}

// update is the patch that makes of old what the flags say.
func (f *taskForm) update(s *session, old *api.Task) (body, error) {
	properties := body{}
	if f.given("status") {
		properties["status"] = f.status
	}
	if f.given("timeout") {
		properties["timeout"] = f.timeout
	}
	if f.given("cpu") {
		properties["agentConfiguration"] = body{"cpu": f.cpu}
	}
	if f.given("platform") {
		p, err := f.platformBody()
		if err != nil {
			return nil, err
		}
		properties["platform"] = p
	}
	f.addPlain(properties)
	step, err := f.updateStep(s, old)
	if err != nil {
		return nil, err
	}
	if len(step) > 0 {
		properties["step"] = step
	}
	if trigger := f.updateTrigger(old); len(trigger) > 0 {
		properties["trigger"] = trigger
	}
	return body{"properties": properties}, nil
}

// updateStep changes the step, or replaces it by one of another kind.
func (f *taskForm) updateStep(s *session, old *api.Task) (body, error) {
	was := old.Properties.Step
	kind := was.Type
	if f.given("context") || f.given("file") || f.given("cmd") {
		kind = f.kindAfter(was)
	}
	f.inherit(was)
	if kind != was.Type {
		if err := f.checkSource(); err != nil {
			return nil, err
		}
		return f.step(s)
	}
	step := body{"type": string(kind)}
	for flag, set := range map[string]func(){
		"context":          func() { step["contextPath"] = f.context },
		"git-access-token": func() { step["contextAccessToken"] = f.gitToken },
	} {
		if f.given(flag) {
			set()
		}
	}
	if kind == runner.DockerStep {
		return step, f.updateDocker(s, step, was)
	}
	if f.given("set") || f.given("set-secret") {
		values, err := named(s, "--set", f.set, f.setSecret, false)
		if err != nil {
			return nil, err
		}
		step["values"] = values
	}
	if kind == runner.FileTaskStep {
		if f.given("file") {
			step["taskFilePath"] = f.file
		}
		if f.given("values") {
			step["valuesFilePath"] = f.values
		}
		return step, nil
	}
	if f.given("file") || f.given("cmd") || f.given("values") && f.file != "" {
		return step, f.encode(s, step)
	}
	if f.given("timeout") {
		return nil, &usageError{"cannot update the task with change of 'timeout' only, please use create instead"}
	}
	return step, nil
}

// kindAfter is the kind of step that new context and file make.
func (f *taskForm) kindAfter(was runner.TaskStep) runner.StepType {
	context, file := was.ContextPath, was.TaskFile+was.Dockerfile
	if f.given("context") {
		context = f.context
	}
	if f.given("file") {
		file = f.file
	}
	switch {
	case context == noSource:
		return runner.EncodedTaskStep
	case isTaskFile(file):
		return runner.FileTaskStep
	}
	return runner.DockerStep
}

// inherit fills in what a step of another kind needs and was not given.
func (f *taskForm) inherit(was runner.TaskStep) {
	if !f.given("context") {
		f.context = was.ContextPath
	}
	if !f.given("image") {
		f.images = was.ImageNames
	}
}

func (f *taskForm) updateDocker(s *session, step body, was runner.TaskStep) error {
	step["isPushEnabled"] = !f.noPush && len(f.images) > 0
	for flag, set := range map[string]func(){
		"file":     func() { step["dockerFilePath"] = f.file },
		"image":    func() { step["imageNames"] = f.images },
		"no-cache": func() { step["noCache"] = f.noCache },
		"target":   func() { step["target"] = f.target },
	} {
		if f.given(flag) {
			set()
		}
	}
	if !f.given("arg") && !f.given("secret-arg") {
		return nil
	}
	args, err := named(s, "--arg", f.args, f.secretArgs, true)
	step["arguments"] = args
	return err
}

func (f *taskForm) updateTrigger(old *api.Task) body {
	trigger := body{}
	was := old.Properties.Trigger
	if was == nil {
		was = &runner.TaskTrigger{}
	}
	if source := f.updateSource(was); source != nil {
		trigger["sourceTriggers"] = []body{source}
	}
	base := body{}
	for flag, set := range map[string]func(){
		"base-image-trigger-enabled":  func() { base["status"] = string(enabled(f.base)) },
		"base-image-trigger-type":     func() { base["baseImageTriggerType"] = f.baseType },
		"base-image-tag-pattern":      func() { base["tagPatterns"] = f.tagPatterns },
		"update-trigger-endpoint":     func() { base["updateTriggerEndpoint"] = f.endpoint },
		"update-trigger-payload-type": func() { base["updateTriggerPayloadType"] = f.payloadType },
	} {
		if f.given(flag) {
			set()
		}
	}
	if len(base) > 0 {
		base["name"] = "defaultBaseimageTriggerName"
		if was.BaseImage != nil {
			base["name"] = was.BaseImage.Name
		}
		trigger["baseImageTrigger"] = base
	}
	return trigger
}

func enabled(yes bool) runner.TaskStatus {
	if yes {
		return runner.Enabled
	}
	return runner.Disabled
}

// updateSource changes the source trigger, or makes one.
func (f *taskForm) updateSource(was *runner.TaskTrigger) body {
	events := f.given("commit-trigger-enabled") || f.given("pull-request-trigger-enabled")
	moved := f.given("context") || f.given("git-access-token")
	patterns := body{}
	if f.addPatterns(patterns) && len(was.Sources) > 0 && !events && !moved {
		patterns["name"] = was.Sources[0].Name
		return patterns
	}
	if !events && (!moved || len(was.Sources) == 0) {
		return nil
	}
	if where, err := steps.ParseContext(f.context); err == nil && where.Kind != steps.ContextGit {
		if len(was.Sources) == 0 {
			return nil
		}
		return body{"name": was.Sources[0].Name, "status": string(runner.Disabled)} // there is no repository any more
	}
	source := body{"name": "defaultSourceTriggerName"}
	maps.Copy(source, patterns)
	var had []string
	if len(was.Sources) > 0 {
		source["name"] = was.Sources[0].Name
		had = was.Sources[0].Events
		if !was.Sources[0].Status.Active() {
			had = nil
		}
	}
	if moved || len(was.Sources) == 0 {
		source["sourceRepository"] = f.repository()
	}
	if !events {
		return source
	}
	now := f.eventsAfter(had)
	source["status"] = string(enabled(len(now) > 0))
	switch {
	case len(now) > 0:
		source["sourceTriggerEvents"] = now
	case len(was.Sources) == 0:
		return nil // there is nothing to switch off
	}
	return source
}

// eventsAfter are the events of a trigger that had others.
func (f *taskForm) eventsAfter(had []string) []string {
	events := []string{}
	for _, e := range []struct {
		name, flag string
		on         bool
	}{{runner.CommitEvent, "commit-trigger-enabled", f.commit}, {runner.PullRequestEvent, "pull-request-trigger-enabled", f.pull}} {
		has := slices.ContainsFunc(had, func(h string) bool { return strings.EqualFold(h, e.name) })
		if f.given(e.flag) && e.on || !f.given(e.flag) && has {
			events = append(events, e.name)
		}
	}
	return events
}
