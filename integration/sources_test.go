package integration

import (
	"archive/tar"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// TestSources builds the same from everywhere that a source can be, and runs
// a task that is in it.
func TestSources(t *testing.T) {
	t.Parallel()
	need(t, "git")
	d := start(t)
	d.base()
	a := newAttacker(t, d) // a harmless one
	dir := a.context(map[string]string{
		"Dockerfile": "FROM REGISTRY/base/busybox:1\nRUN echo at the top\n",
		"acb.yaml":   "steps:\n  - cmd: REGISTRY/base/busybox:1 sh -c 'cat Dockerfile; ls'\n", "ignored": "x", ".dockerignore": "ignored\n",
		"sub/Dockerfile": "FROM REGISTRY/base/busybox:1\nRUN echo in the folder\n", "sub/acb.yaml": "steps:\n  - cmd: REGISTRY/base/busybox:1 grep folder Dockerfile\n",
	})
	git := a.repo("app", dir, "")
	tarball := a.archive("app", tar.Header{Name: "acb.yaml", Linkname: "steps:\n  - cmd: " + d.registry + "/base/busybox:1 cat Dockerfile\n"})
	artifact, err := name.ParseReference(d.registry + "/context:1")
	if err != nil {
		t.Fatal(err)
	}
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	image, err = mutate.AppendLayers(image, static.NewLayer(a.served["/app.tgz"], "application/vnd.oci.image.layer.v1.tar+gzip"))
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(artifact, image); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ source, built, ran string }{
		{".", "at the top", "at the top"},
		{"sub", "in the folder", "in the folder"},
		{git, "at the top", "at the top"},
		{git + "#main", "at the top", "at the top"},
		{git + "#main:sub", "in the folder", "in the folder"},
		{git + "#:sub", "in the folder", "in the folder"},
		{tarball, "FROM", "FROM"},
		{"oci://" + artifact.String(), "FROM", "FROM"},
	} {
		t.Run(tt.source, func(t *testing.T) {
			d := d.in(t)
			if r := d.succeed(d.acrd(dir, "build", "--no-push", "--no-cache", "--progress", "plain", tt.source)); !strings.Contains(r.stdout, tt.built) {
				t.Errorf("build: %q is not in\n%s", tt.built, r)
			}
			if r := d.succeed(d.acrd(dir, "run", tt.source)); !strings.Contains(r.stdout, tt.ran) {
				t.Errorf("run: %q is not in\n%s", tt.ran, r)
			}
		})
	}
	if r := d.succeed(d.acrd(dir, "run", ".")); strings.Contains(r.stdout, "\nignored\n") {
		t.Errorf(".dockerignore is not minded:\n%s", r)
	}
	d.succeed(d.acrd(dir, "run", "--cmd", d.registry+"/base/busybox:1 true", "/dev/null"))
}

// TestNoDaemon runs commands that start a daemon for themselves: what one has
// built the next one finds, and nothing is left after either.
func TestNoDaemon(t *testing.T) {
	need(t)
	d := start(t)
	d.base()
	d.stop()
	t.Setenv("ACRD_LISTEN", d.registry)
	dir := d.folder(map[string]string{"Dockerfile": "FROM REGISTRY/base/busybox:1\nRUN echo kept > /made\n"})
	d.succeed(d.acrd(dir, "build", "-t", "kept:1", "."))
	if r := d.succeed(d.acrd(dir, "build", "-t", "kept:1", ".")); !strings.Contains(r.stdout, "CACHED") {
		t.Errorf("it is built again:\n%s", r)
	}
	if r := d.succeed(d.acrd(dir, "run", "--cmd", d.registry+"/kept:1 cat /made", "/dev/null")); !strings.Contains(r.stdout, "\nkept\n") {
		t.Errorf("got\n%s", r)
	}
	if r := d.acrd(dir, "run", "--cmd", d.registry+"/kept:1 sh -c 'exit 3'", "/dev/null"); r.code != 1 {
		t.Errorf("exit code %d:\n%s", r.code, r)
	}
	r := d.succeed(d.acrd(dir, "run", "--no-wait", "--cmd", d.registry+"/kept:1 sleep 1", "/dev/null"))
	if list := d.succeed(d.acrd(dir, "runs", "list")); !strings.Contains(r.stderr, "which waits for it") || strings.Contains(list.stdout, "Canceled") {
		t.Errorf("a run that nobody would go on with:\n%s%s", r, list)
	}
	r = d.succeed(d.acrd(dir, "task", "create", "-n", "later", "-c", "/dev/null", "--cmd", "kept:1", "--schedule", "0 4 * * *"))
	if !strings.Contains(r.stderr, "before a daemon runs") {
		t.Errorf("a task that waits for a daemon:\n%s", r)
	}
	d.quiet(nil, 0)
}
