package integration

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"acrd/internal/api"
	"acrd/internal/registry"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// A chain is a daemon with tasks whose images build on each other.
type chain struct {
	*daemon
	dir   string
	built map[string]bool // by first
}

// newChain makes a task for each Dockerfile, by the names of their images. They
// wait for base images from their first build on.
func newChain(t testing.TB, flags []string, dockerfiles map[string]string) *chain {
	t.Helper()
	c := newSource(t, flags, dockerfiles)
	for image := range dockerfiles {
		c.task(image, "--base-image-trigger-enabled=false")
	}
	return c
}

// task makes the one that builds an image.
func (c *chain) task(image string, flags ...string) {
	c.Helper()
	c.succeed(c.acrd(c.dir, append([]string{
		"task", "create", "-n", "task-" + image, "-c", "oci://" + c.registry + "/source:1",
		"-f", image + ".Dockerfile", "-t", image + ":1",
	}, flags...)...))
}

// newSource makes the source of tasks, and none of those.
func newSource(t testing.TB, flags []string, dockerfiles map[string]string) *chain {
	t.Helper()
	c := &chain{daemon: start(t, flags...), built: map[string]bool{}}
	c.dir = c.folder(nil)
	var files bytes.Buffer
	packed := gzip.NewWriter(&files)
	archive := tar.NewWriter(packed)
	for image, text := range dockerfiles {
		text = strings.ReplaceAll(text, "REGISTRY", c.registry)
		if err := archive.WriteHeader(&tar.Header{Name: image + ".Dockerfile", Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = archive.Close(), packed.Close()
	source, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), static.NewLayer(files.Bytes(), "application/vnd.oci.image.layer.v1.tar+gzip"))
	if err != nil {
		t.Fatal(err)
	}
	c.push("source:1", source)
	return c
}

// push puts an image into the registry.
func (c *chain) push(image string, content v1.Image) string {
	c.Helper()
	ref, err := name.ParseReference(c.registry + "/" + image)
	if err != nil {
		c.Fatal(err)
	}
	if err := remote.Write(ref, content); err != nil {
		c.Fatal(err)
	}
	digest, err := content.Digest()
	if err != nil {
		c.Fatal(err)
	}
	return digest.String()
}

// some is an image that is unlike all others.
func (c *chain) some() v1.Image {
	c.Helper()
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH})
	if err == nil {
		var layer v1.Layer
		if layer, err = random.Layer(200, types.DockerLayer); err == nil {
			image, err = mutate.AppendLayers(image, layer)
		}
	}
	if err != nil {
		c.Fatal(err)
	}
	return image
}

// in is the chain for a subtest.
func (c *chain) in(t *testing.T) *chain { return &chain{c.daemon.in(t), c.dir, c.built} }

// pushIndex puts an image into the registry below an index with an attestation
// that is like no other, as builds with provenance do.
func (c *chain) pushIndex(image string, content v1.Image) {
	c.Helper()
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: content, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}}},
		mutate.IndexAddendum{Add: c.some(), Descriptor: v1.Descriptor{
			Platform:    &v1.Platform{OS: "unknown", Architecture: "unknown"},
			Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest"},
		}})
	ref, err := name.ParseReference(c.registry + "/" + image)
	if err == nil {
		err = remote.WriteIndex(ref, index)
	}
	if err != nil {
		c.Fatal(err)
	}
}

// offline puts an image into the registry of a daemon that is not there.
func (c *chain) offline(image string, content v1.Image) {
	c.Helper()
	r, err := registry.Open(c.Context(), registry.Options{Dir: filepath.Join(c.state, "registry")})
	if err != nil {
		c.Fatal(err)
	}
	server := httptest.NewServer(r)
	ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/" + image)
	if err == nil {
		err = remote.Write(ref, content)
	}
	server.Close()
	if err := errors.Join(err, r.Close()); err != nil {
		c.Fatal(err)
	}
}

// annotations are those of an image's manifest.
func (c *chain) annotations(image string) map[string]string {
	c.Helper()
	ref, err := name.ParseReference(c.registry + "/" + image)
	if err != nil {
		c.Fatal(err)
	}
	got, err := remote.Image(ref)
	if err != nil {
		c.Fatal(err)
	}
	m, err := got.Manifest()
	if err != nil {
		c.Fatal(err)
	}
	return m.Annotations
}

// first builds everything, in this order, and lets it wait for what it was built
// on from then on.
func (c *chain) first(images ...string) {
	c.Helper()
	for _, image := range images {
		task := "task-" + image
		c.succeed(c.acrd(c.dir, "task", "run", "-n", task))
		if c.built[image] {
			continue
		}
		c.built[image] = true
		known := func() bool {
			return strings.Contains(c.succeed(c.acrd(c.dir, "task", "show", "-n", task, "-o", "json")).stdout, `"baseImageDependencies"`)
		}
		for deadline := time.Now().Add(30 * time.Second); !known(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				c.Fatal(task + " does not show what it was built on")
			}
		}
		c.succeed(c.acrd(c.dir, "task", "update", "-n", task, "--base-image-trigger-enabled=true", "--base-image-trigger-type", "All"))
	}
}

// runs are those that base images have started, the oldest first.
func (c *chain) runs() []*api.Run {
	c.Helper()
	return slices.DeleteFunc(c.all(), func(r *api.Run) bool { return r.Properties.Image == nil })
}

// all are all runs, the oldest first.
func (c *chain) all() []*api.Run {
	c.Helper()
	var all []*api.Run
	r := c.succeed(c.acrd(c.dir, "task", "list-runs", "--top", "1000", "-o", "json"))
	if err := json.Unmarshal([]byte(r.stdout), &all); err != nil {
		c.Fatal(err)
	}
	slices.Reverse(all)
	return all
}

// settle waits until nothing more happens, and returns the runs.
func (c *chain) settle(want int) []*api.Run {
	c.Helper()
	return c.settled(want, c.runs)
}

// settled is settle for the runs of a list.
func (c *chain) settled(want int, list func() []*api.Run) []*api.Run {
	c.Helper()
	patience := 90*time.Second + time.Duration(want)*10*time.Second
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		last := list()
		open := slices.ContainsFunc(last, func(r *api.Run) bool { return r.Properties.FinishTime == nil })
		if len(last) >= want && !open {
			break
		}
	}
	time.Sleep(1500 * time.Millisecond) // one too many would come now
	return list()
}

func tasksOf(runs []*api.Run) []string {
	var all []string
	for _, r := range runs {
		all = append(all, strings.TrimPrefix(r.Properties.Task, "task-"))
	}
	return all
}

var diamond = map[string]string{
	"a": "FROM REGISTRY/base/os:1\nCOPY a.Dockerfile /\n",
	"b": "FROM REGISTRY/a:1\nCOPY b.Dockerfile /\n",
	"c": "FROM REGISTRY/a:1\nCOPY c.Dockerfile /\n",
	"d": "FROM REGISTRY/b:1\nCOPY --from=REGISTRY/c:1 /c.Dockerfile /\nCOPY d.Dockerfile /\n",
}

// TestChain: a <- b, c <- d. One push below them is four builds, in order, each
// on what the one before has made; the same again is none.
func TestChain(t *testing.T) {
	need(t)
	c := newChain(t, []string{"--base-image-quiet", "0"}, diamond)
	c.push("base/os:1", c.some())
	c.first("a", "b", "c", "d")
	if runs := c.settle(0); len(runs) != 0 {
		t.Fatalf("before any change %v were built", tasksOf(runs))
	}
	image := c.some()
	digest := c.push("base/os:1", image)
	runs := c.settle(4)
	got := tasksOf(runs)
	if len(got) != 4 || got[0] != "a" || got[3] != "d" {
		t.Fatalf("built %v; want a, then b and c, then d", got)
	}
	made := map[string]string{"base/os": digest}
	for _, r := range runs {
		p := r.Properties
		if p.Status != "Succeeded" {
			t.Errorf("run %s of %s: %s %s", p.RunID, p.Task, p.Status, p.RunErrorMessage)
		}
		for _, i := range p.Image.Images {
			if made[i.Repository] != i.Digest {
				t.Errorf("%s was started by %s@%s; want %s", p.Task, i.Repository, i.Digest, made[i.Repository])
			}
		}
		for _, d := range p.Dependencies {
			for _, on := range append(d.BuildTime, *d.Runtime) {
				if on.Digest != made[on.Repository] {
					t.Errorf("%s was built on %s@%s; want %s", p.Task, on.Repository, on.Digest, made[on.Repository])
				}
			}
		}
		for _, i := range p.OutputImages {
			made[i.Repository] = i.Digest
		}
	}
	annotations := c.annotations("d:1")
	if annotations["org.opencontainers.image.base.name"] != c.registry+"/b:1" || annotations["org.opencontainers.image.base.digest"] != made["b"] {
		t.Errorf("d is annotated with %v; its base is %s", annotations, made["b"])
	}
	log := c.succeed(c.acrd(c.dir, "logs", runs[0].Properties.RunID)).stdout
	if first, _, _ := strings.Cut(log, "\n"); !strings.Contains(first, "Reason: base image "+c.registry+"/base/os:1 sha256:") || !strings.Contains(first, "registry event") {
		t.Errorf("the first line is %q", first)
	}
	c.push("base/os:1", image)
	if again := c.settle(4); len(again) != 4 {
		t.Errorf("the same again builds %v", tasksOf(again[4:]))
	}
}

// TestACRComplaints are what users of ACR have reported, one test each.
func TestACRComplaints(t *testing.T) {
	need(t)
	c := newChain(t, []string{"--base-image-quiet", "1s"}, map[string]string{
		"one":    "FROM REGISTRY/base/one:1\nCOPY one.Dockerfile /\n",
		"two":    "FROM REGISTRY/one:1\nCOPY --from=REGISTRY/one:2 /one.Dockerfile /again\n",
		"missed": "FROM REGISTRY/base/missed:1\nCOPY missed.Dockerfile /\n",
		"semver": "FROM REGISTRY/base/semver:1.2.0\nCOPY semver.Dockerfile /\n",
		"early":  "FROM REGISTRY/base/early:1\nCOPY early.Dockerfile /\n",
	})
	c.succeed(c.acrd(c.dir, "task", "update", "-n", "task-one", "-t", "one:1", "-t", "one:2"))
	c.succeed(c.acrd(c.dir, "task", "update", "-n", "task-semver", "--base-image-tag-pattern", c.registry+"/base/semver:^1.2", "--base-image-trigger-enabled=false"))
	one := c.some()
	c.push("base/one:1", one)
	c.push("base/missed:1", c.some())
	c.push("base/semver:1.2.0", c.some())

	// There is no sign whether tracking is active.
	t.Run("azure-docs#46277", func(t *testing.T) {
		c := c.in(t)
		c.succeed(c.acrd(c.dir, "task", "update", "-n", "task-early", "--base-image-trigger-enabled=true"))
		eventually(t, time.Minute, "before the first build task why does not show what was found in the source", func() bool {
			before := c.succeed(c.acrd(c.dir, "task", "why", "task-early")).stdout
			return strings.Contains(before, c.registry+"/base/early:1") && strings.Contains(before, "RunTime") && strings.Contains(before, "known from a scan of the source")
		})
		if shown := c.succeed(c.acrd(c.dir, "task", "show", "-n", "task-early", "-o", "json")).stdout; !strings.Contains(shown, `"knownFrom": "scan"`) {
			t.Errorf("task show says\n%s", shown)
		}
		c.first("one", "two", "missed", "semver")
		eventually(t, 5*time.Second, "task why does not show what is tracked", func() bool {
			after := c.succeed(c.acrd(c.dir, "task", "why", "task-missed")).stdout
			return strings.Contains(after, c.registry+"/base/missed:1") && strings.Contains(after, "RunTime") && strings.Contains(after, "sha256:")
		})
		if graph := c.succeed(c.acrd(c.dir, "task", "graph")).stdout; !strings.Contains(graph, "from "+c.registry+"/one:1 of task-one") {
			t.Errorf("the graph is\n%s", graph)
		}
	})
	// A push of the digest that is there already has to do nothing, and
	// neither has an index whose attestations alone are new.
	t.Run("acr#373", func(t *testing.T) {
		c := c.in(t)
		c.push("base/one:1", one)
		for range 2 {
			c.pushIndex("base/one:1", one)
		}
		if runs := c.settle(0); len(runs) != 0 {
			t.Errorf("built %v", tasksOf(runs))
		}
	})
	// One update builds twice, if the image has two tags.
	t.Run("acr#300", func(t *testing.T) {
		c := c.in(t)
		c.push("base/one:1", c.some())
		if got := tasksOf(c.settle(2)); !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("built %v; want one, and then two once", got)
		}
	})
	// An update is never seen: here, because nobody was there.
	t.Run("acr#295", func(t *testing.T) {
		c.stop()
		c.offline("base/missed:1", c.some())
		c.start("--base-image-quiet", "1s")
		c := c.in(t)
		got := tasksOf(c.settle(3))
		if len(got) != 3 || got[2] != "missed" {
			t.Errorf("built %v; want missed at last", got)
		}
	})
	// A new tag does nothing.
	t.Run("acr#374", func(t *testing.T) {
		c := c.in(t)
		c.push("base/semver:2.0.0", c.some())
		newest := c.push("base/semver:1.3.1", c.some())
		runs := c.settle(4)
		got := tasksOf(runs)
		if len(got) != 4 || got[3] != "semver" {
			t.Fatalf("built %v; want semver at last", got)
		}
		p := runs[3].Properties
		if i := p.Image.Images[0]; i.Tag != "1.3.1" || i.Digest != newest || p.Dependencies[0].Runtime.Digest != newest {
			t.Errorf("built on %+v because of %+v; want %s", p.Dependencies[0].Runtime, i, newest)
		}
		c.first("semver") // by hand, on the same
		if got := tasksOf(c.settle(4)); len(got) != 4 {
			t.Errorf("then built %v", got[4:])
		}
	})
}

// TestCircle: two tasks build on each other. A push below one of them builds
// each once.
func TestCircle(t *testing.T) {
	need(t)
	c := newChain(t, []string{"--base-image-quiet", "0"}, map[string]string{
		"left":  "FROM REGISTRY/base/os:1\nCOPY --from=REGISTRY/right:1 / /right/\nCOPY left.Dockerfile /\n",
		"right": "FROM REGISTRY/left:1\nCOPY right.Dockerfile /\n",
	})
	c.push("base/os:1", c.some())
	c.push("right:1", c.some())
	c.first("left", "right")
	before := c.settle(0) // what has followed from that, if anything
	if len(before) > 2 {
		t.Fatalf("the first builds have led to %v", tasksOf(before))
	}
	c.push("base/os:1", c.some())
	runs := c.settle(len(before) + 2)[len(before):]
	if got := tasksOf(runs); !slices.Equal(got, []string{"left", "right"}) {
		t.Errorf("built %v; want each once", got)
	}
	why := c.succeed(c.acrd(c.dir, "task", "why", "task-left")).stdout
	if !strings.Contains(why, "in a circle") || !strings.Contains(why, "would never end") {
		t.Errorf("task why says\n%s", why)
	}
	r := c.succeed(c.acrd(c.dir, "task", "update", "-n", "task-left", "--timeout", "600", "-t", "left:1"))
	if !strings.Contains(r.stderr, "in a circle") {
		t.Errorf("saving says %q", r.stderr)
	}
}
