package runner_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acrd/runner"
	"acrd/steps"

	"github.com/google/go-cmp/cmp"
)

const runtimeVectors = "../../shared/vectors/runtime"

// runtimeDeviations are the runs that we log, or end, in another way than acb
// does, and why. Lines maps one of acb's lines to ours; empty leaves it out.
var runtimeDeviations = map[string]struct {
	why   string
	lines map[string]string
}{
	"build-deps": {"the scan is the build's own and needs no line; digests are known when an image is built; dependencies are told in YAML, as ACR shows them", map[string]string{
		"Scanning for dependencies...": "", "Successfully scanned dependencies": "",
		"Populating digests for step ID: build...": "", "Successfully populated digests for step ID: build": "",
		"dependencies": "",
	}},
	"parallel-fail": {"a step that runs beside one that has failed is stopped at once, not at the end", map[string]string{"slowdone": ""}},
	"pull-fail": {"the pull is a part of the container's start, and its failure says of which image", map[string]string{
		"Launching container with name: ":                                     "Launching container with name: a",
		"Container failed during run: , waiting 1 seconds before retrying...": "Container failed during run: a, waiting 1 seconds before retrying...",
		"Container failed during run: . No retries remaining.":                "Container failed during run: a. No retries remaining.",
		"failed to run step ID: a: exit status 1":                             "failed to run step ID: a: exit status 125: pull FAIL1: not found",
	}},
	"push-fail": {"the error says which image, and why (acr-builder#566)", map[string]string{
		"Pushing image: r.io/FAIL1:1, attempt 1":                                "Pushing image: r.io/fail1:1, attempt 1",
		"Pushing image: r.io/FAIL1:1, attempt 2":                                "push r.io/fail1:1: refused\nPushing image: r.io/fail1:1, attempt 2",
		"Pushing image: r.io/FAIL1:1, attempt 3":                                "push r.io/fail1:1: refused\nPushing image: r.io/fail1:1, attempt 3",
		"failed to run step ID: acb_step_0: failed to push images successfully": "failed to run step ID: acb_step_0: failed to push images successfully: r.io/fail1:1: refused",
	}},
	"timeout-ignored": {"the same words for the same thing", map[string]string{
		"Step ID: a encountered an error: context deadline exceeded, but is set to ignore errors. Continuing...": "Step ID: a encountered an error: timed out, but is set to ignore errors. Continuing...",
	}},
	"secret-heredoc": {"secrets are exact: no shell expands them, and no copy is in the workspace", nil},
}

// TestRuntimeVectors holds log, exit and duration of runs against acb's, which
// were recorded with a docker that does what the words of a command say.
func TestRuntimeVectors(t *testing.T) {
	files, _ := filepath.Glob(runtimeVectors + "/*.yaml")
	if len(files) == 0 {
		t.Skip("no vectors here")
	}
	for name := range runtimeDeviations {
		if !slices.Contains(files, filepath.Join(runtimeVectors, name+".yaml")) {
			t.Errorf("a deviation for %s, which is no vector", name)
		}
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { holdRuntime(t, name, file) })
		})
	}
}

func holdRuntime(t *testing.T, name, file string) {
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if name == "push-fail" { // no registry has capitals in a name: we say so before the run
		src = bytes.ReplaceAll(src, []byte("FAIL1"), []byte("fail1"))
	}
	golden, err := os.ReadFile(strings.TrimSuffix(file, ".yaml") + ".golden")
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, func(r *runner.Runner) { r.Registry = "myregistry.azurecr.io" })
	docker := &wordDocker{}
	b.engine.ExecFunc, b.engine.PushFunc, b.engine.BuildFunc = docker.exec, docker.push, docker.build
	run, log := b.do(string(src))
	b.end()

	want, code, elapsed := recorded(t, string(golden))
	for i, line := range want {
		if ours, ok := runtimeDeviations[name].lines[line]; ok {
			want[i] = ours
		}
	}
	want = strings.Split(strings.Join(want, "\n"), "\n")
	want = slices.DeleteFunc(want, func(s string) bool { return s == "" })
	got := told(strings.ReplaceAll(log, run.ID, "cf1"))
	if strings.Contains(string(src), `"-"`) { // side by side, so in any order
		slices.Sort(got)
		slices.Sort(want)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("acb's log (-), ours (+):\n%s", diff)
	}
	if succeeded := run.Status == runner.Succeeded; succeeded != (code == 0) {
		t.Errorf("%s, and acb exits with %d", run.Status, code)
	}
	if took := run.Finished.Sub(run.Started).Truncate(time.Second); took != elapsed && name != "push-fail" { // acb waits after the last attempt too
		t.Errorf("took %v, acb's %v", took, elapsed)
	}
	if name == "build-deps" && !strings.Contains(log, "reference") && !strings.Contains(log, "repository: library/alpine") {
		t.Errorf("no dependencies in\n%s", log)
	}
	if name == "secret-heredoc" {
		secret, _ := base64.StdEncoding.DecodeString("cGEkSE9NRWBlY2hvIHB3bmVkYFx4")
		if string(docker.volumes["v"]["f"]) != string(secret) && string(secret) != "pa$HOME`echo pwned`\\x" {
			t.Errorf("the volume has %q", docker.volumes["v"]["f"])
		}
	}
}

var (
	stamp   = regexp.MustCompile(`^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d `)
	seconds = regexp.MustCompile(`(elapsed time in seconds: )[\d.N]+`)
)

// told are the lines that say what happened to the steps.
func told(log string) []string {
	var lines []string
	for line := range strings.Lines(log) {
		line = seconds.ReplaceAllString(stamp.ReplaceAllString(strings.TrimRight(line, "\n"), ""), "${1}N")
		if _, after, ok := strings.Cut(line, " | "); ok {
			line = after // which step it was is in front, where steps run side by side
		}
		switch {
		case line == "", strings.Contains(line, "etwork"), strings.Contains(line, "Docker configuration"), strings.HasPrefix(line, "Alias support"),
			strings.HasPrefix(line, "Executing step ID"), strings.HasPrefix(line, "Run ID"), strings.HasPrefix(line, "built "):
			continue
		case strings.HasPrefix(line, "[{"):
			line = "dependencies"
		case strings.HasPrefix(line, "- image:"), strings.HasPrefix(line, "  "):
			continue
		}
		lines = append(lines, line)
	}
	return lines
}

// recorded takes a golden apart.
func recorded(t *testing.T, golden string) (lines []string, code int, elapsed time.Duration) {
	t.Helper()
	text, tail, ok := strings.Cut(golden, "exit=")
	if !ok {
		t.Fatalf("no exit= in %s", golden)
	}
	exit, rest, _ := strings.Cut(tail, " elapsed=")
	code, _ = strconv.Atoi(exit)
	first, _, _ := strings.Cut(rest, "\n")
	elapsed, err := time.ParseDuration(strings.TrimSpace(first))
	if err != nil {
		t.Fatal(err)
	}
	return told(text), code, elapsed
}

// A wordDocker does what the words of a command say, as the docker did with
// which acb's runs were recorded.
type wordDocker struct {
	once    bool
	volumes map[string]map[string][]byte
}

func (d *wordDocker) exec(ctx context.Context, op *steps.ExecOp, out steps.Output) error {
	if op.Pull && strings.HasPrefix(op.Image, "FAIL") {
		return &steps.ExitError{Code: 125, Reason: "pull " + op.Image + ": not found"}
	}
	code := 0
	for _, word := range op.Args {
		verb, rest, _ := strings.Cut(word, ":")
		switch {
		case verb == "ECHO":
			fmt.Fprintln(out.Stdout, rest)
		case verb == "ERR":
			fmt.Fprintln(out.Stderr, rest)
		case verb == "ONCE":
			if !d.once {
				d.once, code = true, 1
			}
		case strings.HasPrefix(verb, "FAIL"):
			code, _ = strconv.Atoi(verb[len("FAIL"):])
		case strings.HasPrefix(verb, "SLEEP"):
			n, _ := strconv.Atoi(verb[len("SLEEP"):])
			select {
			case <-time.After(time.Duration(n) * time.Second):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	if code != 0 {
		return &steps.ExitError{Code: code}
	}
	return nil
}

func (d *wordDocker) push(_ context.Context, ref string, _ io.Writer) (*steps.Pushed, error) {
	if strings.Contains(ref, "fail") {
		return nil, fmt.Errorf("refused")
	}
	return &steps.Pushed{Ref: ref, Digest: "sha256:1"}, nil
}

func (d *wordDocker) build(_ context.Context, op *steps.BuildOp, _ io.Writer) (*steps.Image, error) {
	return &steps.Image{
		Tags: op.Tags, Digest: "sha256:1", Runtime: &steps.Dependency{Ref: "alpine:3.20", Digest: "sha256:2"},
		BuildTime: []steps.Dependency{{Ref: "golang:1.22", Digest: "sha256:3"}},
	}, nil
}
