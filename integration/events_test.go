package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acrd/eventing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/messaging"
	"github.com/Azure/azure-sdk-for-go/sdk/messaging/eventgrid/azsystemevents"
	gocmp "github.com/google/go-cmp/cmp"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/memory"
	"oras.land/oras-go/v2/registry/remote"
)

// azureID is what events call the registry, for receivers that expect Azure's.
const azureID = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local/providers/Microsoft.ContainerRegistry/registries/acrd"

// TestEvents has real clients do twenty things to the registry, and compares
// the list of what is told. Every event must be one that Microsoft's and
// CloudEvents' own parsers understand.
func TestEvents(t *testing.T) {
	need(t, "skopeo")
	d := start(t, "--resource-id", azureID, "--location", "westeurope")
	types := []string{
		eventing.ImagePushed, eventing.ImageDeleted, eventing.ChartPushed, eventing.ChartDeleted, eventing.ImageUntagged,
		eventing.RunQueued, eventing.RunStarted, eventing.RunSucceeded, eventing.RunFailed,
	}
	grid, cloud := newSubscriber(t), newSubscriber(t)
	grid.subscribe(d, "grid", "eventgridschema", types...)
	cloud.subscribe(d, "cloud", "cloudeventschemav1_0", types...)
	d.base()
	before := len(grid.told(100, time.Second))
	c := newClients(d)
	var want []string
	for i, op := range []struct {
		name string
		do   func()
		told string // one event a line: type, subject
	}{
		{"crane pushes an image", func() { c.crane("append", "-f", c.layer, "-t", d.registry+"/app:v1") }, "ImagePushed app:v1"},
		{"crane gives it a second tag", func() { c.crane("tag", d.registry+"/app:v1", "v2") }, "ImagePushed app:v2"},
		{"crane copies it to another repository", func() { c.crane("copy", d.registry+"/app:v1", d.registry+"/team/app:v1") }, "ImagePushed team/app:v1"},
		{"crane pushes an index", func() { c.crane("index", "append", "-m", d.registry+"/app:v1", "-t", d.registry+"/app:both") }, "ImagePushed app:both"},
		{"skopeo copies an image", func() { c.skopeo("copy", "docker://"+d.registry+"/app:v1", "docker://"+d.registry+"/sk/app:v1") }, "ImagePushed sk/app:v1"},
		{"skopeo pushes it again as docker's", func() {
			c.skopeo("copy", "--format", "v2s2", "docker://"+d.registry+"/app:v1", "docker://"+d.registry+"/sk/app:docker")
		}, "ImagePushed sk/app:docker"},
		{"skopeo copies an index with its images", func() {
			c.skopeo("copy", "--all", "docker://"+d.registry+"/app:both", "docker://"+d.registry+"/sk/both:v1")
		}, "ImagePushed sk/both:v1"},
		{"skopeo copies from another registry", func() { c.skopeo("copy", "docker://"+c.other()+"/far:v1", "docker://"+d.registry+"/near:v1") }, "ImagePushed near:v1"},
		{"skopeo deletes an image by its tag", func() { c.skopeo("delete", "docker://"+d.registry+"/sk/app:docker") }, "ImageDeleted sk/app"},
		{"oras pushes an artifact", func() { c.orasPush("things/one", "v1") }, "ImagePushed things/one:v1"},
		{"oras attaches another to it", func() { c.orasAttach("things/one", "v1") }, ""},
		{"oras gives it a second tag", func() { c.orasTag("things/one", "v1", "latest") }, "ImagePushed things/one:latest"},
		{"oras deletes it", func() { c.orasDelete("things/one", "v1") }, "ImageDeleted things/one"},
		{"helm pushes a chart", func() { c.helmPush("1.2.3") }, "ChartPushed charts/demo:1.2.3"},
		{"helm pushes a version with a build", func() { c.helmPush("0.2.0+build.5") }, "ChartPushed charts/demo:0.2.0+build.5"},
		{"crane deletes a chart", func() { c.craneDelete("charts/demo", "1.2.3") }, "ChartDeleted charts/demo:1.2.3"},
		{"crane removes a tag", func() { c.crane("delete", d.registry+"/app:v2") }, "ImageUntagged app:v2"},
		{"crane deletes an image", func() { c.craneDelete("app", "v1") }, "ImageDeleted app"},
		{"a push fails", func() { c.brokenPush("app", "v3") }, ""},
		{"BuildKit builds and pushes", func() { c.build("team/built:v1") }, "RunQueued RUN\nRunStarted RUN\nImagePushed team/built:v1\nRunSucceeded RUN"},
	} {
		op.do()
		told := strings.Fields(strings.ReplaceAll(op.told, " ", "|"))
		slices.Sort(told) // deliveries of one subscription overtake each other
		for _, r := range []*subscriber{grid, cloud} {
			got := inWords(r.told(before+len(want)+len(told), 5*time.Second)[before+len(want):])
			if diff := gocmp.Diff(strings.Join(told, "\n"), strings.Join(got, "\n")); diff != "" {
				t.Fatalf("%d, %s: told (-want +got):\n%s", i+1, op.name, diff)
			}
		}
		want = append(want, told...)
	}
	grid.told(before+len(want)+1, time.Second)
	if a, b := len(grid.got), len(cloud.got); a != before+len(want) || b != a {
		t.Errorf("%d and %d events in the end, want %d", a, b, before+len(want))
	}
	t.Run("once each", func(t *testing.T) { oneIDEach(t, grid.got) })
	t.Run("azsystemevents", func(t *testing.T) { parseInGo(t, grid.got, d.registry) })
	t.Run("azcore", func(t *testing.T) { parseCloudEvents(t, cloud.got) })
	t.Run("npm", func(t *testing.T) { parseInNode(t, slices.Concat(grid.got, cloud.got)) })
}

// inWords are type and subject of events, with the ids of runs hidden, sorted.
func inWords(events []delivered) []string {
	var all []string
	for _, e := range events {
		kind, subject := e.event.Type[strings.LastIndex(e.event.Type, ".")+1:], e.event.Subject
		if strings.HasPrefix(kind, "Run") {
			subject = "RUN"
		}
		all = append(all, kind+"|"+subject)
	}
	slices.Sort(all)
	return all
}

func oneIDEach(t *testing.T, events []delivered) {
	seen := map[string]bool{}
	for _, e := range events {
		if seen[e.event.ID] || len(e.event.ID) != 36 {
			t.Errorf("the id %s is no GUID, or was used twice", e.event.ID)
		}
		seen[e.event.ID] = true
	}
}

// parseInGo has Azure's SDK for Go read the events into its types.
func parseInGo(t *testing.T, events []delivered, host string) {
	for _, e := range events {
		var all []azsystemevents.EventGridEvent
		if err := json.Unmarshal(e.body, &all); err != nil || len(all) != 1 {
			t.Fatalf("%v: %s", err, e.body)
		}
		data, ok := all[0].Data.([]byte)
		if !ok {
			t.Fatalf("data is %T: %s", all[0].Data, e.body)
		}
		if typed, known := typedData(*all[0].EventType); known {
			if err := json.Unmarshal(data, typed); err != nil {
				t.Errorf("%v: %s", err, data)
			}
			if err := required(data, e.event.Type, host); err != "" {
				t.Errorf("%s: %s", err, data)
			}
		}
		if *all[0].ID != e.event.ID || !all[0].EventTime.Equal(e.event.Time) || *all[0].Topic != azureID {
			t.Errorf("it is read as %s of %v: %s", *all[0].ID, all[0].EventTime, e.body)
		}
	}
}

// parseCloudEvents has Azure's SDK for Go read the same as CloudEvents.
func parseCloudEvents(t *testing.T, events []delivered) {
	for _, d := range events {
		var e messaging.CloudEvent
		if err := json.Unmarshal(d.body, &e); err != nil {
			t.Fatalf("%v: %s", err, d.body)
		}
		if e.ID != d.event.ID || e.Type != d.event.Type || *e.Subject != d.event.Subject || !e.Time.Equal(d.event.Time) || e.Source != azureID {
			t.Errorf("it is read as %+v: %s", e, d.body)
		}
	}
}

func typedData(kind string) (data any, known bool) {
	switch kind {
	case azsystemevents.TypeContainerRegistryImagePushed:
		return new(azsystemevents.ContainerRegistryImagePushedEventData), true
	case azsystemevents.TypeContainerRegistryImageDeleted:
		return new(azsystemevents.ContainerRegistryImageDeletedEventData), true
	case azsystemevents.TypeContainerRegistryChartPushed:
		return new(azsystemevents.ContainerRegistryChartPushedEventData), true
	case azsystemevents.TypeContainerRegistryChartDeleted:
		return new(azsystemevents.ContainerRegistryChartDeletedEventData), true
	}
	return nil, false
}

// required names a field that the SDK's documents require, and that is not
// there.
func required(data []byte, kind, host string) string {
	var d eventing.RegistryData
	if err := json.Unmarshal(data, &d); err != nil {
		return err.Error()
	}
	image := strings.Contains(kind, ".Image")
	switch {
	case d.ID == "", d.Timestamp == "", d.Action == "", d.Location != "westeurope":
		return "no id, timestamp, action or location"
	case d.Target.MediaType == "", d.Target.Repository == "", !strings.HasPrefix(d.Target.Digest, "sha256:"):
		return "no mediaType, repository or digest"
	case image && (d.Request == nil || d.Request.ID == "" || d.Request.Host != host || d.Request.Method == ""):
		return "no request"
	case strings.HasSuffix(kind, "Pushed") && (d.Target.Size == 0 || d.Target.Tag == ""):
		return "no size or tag"
	case !image && (d.Target.Name != "demo" || d.Target.Version == "" || d.Target.Tag != "demo-"+d.Target.Version+".tgz" || d.Request != nil):
		return "no chart"
	}
	return ""
}

// A parsed event is what a parser of npm has made of it.
type parsedEvent struct {
	Parser, Type, ID, Subject, Digest string
}

// parseInNode has the packages @azure/eventgrid and cloudevents of npm read the
// events, in both schemas.
func parseInNode(t *testing.T, events []delivered) {
	dir := npm(t)
	var stdin bytes.Buffer
	for _, e := range events {
		if err := json.NewEncoder(&stdin).Encode(map[string]string{"contentType": e.header.Get("Content-Type"), "body": string(e.body)}); err != nil {
			t.Fatal(err)
		}
	}
	script, err := filepath.Abs("testdata/npm/parse.mjs")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", script)
	var stderr bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stderr = dir, &stdin, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("parse: %v\n%s", err, &stderr)
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	n := 0
	for ; lines.Scan(); n++ {
		var got []parsedEvent
		if err := json.Unmarshal(lines.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(wantParsed(events[n]), got); diff != "" {
			t.Errorf("event %d (-want +got):\n%s", n, diff)
		}
	}
	if n != len(events) {
		t.Errorf("%d of %d events are read", n, len(events))
	}
}

func wantParsed(e delivered) []parsedEvent {
	var d eventing.RegistryData
	_ = json.Unmarshal(e.event.Data, &d) // of a run it is something else
	want := parsedEvent{Parser: "@azure/eventgrid", Type: e.event.Type, ID: e.event.ID, Subject: e.event.Subject}
	if d.Target != nil {
		want.Digest = d.Target.Digest
	}
	if !strings.HasPrefix(e.header.Get("Content-Type"), "application/cloudevents+json") {
		return []parsedEvent{want}
	}
	second := want
	second.Parser = "cloudevents"
	return []parsedEvent{want, second}
}

// npm is a folder with the packages of testdata/npm.
func npm(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: make deps", program)
		}
	}
	dir, err := filepath.Abs("../build/npm")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/npm/package.json")
	if err != nil {
		t.Fatal(err)
	}
	if have, _ := os.ReadFile(filepath.Join(dir, "package.json")); bytes.Equal(have, want) {
		return dir
	}
	fresh := dir + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(fresh, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(fresh, "package.json"), want, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")
	cmd.Dir = fresh
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("npm cannot get its packages: %v\n%s", err, out)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fresh, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// clients are the programs and libraries that people push with.
type clients struct {
	*daemon
	t                                *testing.T
	cranePath, helmPath, layer, home string
}

func newClients(d *daemon) *clients {
	d.Helper()
	t, ok := d.TB.(*testing.T)
	if !ok {
		d.Fatal("not a test")
	}
	c := &clients{
		daemon: d, t: t, home: d.TempDir(),
		cranePath: tool(t, "clients", "crane", "github.com/google/go-containerregistry/cmd/crane"),
		helmPath:  tool(t, "../examples/helm-release/tools", "helm", "helm.sh/helm/v3/cmd/helm"),
	}
	c.layer = filepath.Join(c.home, "layer.tar")
	said(t, "sh", "-c", `cd "$0" && echo hello > note && tar -cf layer.tar note`, c.home)
	return c
}

func (c *clients) run(name string, args ...string) string {
	c.Helper()
	cmd := exec.CommandContext(c.Context(), name, args...)
	cmd.Dir, cmd.Env = c.home, append(os.Environ(), "HOME="+c.home)
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (c *clients) crane(args ...string) { c.Helper(); c.run(c.cranePath, args...) }

// craneDelete deletes the manifest of a tag.
func (c *clients) craneDelete(repository, tag string) {
	c.Helper()
	digest := c.run(c.cranePath, "digest", c.registry+"/"+repository+":"+tag)
	c.crane("delete", c.registry+"/"+repository+"@"+digest)
}

func (c *clients) skopeo(command string, args ...string) {
	c.Helper()
	flags := []string{command, "--src-tls-verify=false", "--dest-tls-verify=false"}
	if command == "delete" {
		flags = []string{command, "--tls-verify=false"}
	}
	c.run("skopeo", append(flags, args...)...)
}

// other is another registry, with an image far:v1.
func (c *clients) other() string {
	c.Helper()
	if _, err := exec.LookPath("docker-registry"); err != nil {
		c.Skip("docker-registry is not installed: make deps")
	}
	address := "127.0.0.1:" + freePort(c.t)
	config := filepath.Join(c.home, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %s}\n", filepath.Join(c.home, "other"), address)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		c.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "docker-registry", "serve", config)
	if err := cmd.Start(); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { stop(); _ = cmd.Wait() })
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			break
		}
	}
	c.crane("append", "-f", c.layer, "-t", address+"/far:v1")
	return address
}

func (c *clients) repository(name string) *remote.Repository {
	c.Helper()
	r, err := remote.NewRepository(c.registry + "/" + name)
	if err != nil {
		c.Fatal(err)
	}
	r.PlainHTTP = true
	return r
}

func (c *clients) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// pack makes an artifact, which may be about another.
func (c *clients) pack(subject *v1.Descriptor) (*memory.Store, v1.Descriptor) {
	c.Helper()
	from := memory.New()
	layer, err := oras.PushBytes(c.Context(), from, "text/plain", []byte("hello"))
	c.must(err)
	m, err := oras.PackManifest(c.Context(), from, oras.PackManifestVersion1_1, "application/vnd.acme.thing", oras.PackManifestOptions{Layers: []v1.Descriptor{layer}, Subject: subject})
	c.must(err)
	return from, m
}

func (c *clients) orasPush(name, tag string) {
	c.Helper()
	from, m := c.pack(nil)
	c.must(from.Tag(c.Context(), m, tag))
	_, err := oras.Copy(c.Context(), from, tag, c.repository(name), tag, oras.DefaultCopyOptions)
	c.must(err)
}

func (c *clients) orasAttach(name, tag string) {
	c.Helper()
	r := c.repository(name)
	subject, err := r.Resolve(c.Context(), tag)
	c.must(err)
	from, m := c.pack(&subject)
	c.must(oras.CopyGraph(c.Context(), from, r, m, oras.DefaultCopyGraphOptions))
}

func (c *clients) orasTag(name, tag, second string) {
	c.Helper()
	_, err := oras.Tag(c.Context(), c.repository(name), tag, second)
	c.must(err)
}

func (c *clients) orasDelete(name, tag string) {
	c.Helper()
	r := c.repository(name)
	m, err := r.Resolve(c.Context(), tag)
	c.must(err)
	c.must(r.Delete(c.Context(), m))
}

func (c *clients) helmPush(version string) {
	c.Helper()
	if _, err := os.Stat(filepath.Join(c.home, "demo")); err != nil {
		c.run(c.helmPath, "create", "demo")
	}
	c.run(c.helmPath, "package", "demo", "--version", version)
	c.run(c.helmPath, "push", "demo-"+version+".tgz", "oci://"+c.registry+"/charts", "--plain-http")
}

// brokenPush puts a manifest whose blobs are not there.
func (c *clients) brokenPush(name, tag string) {
	c.Helper()
	_, m := c.pack(nil)
	manifest := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":%q,"digest":%q,"size":1},"layers":[]}`, v1.MediaTypeImageConfig, m.Digest)
	desc := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Size: int64(len(manifest))}
	desc.Digest = m.Digest.Algorithm().FromString(manifest)
	if err := c.repository(name).PushReference(c.Context(), desc, strings.NewReader(manifest), tag); err == nil {
		c.Fatal("a manifest without its blobs was taken")
	}
}

func (c *clients) build(image string) {
	c.Helper()
	dir := c.folder(map[string]string{"Dockerfile": "FROM REGISTRY/base/busybox:1\nRUN echo hello > /note\n"})
	c.succeed(c.acrd(dir, "build", "-t", image, "."))
}
