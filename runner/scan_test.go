package runner_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"acrd/runner"
	"acrd/steps"
)

// scanSources has files for the source of a task, and none for others.
type scanSources struct{ files map[string]string }

func (s scanSources) Fetch(_ context.Context, c steps.Context, dir string, _ io.Writer) (*steps.Fetched, error) {
	if !strings.Contains(c.URL, "app.git") {
		return nil, errors.New("no route to host")
	}
	for name, text := range s.files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	return &steps.Fetched{Dir: dir, Commit: "c0ffee"}, nil
}

func (scanSources) Upload(context.Context, string, string, bool) (runner.Checkout, error) {
	return nil, errors.New("no uploads")
}

// TestScan looks at all builds of a task file, runs nothing, says no secret,
// and leaves nothing behind.
func TestScan(t *testing.T) {
	const file = `version: v1.1.0
steps:
  - cmd: bash -c 'exit 1'
  - id: web
    build: -t $Registry/web:1 -f web/Dockerfile --build-arg TOKEN={{.Values.token}} .
  - id: lost
    build: -t $Registry/lost:1 https://git.example.com/lost.git#main
  - id: late
    build: -t $Registry/late:1 -f missing-{{.Values.token}} .
    startDelay: 3600
  - push: [$Registry/web:1]
`
	r := &runner.Runner{Dir: t.TempDir(), Registry: "localhost:5000", Sources: scanSources{map[string]string{"task.yaml": file, "web/Dockerfile": "FROM node:22\n"}}}
	req := runner.Request{Source: "https://git.example.com/app.git#main", File: "task.yaml", SecretValues: map[string]string{"token": "open sesame"}}
	look := func(op *steps.BuildOp) (*steps.Image, error) {
		text, err := os.ReadFile(filepath.Join(op.Root, op.File))
		if err != nil {
			return nil, errors.New("unable to find " + op.File)
		}
		return &steps.Image{Tags: op.Tags, Runtime: &steps.Dependency{Ref: strings.TrimSpace(strings.TrimPrefix(string(text), "FROM "))}}, nil
	}
	images, err := r.Scan(t.Context(), req, look)
	if len(images) != 1 || images[0].Runtime.Ref != "node:22" || !slices.Equal(images[0].Tags, []string{"localhost:5000/web:1"}) {
		t.Errorf("found %+v", images)
	}
	if err == nil || !strings.Contains(err.Error(), "step lost: ") || !strings.Contains(err.Error(), "step late: unable to find") || strings.Contains(err.Error(), "sesame") {
		t.Errorf("the error is %v", err)
	}
	if left, _ := os.ReadDir(r.Dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	req.Source = "https://git.example.com/none.git"
	if _, err := r.Scan(t.Context(), req, look); err == nil || !errors.As(err, new(*runner.SourceError)) {
		t.Errorf("a source that cannot be had: %v", err)
	}
}
