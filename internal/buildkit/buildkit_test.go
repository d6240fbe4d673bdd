package buildkit

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acrd/internal/buildkit/control"
	"acrd/steps"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"
)

func TestPorts(t *testing.T) {
	got, err := ports([]string{"80", "8080:80", "0.0.0.0:8080:80/tcp", "127.0.0.1::80", "[::1]:1:2"})
	if err != nil {
		t.Fatal(err)
	}
	want := []control.Port{
		{HostIP: "127.0.0.1", Container: 80},
		{HostIP: "127.0.0.1", HostPort: 8080, Container: 80},
		{HostIP: "0.0.0.0", HostPort: 8080, Container: 80},
		{HostIP: "127.0.0.1", Container: 80},
		{HostIP: "::1", HostPort: 1, Container: 2},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	for _, bad := range []string{"", "x", "80:x", "0", "70000", "nohost:1:2", "53/udp"} {
		if got, err := ports([]string{bad}); err == nil {
			t.Errorf("ports(%q) = %v, want an error", bad, got)
		}
	}
}

func TestCacheEntries(t *testing.T) {
	got, err := cacheEntries([]string{"r.io/app:cache", "type=registry,ref=r.io/c,mode=max", "type=inline"})
	if err != nil {
		t.Fatal(err)
	}
	want := []client.CacheOptionsEntry{
		{Type: "registry", Attrs: map[string]string{"ref": "r.io/app:cache"}},
		{Type: "registry", Attrs: map[string]string{"ref": "r.io/c", "mode": "max"}},
		{Type: "inline", Attrs: map[string]string{}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	var refused *steps.RefusedError
	if _, err := cacheEntries([]string{"type=gha"}); !errors.As(err, &refused) {
		t.Errorf("type=gha: %v, want a refusal", err)
	}
}

func TestFamiliar(t *testing.T) {
	for ref, want := range map[string]string{
		"alpine": "alpine", "alpine:latest": "alpine", "docker.io/library/alpine": "alpine", "localhost:5000/a:1": "localhost:5000/a:1", "library/z:1": "z:1",
	} {
		if got := familiar(ref); got != want {
			t.Errorf("familiar(%q) = %q, want %q", ref, got, want)
		}
	}
}

func TestDoorAddress(t *testing.T) {
	for registry, want := range map[string]string{"localhost:5000": "127.0.0.1:5000", "r.io": "127.0.0.1:80"} {
		if got := doorAddress(registry); got != want {
			t.Errorf("doorAddress(%q) = %q, want %q", registry, got, want)
		}
	}
}

// TestShowKeepsLinesWhole plays a batch that BuildKit splits because there is
// much output in it: the end of the vertex comes before most of the output.
func TestShowKeepsLinesWhole(t *testing.T) {
	now := time.Now()
	run := func(done *time.Time) []*client.Vertex {
		return []*client.Vertex{{Digest: digest.FromString("run"), Name: "RUN seq", Started: &now, Completed: done}}
	}
	log := func(s string) *client.VertexLog {
		return &client.VertexLog{Vertex: digest.FromString("run"), Stream: 1, Data: []byte(s), Timestamp: now}
	}
	big := strings.Repeat(strings.Repeat("x", 1023)+"\n", 1100)
	statuses := make(chan *client.SolveStatus)
	go func() {
		defer close(statuses)
		statuses <- &client.SolveStatus{Vertexes: run(nil)}
		statuses <- &client.SolveStatus{Vertexes: run(&now), Logs: []*client.VertexLog{log(big + "half of a")}}
		statuses <- &client.SolveStatus{Logs: []*client.VertexLog{log(" line\nnext ")}}
		statuses <- &client.SolveStatus{Logs: []*client.VertexLog{log("line\n")}}
		statuses <- &client.SolveStatus{}
	}()
	var out, raw bytes.Buffer
	if err := show(t.Context(), statuses, strings.NewReplacer("RUN", "run"), &out, &raw); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	if !strings.Contains(text, " half of a line\n") || !strings.Contains(text, " next line\n") {
		t.Errorf("lines are broken:\n%s", text[len(text)-300:])
	}
	if strings.Count(text, "DONE") != 1 || !strings.Contains(text, "#1 run seq\n") {
		t.Errorf("want one DONE and the new name:\n%s", text[len(text)-300:])
	}
	if raw.Len() < len(big) {
		t.Errorf("raw progress has %d bytes", raw.Len())
	}
}

// inputsFor opens the inputs of a build line in a workspace with these files.
// A file whose text begins with -> is a link.
func inputsFor(t *testing.T, files map[string]string, line ...string) (*inputs, error) {
	t.Helper()
	workspace := t.TempDir()
	for name, text := range files {
		path := filepath.Join(workspace, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(text, "->"); ok {
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := steps.ParseBuildArgs(line)
	if err != nil {
		t.Fatal(err)
	}
	in, err := openInputs(&steps.BuildOp{
		BuildOptions: b.Options, Workspace: workspace, Root: workspace, Context: filepath.Join(workspace, b.Context.Path), ContextKey: "k",
	})
	if err == nil {
		t.Cleanup(in.close)
	}
	return in, err
}

func TestInputs(t *testing.T) {
	const from = "FROM scratch\n"
	for name, tt := range map[string]struct {
		files map[string]string
		line  []string
		want  string // error; empty is none
	}{
		"plain":                 {map[string]string{"Dockerfile": from}, []string{"."}, ""},
		"subfolder":             {map[string]string{"app/Dockerfile": from}, []string{"app"}, ""},
		"-f beside the context": {map[string]string{"docker/D": from, "app/x": ""}, []string{"-f", "docker/D", "app"}, ""},
		"-f absolute":           {map[string]string{"D": from}, []string{"-f", "/workspace/D", "."}, ""},
		"link within":           {map[string]string{"D": from, "Dockerfile": "->D"}, []string{"."}, ""},
		"secret":                {map[string]string{"Dockerfile": from, "t": "x"}, []string{"--secret", "id=t,src=t", "."}, ""},
		"no Dockerfile":         {map[string]string{"x": ""}, []string{"."}, `unable to find "Dockerfile"`},
		"no -f":                 {map[string]string{"Dockerfile": from}, []string{"-f", "a/b", "."}, `unable to find "a/b"`},
		"no context":            {map[string]string{"Dockerfile": from}, []string{"-f", "Dockerfile", "none"}, "no such file"},
		"Dockerfile leads out":  {map[string]string{"Dockerfile": "->/etc/passwd"}, []string{"."}, "Dockerfile is a link that leads out of the context"},
		"by two steps":          {map[string]string{"Dockerfile": "->a", "a": "->../../../etc/passwd"}, []string{"."}, "leads out"},
		"folder leads out":      {map[string]string{"app": "->/etc"}, []string{"-f", "app/passwd", "."}, "leads out"},
		"context leads out":     {map[string]string{"Dockerfile": from, "app": "->/etc"}, []string{"-f", "Dockerfile", "app"}, "leads out"},
		"ignore file leads out": {map[string]string{"Dockerfile": from, ".dockerignore": "->/etc/passwd"}, []string{"."}, ".dockerignore is a link that leads out"},
		"own ignore file out":   {map[string]string{"Dockerfile": from, "Dockerfile.dockerignore": "->/etc/passwd"}, []string{"."}, "leads out"},
		"context above":         {map[string]string{"Dockerfile": from}, []string{"-f", "Dockerfile", ".."}, "outside of /workspace"},
		"-f above":              {map[string]string{"Dockerfile": from}, []string{"-f", "../../etc/passwd", "."}, "outside of /workspace"},
		"-f on the host":        {map[string]string{"Dockerfile": from}, []string{"-f", "/etc/passwd", "."}, "is below /workspace"},
		"secret leads out":      {map[string]string{"Dockerfile": from, "t": "->/etc/passwd"}, []string{"--secret", "id=t,src=t", "."}, "secret t: t is a link that leads out"},
		"secret above":          {map[string]string{"Dockerfile": from}, []string{"--secret", "id=t,src=../x", "."}, "outside of /workspace"},
		"foreign frontend":      {map[string]string{"Dockerfile": "# syntax=evil.io/x\n" + from}, []string{"."}, "not allowed"},
		"no FROM":               {map[string]string{"Dockerfile": "# nothing\n"}, []string{"."}, "no instructions"},
		"huge":                  {map[string]string{"Dockerfile": from + strings.Repeat("#", 3<<20)}, []string{"."}, "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := inputsFor(t, tt.files, tt.line...)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %q", err, tt.want)
			case err == nil && in.mounts["context"] == nil:
				t.Error("no context")
			}
		})
	}
}
