package runner_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"acrd/runner"
	"acrd/steps"
)

// conditions has tasks whose steps end with the code that their command names,
// and which of them run.
var conditions = map[string]struct {
	file   string
	status runner.Status
	ran    []string
}{
	"as on ACR": {
		"steps: [{id: a, cmd: img 3}, {id: b, cmd: img 0}]", runner.Failed, []string{"a"},
	},
	"always runs after a failure": {
		"steps: [{id: a, cmd: img 3}, {id: b, cmd: img 0}, {id: end, cmd: img 0, when: [always]}]", runner.Failed, []string{"a", "end"},
	},
	"always runs after a success": {
		"steps: [{id: a, cmd: img 0}, {id: end, cmd: img 0, when: [always]}, {id: b, cmd: img 0}]", runner.Succeeded, []string{"a", "end", "b"},
	},
	"failure does not run after a success": {
		"steps: [{id: a, cmd: img 0}, {id: oops, cmd: img 0, when: [failure]}, {id: b, cmd: img 0}]", runner.Succeeded, []string{"a", "b"},
	},
	"failure runs after a failure": {
		"steps: [{id: a, cmd: img 1}, {id: b, cmd: img 0}, {id: oops, cmd: img 0, when: [failure]}]", runner.Failed, []string{"a", "oops"},
	},
	"failure of one step": {
		"steps: [{id: a, cmd: img 0}, {id: b, cmd: img 1}, {id: oops, cmd: img 0, when: [a, failure]}, {id: help, cmd: img 0, when: [b, failure]}]",
		runner.Failed,
		[]string{"a", "b", "help"},
	},
	"an ignored error is no failure": {
		"steps: [{id: a, cmd: img 1, ignoreErrors: true}, {id: oops, cmd: img 0, when: [failure]}]", runner.Succeeded, []string{"a"},
	},
	"cleanup that fails does not hide the cause": {
		"steps: [{id: a, cmd: img 3}, {id: end, cmd: img 4, when: [always]}]", runner.Failed, []string{"a", "end"},
	},
	"exitedWith makes a code a success": {
		"steps: [{id: a, cmd: img 3, exitedWith: [0, 3]}, {id: b, cmd: img 0}]", runner.Succeeded, []string{"a", "b"},
	},
	"exitedWith makes others a failure": {
		"steps: [{id: a, cmd: img 0, exitedWith: [3]}, {id: b, cmd: img 0}]", runner.Failed, []string{"a"},
	},
	"exitedWithout makes others a success": {
		"steps: [{id: a, cmd: img 7, exitedWithout: [1, 2]}, {id: b, cmd: img 0}]", runner.Succeeded, []string{"a", "b"},
	},
	"exitedWithout makes a code a failure": {
		"steps: [{id: a, cmd: img 2, exitedWithout: [1, 2]}, {id: b, cmd: img 0}]", runner.Failed, []string{"a"},
	},
}

func TestConditions(t *testing.T) {
	for name, tt := range conditions {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			var ran []string
			b.engine.ExecFunc = func(_ context.Context, op *steps.ExecOp, _ steps.Output) error {
				ran = append(ran, op.Step)
				if code, _ := strconv.Atoi(op.Args[0]); code != 0 {
					return &steps.ExitError{Code: code}
				}
				return nil
			}
			run, log := b.do(tt.file)
			b.end()
			if run.Status != tt.status || !slices.Equal(ran, tt.ran) {
				t.Errorf("%s after %v, want %s after %v\n%s", run.Status, ran, tt.status, tt.ran, log)
			}
			if tt.status == runner.Failed && run.FailedStep != "a" && run.FailedStep != "b" {
				t.Errorf("the record blames %q", run.FailedStep)
			}
		})
	}
}

// TestEnvFile: a step starts with what an earlier one has written, below what
// it says itself; a link does not lead out.
func TestEnvFile(t *testing.T) {
	const file = "env: [A=task, B=task]\nsteps:\n  - {id: write, cmd: img}\n  - {id: read, cmd: img, env: [A=step], envFile: out/vars}\n"
	for name, tt := range map[string]struct {
		write func(dir string) error
		want  string // an error in the log, or the environment
	}{
		"values": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "vars"), []byte("# x\nA=file\nB=file\nC='c d'\n"), 0o644)
		}, "A=step C=c d B=file"},
		"missing": {func(string) error { return nil }, "envFile /workspace/out/vars: it is not there: an earlier step has to write it"},
		"broken": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "vars"), []byte("A=1\nnonsense\n"), 0o644)
		}, "envFile /workspace/out/vars:2: want NAME=value"},
		"link":   {func(dir string) error { return os.Symlink("/etc/hostname", filepath.Join(dir, "vars")) }, "it is a link that leads out of the workspace"},
		"folder": {func(dir string) error { return os.Mkdir(filepath.Join(dir, "vars"), 0o755) }, "it is not a file"},
	} {
		t.Run(name, func(t *testing.T) {
			var runs string
			b := newBench(t, func(r *runner.Runner) { runs = r.Dir })
			var env []string
			b.engine.ExecFunc = func(_ context.Context, op *steps.ExecOp, _ steps.Output) error {
				if op.Step == "read" {
					env = op.Env
					return nil
				}
				workspaces, _ := filepath.Glob(filepath.Join(runs, "*", "workspace"))
				dir := filepath.Join(workspaces[0], "out")
				if err := os.Mkdir(dir, 0o755); err != nil {
					return err
				}
				return tt.write(dir)
			}
			run, log := b.do(file)
			b.end()
			if got := strings.Join(env, " "); got != tt.want && (run.Status != runner.Failed || !strings.Contains(log, tt.want)) {
				t.Errorf("%s, env %q, want %q\n%s", run.Status, got, tt.want, log)
			}
		})
	}
}
