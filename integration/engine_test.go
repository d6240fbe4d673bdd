package integration

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acrd/internal/buildkit"
	"acrd/internal/buildkit/control"
	"acrd/steps"
	"acrd/steps/stepstest"
)

// TestEngine holds the real engine to what every engine must do.
func TestEngine(t *testing.T) {
	need(t)
	d := start(t) // for its registry
	d.base()
	state := shortDir(t)
	e := buildkit.New(buildkit.Options{
		Config:  control.Config{Dir: filepath.Join(state, "engine"), Instance: "suite", PlainHTTP: []string{d.registry}},
		Command: []string{filepath.Join(built, "acrd"), "engine"},
		Log:     slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	if err := e.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	runs := 0
	open := func(t *testing.T) *stepstest.Bench {
		runs++
		id := "suite" + string(rune('a'+runs))
		p := place(t, filepath.Join(state, "runs", id), id, d.registry)
		p.Allow = []string{steps.AllowHostNet}
		s, err := e.Open(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		return bench(s, p, d.registry)
	}
	stepstest.TestEngine(t, open)
	t.Run("CacheScope", func(t *testing.T) { testCacheScope(t, open(t)) })
	t.Run("Ports", func(t *testing.T) { testPorts(t, open(t)) })
	t.Run("Compression", func(t *testing.T) { testCompression(t, d, open(t)) })
}

// testPorts publishes a port where a step has no network of its own: as with
// docker, that is said and does nothing.
func testPorts(t *testing.T, b *stepstest.Bench) {
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	for _, network := range []string{control.NetworkHost, control.NetworkNone} {
		var out output
		op := &steps.ExecOp{Step: "it", Image: b.Image, Args: []string{"true"}, Network: network, Ports: []string{"80"}}
		if err := b.Exec(t.Context(), op, steps.Output{Stdout: &out, Stderr: &out}); err != nil || !strings.Contains(out.String(), "discarded") {
			t.Errorf("network %s: %v, %q; want a warning", network, err, out.String())
		}
	}
}

// testCompression pushes what was first built for the run alone, and so kept
// uncompressed: all its layers are gzip, and once it is pushed it stays so.
func testCompression(t *testing.T, d *daemon, b *stepstest.Bench) {
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	text := "FROM " + b.Image + "\nRUN echo compression > /made\n"
	if err := os.WriteFile(filepath.Join(b.Workspace, "Dockerfile"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	digests := map[bool]string{}
	for _, pushed := range []bool{false, true, false, true} {
		image, err := b.Build(t.Context(), &steps.BuildOp{
			Step: "build", Workspace: b.Workspace, Context: b.Workspace, Root: b.Workspace, ContextKey: "compression", Pushed: pushed,
			BuildOptions: steps.BuildOptions{Tags: []string{b.Tag("compressed")}},
		}, &output{})
		if err != nil {
			t.Fatal(err)
		}
		if before, ok := digests[pushed]; ok && pushed && before != image.Digest {
			t.Errorf("pushed %v: built %s, then %s", pushed, before, image.Digest)
		}
		digests[pushed] = image.Digest
	}
	if _, err := b.Push(t.Context(), b.Tag("compressed"), &output{}); err != nil {
		t.Fatal(err)
	}
	status, manifest := d.get("/v2/suite/compressed/manifests/1")
	if status != http.StatusOK || strings.Count(manifest, "tar+gzip") != 2 {
		t.Errorf("the registry has %d %s, want two gzip layers", status, manifest)
	}
}

// testCacheScope has a RUN that comes out differently each time, and fails if it
// sees what another has left in the cache mount.
func testCacheScope(t *testing.T, b *stepstest.Bench) {
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	text := "FROM " + b.Image + "\nRUN --mount=type=cache,id=scope,target=/c test ! -e /c/x && touch /c/x && head -c 16 /dev/urandom > /made\n"
	if err := os.WriteFile(filepath.Join(b.Workspace, "Dockerfile"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, scope := range []string{"untrusted/a", "", "untrusted/b"} {
		var out output
		image, err := b.Build(t.Context(), &steps.BuildOp{
			Step: "build", Workspace: b.Workspace, Context: b.Workspace, Root: b.Workspace, ContextKey: "scope", CacheScope: scope,
			BuildOptions: steps.BuildOptions{Tags: []string{b.Tag("scoped")}, BuildArgs: []string{"BUILDKIT_CACHE_MOUNT_NS="}},
		}, &out)
		if err != nil {
			t.Fatalf("scope %q: %v\n%s", scope, err, out.String())
		}
		if other, ok := seen[image.Digest]; ok {
			t.Errorf("scope %q has the layers of scope %q", scope, other)
		}
		seen[image.Digest] = scope
	}
}

// place makes the folders of a run, with a Dockerfile in its workspace.
func place(t *testing.T, dir, id, registry string) *steps.Place {
	t.Helper()
	p := &steps.Place{Run: id, Dir: dir, Workspace: filepath.Join(dir, "workspace"), Home: filepath.Join(dir, "home"), Registry: registry}
	for _, d := range []string{p.Workspace, p.Home} {
		if err := os.MkdirAll(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	text := "FROM " + registry + "/base/busybox:1\nRUN echo built > /made\n"
	if err := os.WriteFile(filepath.Join(p.Workspace, "Dockerfile"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func bench(s steps.Session, p *steps.Place, registry string) *stepstest.Bench {
	return &stepstest.Bench{
		Session: s, Image: registry + "/base/busybox:1", Workspace: p.Workspace,
		Tag: func(name string) string { return registry + "/suite/" + name + ":1" },
	}
}

// TestRemoteEngine runs a daemon on somebody else's BuildKit: here, that of
// another daemon. Builds, FROM what was built, and pushes work; cmd steps are
// refused by name.
func TestRemoteEngine(t *testing.T) {
	need(t)
	theirs := start(t)
	theirs.base()
	ours := start(t, "--engine", "unix://"+filepath.Join(theirs.state, "engine", "buildkit.sock"))
	dir := ours.folder(map[string]string{
		"Dockerfile": "FROM " + theirs.registry + "/base/busybox:1\nRUN echo parent > /made\n",
		"Child":      "FROM parent\nRUN cat /made\n",
		"acb.yaml": `version: v1.1.0
steps:
  - build: -t parent .
  - build: -t $Registry/child:$ID -f Child .
  - push: ["$Registry/child:$ID"]
`,
		"cmd.yaml": "steps:\n  - id: it\n    cmd: " + theirs.registry + "/base/busybox:1 true\n",
	})
	r := ours.succeed(ours.acrd(dir, "run", "-o", "json", "."))
	digest := between(r.stdout, `"outputImages"`, `"digest": "`, `"`)
	if code, tags := ours.get("/v2/child/tags/list"); code != 200 {
		t.Errorf("child is not in our registry: %d %s", code, tags)
	}
	if digest == "" || !strings.Contains(r.stdout, digest) {
		t.Errorf("no digest in\n%s", r)
	}
	if r := ours.acrd(dir, "run", "-f", "cmd.yaml", "."); r.code != 1 || !strings.Contains(r.String(), ": it: cmd steps need acrd's own engine") {
		t.Errorf("a cmd step on a remote engine: exit code %d\n%s", r.code, r)
	}
	for flags, want := range map[string]string{
		"--engine tcp://127.0.0.1:1":                      "BuildKit at tcp://127.0.0.1:1: ",
		"--engine 127.0.0.1:1":                            "want tcp://HOST:PORT or unix://PATH",
		"--engine tcp://127.0.0.1:1 --run-memory 1g":      "--run-memory is for the engine that is built in",
		"--engine tcp://127.0.0.1:1 --cache-max 1g":       "--cache-max is for the engine that is built in",
		"--engine tcp://127.0.0.1:1 --subnets 10.0.0.0/8": "--subnets is for the engine that is built in",
	} {
		r := ours.acrd(dir, append([]string{"serve", "--listen", "127.0.0.1:0", "--state", shortDir(t)}, strings.Fields(flags)...)...)
		if r.code == 0 || !strings.Contains(r.stderr, want) || strings.Contains(r.stderr, "acrd doctor") {
			t.Errorf("serve %s: exit code %d, want %q:\n%s", flags, r.code, want, r)
		}
	}
	if r := ours.succeed(ours.acrd(dir, "build", "--no-push", ".")); !strings.Contains(r.stdout, "CACHED") {
		t.Errorf("the second build is not cached:\n%s", r)
	}
}

// between is what stands in s after each of the words, up to the last one.
func between(s string, words ...string) string {
	for _, w := range words[:len(words)-1] {
		_, after, ok := strings.Cut(s, w)
		if !ok {
			return ""
		}
		s = after
	}
	found, _, _ := strings.Cut(s, words[len(words)-1])
	return found
}
