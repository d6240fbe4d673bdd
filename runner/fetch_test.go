package runner_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acrd/runner"
	"acrd/steps"
)

// gitSources fetch a repository of one folder, and remember where to.
type gitSources struct {
	noSources
	fetched []string
}

func (g *gitSources) Fetch(_ context.Context, c steps.Context, dir string, _ io.Writer) (*steps.Fetched, error) {
	g.fetched = append(g.fetched, dir)
	for _, sub := range []string{".git", "app"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "app", "Dockerfile"), []byte("FROM scratch\n"), 0o644); err != nil {
		return nil, err
	}
	return &steps.Fetched{Dir: filepath.Join(dir, "app"), Commit: "c0ffee", Branch: c.Ref}, nil
}

// TestFetchedAside: git works on a folder that no step sees, though other
// steps write to the workspace meanwhile, and each retry gets a fresh one.
func TestFetchedAside(t *testing.T) {
	outside := t.TempDir()
	sources := &gitSources{}
	b := newBench(t, func(r *runner.Runner) { r.Sources = sources })
	defer b.end()
	attempts := 0
	b.engine.BuildFunc = func(_ context.Context, op *steps.BuildOp, _ io.Writer) (*steps.Image, error) {
		attempts++
		if want := filepath.Join(op.Workspace, "b", "app"); op.Context != want {
			t.Errorf("context %s, want %s", op.Context, want)
		}
		if _, err := os.Stat(filepath.Join(op.Context, "Dockerfile")); err != nil {
			t.Error(err)
		}
		if attempts == 1 { // what a step in parallel could do
			if err := os.RemoveAll(filepath.Join(op.Workspace, "b")); err != nil {
				t.Error(err)
			}
			if err := os.Symlink(outside, filepath.Join(op.Workspace, "b")); err != nil {
				t.Error(err)
			}
			return nil, &steps.BuildError{Err: errors.New("no luck")}
		}
		return &steps.Image{Tags: op.Tags, Digest: "sha256:1"}, nil
	}
	run, log := b.do(`{version: v1.1.0, steps: [{id: b, build: "-t r.io/x:1 https://git.example/r.git#main:app", retries: 1, retryDelay: 1}]}`)
	if run.Status != runner.Succeeded || attempts != 2 {
		t.Fatalf("%s after %d attempts:\n%s", run.Status, attempts, log)
	}
	if len(sources.fetched) != 2 || sources.fetched[0] == sources.fetched[1] {
		t.Errorf("fetched into %q", sources.fetched)
	}
	for _, dir := range sources.fetched {
		if strings.Contains(dir, "workspace") {
			t.Errorf("fetched into %s, where steps can write", dir)
		}
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("written through a link: %v %v", left, err)
	}
	if want := "git-head-revision: c0ffee"; !strings.Contains(log, want) {
		t.Errorf("no %q in\n%s", want, log)
	}
}
