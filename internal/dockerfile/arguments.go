package dockerfile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"acrd/steps"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

func arguments(list []string) map[string]string {
	args := map[string]string{}
	for _, a := range list {
		name, value, _ := strings.Cut(a, "=")
		args[name] = value
	}
	return args
}

// environment is what FROM can name: the platform's arguments, and those above
// the first FROM. A build argument wins over either.
func (f *file) environment(target ocispecs.Platform) (map[string]string, error) {
	build := buildPlatform()
	env := map[string]string{
		"BUILDPLATFORM": platforms.Format(build), "BUILDOS": build.OS, "BUILDOSVERSION": build.OSVersion,
		"BUILDARCH": build.Architecture, "BUILDVARIANT": build.Variant,
		"TARGETPLATFORM": platforms.FormatAll(target), "TARGETOS": target.OS, "TARGETOSVERSION": target.OSVersion,
		"TARGETARCH": target.Architecture, "TARGETVARIANT": target.Variant, "TARGETSTAGE": f.stageName(),
	}
	for name := range env {
		if v, ok := f.given[name]; ok {
			env[name] = v
		}
	}
	for _, a := range f.globals {
		if err := f.define(env, a); err != nil {
			return nil, err
		}
	}
	return env, nil
}

func (f *file) stageName() string {
	for _, name := range []string{f.target, f.stages[len(f.stages)-1].Name} {
		if name != "" {
			return name
		}
	}
	return "default"
}

// define adds what an ARG instruction means.
func (f *file) define(env map[string]string, a instructions.ArgCommand) error {
	for _, arg := range a.Args {
		if v, ok := f.given[arg.Key]; ok {
			env[arg.Key] = v
			continue
		}
		if arg.Value == nil {
			continue
		}
		v, _, err := f.expand(*arg.Value, env)
		if err != nil {
			return f.fault(a.Location(), arg.Key, fmt.Sprintf("ARG %s: %v", arg.Key, err))
		}
		env[arg.Key] = v
	}
	return nil
}

// named expands a word of FROM.
func (f *file) named(stage *instructions.Stage, word string, env map[string]string) (string, error) {
	text, unset, err := f.expand(word, env)
	if err != nil {
		return "", f.fault(stage.Location, word, fmt.Sprintf("FROM %s: %v", word, err))
	}
	if text == "" {
		return "", f.fault(stage.Location, word, fmt.Sprintf("FROM %s: base name is blank%s", word, f.advice(unset)))
	}
	return text, nil
}

// maxAdvice bounds the variables of one fault that are told about.
const maxAdvice = 3

// advice says for each variable that has no value how it gets one.
func (f *file) advice(unset map[string]struct{}) string {
	var b strings.Builder
	for i, name := range slices.Sorted(maps.Keys(unset)) {
		if i == maxAdvice {
			b.WriteString(", and so on")
			break
		}
		b.WriteString(": " + f.advise(name))
	}
	return b.String()
}

func (f *file) advise(name string) string {
	if slices.ContainsFunc(f.globals, func(a instructions.ArgCommand) bool { return declares(&a, name) }) {
		return fmt.Sprintf("ARG %s has no value: give it a default, or --build-arg %s=VALUE", name, name)
	}
	if _, ok := f.given[name]; ok {
		return fmt.Sprintf("--build-arg %s does not reach FROM: write ARG %s before the first FROM", name, name)
	}
	for _, s := range f.stages {
		for _, c := range s.Commands {
			if a, ok := c.(*instructions.ArgCommand); ok && declares(a, name) {
				return fmt.Sprintf("ARG %s is inside a stage, where FROM does not see it: move it before the first FROM", name)
			}
		}
	}
	return fmt.Sprintf("%s is not defined: write ARG %s=VALUE before the first FROM", name, name)
}

func declares(a *instructions.ArgCommand, name string) bool {
	return slices.ContainsFunc(a.Args, func(kv instructions.KeyValuePairOptional) bool { return kv.Key == name })
}

// platform checks what FROM --platform says.
func (f *file) platform(stage *instructions.Stage, env map[string]string) *steps.Error {
	if stage.Platform == "" {
		return nil
	}
	text, unset, err := f.expand(stage.Platform, env)
	if err == nil && text == "" {
		return f.fault(stage.Location, stage.Platform, fmt.Sprintf("FROM --platform=%s is empty%s", stage.Platform, f.advice(unset)))
	}
	if err == nil {
		_, err = platforms.Parse(text)
	}
	if err != nil {
		return f.fault(stage.Location, stage.Platform, fmt.Sprintf("FROM --platform=%s: %v%s", stage.Platform, err, f.advice(unset)))
	}
	return nil
}
