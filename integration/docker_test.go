package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"acrd/eventing"

	gocmp "github.com/google/go-cmp/cmp"
)

// A docker is a Docker engine of the test's own, and the client that talks to
// it. The engine lives in namespaces of its own for processes and mounts: when
// it ends, the kernel ends whatever it has started and mounted.
type docker struct {
	*daemon // that is pushed to
	t       *testing.T
	dir     string
	engine  *exec.Cmd
	gone    chan struct{} // closed when the engine has ended
}

// startDocker runs an engine until the end of the test, or skips.
func startDocker(t *testing.T, d *daemon) *docker {
	t.Helper()
	k := &docker{daemon: d, t: t, dir: shortDir(t), gone: make(chan struct{})}
	config := `{"features": {"containerd-snapshotter": false}}`
	if err := os.WriteFile(filepath.Join(k.dir, "engine.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log := &output{}
	k.engine = exec.Command("sh", "-c", `mount -t proc proc /proc && mount -t tmpfs tmpfs /run && mkdir -p /etc/docker && mount -t tmpfs tmpfs /etc/docker && exec dockerd "$@"`, "dockerd",
		"--config-file", filepath.Join(k.dir, "engine.json"), "--host", k.socket(), "--pidfile", filepath.Join(k.dir, "pid"),
		"--data-root", filepath.Join(k.dir, "data"), "--exec-root", filepath.Join(k.dir, "exec"), "--storage-driver", "vfs",
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--userland-proxy=false",
		"--insecure-registry", "127.0.0.0/8", "--insecure-registry", d.registry)
	k.engine.Stdout, k.engine.Stderr = log, log
	k.engine.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // whose death would be the engine's
		defer runtime.UnlockOSThread()
		err := k.engine.Start()
		started <- err
		if err == nil {
			_ = k.engine.Wait()
			close(k.gone)
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.end(log) })
	k.awaitEngine(log)
	return k
}

func (k *docker) socket() string { return "unix://" + filepath.Join(k.dir, "engine.sock") }

func (k *docker) awaitEngine(log *output) {
	k.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err := k.try("", "version"); err == nil {
			return
		}
		select {
		case <-k.gone:
			k.Skipf("dockerd does not run on this machine:\n%s", log)
		default:
		}
	}
	k.Fatalf("dockerd is not ready:\n%s", log)
}

// end stops the engine, and looks that nothing of it is left.
func (k *docker) end(log *output) {
	_ = k.engine.Process.Signal(syscall.SIGTERM)
	select {
	case <-k.gone:
	case <-time.After(30 * time.Second):
		_ = k.engine.Process.Kill()
		<-k.gone
	}
	if k.Failed() {
		k.Logf("dockerd has said:\n%s", log)
	}
	for _, file := range append([]string{"/proc/self/mountinfo"}, glob("/proc/[0-9]*/cmdline")...) {
		if b, err := os.ReadFile(file); err == nil && strings.Contains(string(b), k.dir) {
			k.Errorf("the engine has left something in %s: %q", file, b)
		}
	}
}

func glob(pattern string) []string {
	found, _ := filepath.Glob(pattern) // the patterns are ours
	return found
}

// try runs the client.
func (k *docker) try(stdin string, args ...string) (string, error) {
	cmd := exec.Command("docker", args...)
	cmd.Dir, cmd.Stdin = k.dir, strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "HOME="+k.dir, "DOCKER_HOST="+k.socket(), "DOCKER_CONFIG="+filepath.Join(k.dir, "client"),
		"DOCKER_BUILDKIT=0", "DOCKER_CONTENT_TRUST=0", "DOCKER_CLI_EXPERIMENTAL=enabled")
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (k *docker) do(args ...string) string {
	k.Helper()
	out, err := k.try("", args...)
	if err != nil {
		k.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// image is the name of one in the daemon's registry.
func (k *docker) image(name string) string { return k.registry + "/" + name }

// load makes an image out of busybox and a note.
func (k *docker) load(name, note string) {
	k.Helper()
	const script = `mkdir -p "$0/root/bin" && cp "$(command -v busybox)" "$0/root/bin/" && echo "$1" > "$0/root/note" && tar -C "$0/root" -cf "$0/root.tar" .`
	said(k.t, "sh", "-c", script, k.dir, note)
	k.do("import", filepath.Join(k.dir, "root.tar"), k.image(name))
}

// push returns what the client says of what it has pushed.
func (k *docker) push(name string) (digest, size string) {
	k.Helper()
	out := k.do("push", k.image(name))
	found := regexp.MustCompile(`digest: (sha256:[0-9a-f]{64}) size: (\d+)`).FindStringSubmatch(out)
	if found == nil {
		k.Fatalf("docker push says no digest:\n%s", out)
	}
	return found[1], found[2]
}

// note is the file in an image that is in the engine.
func (k *docker) note(image string) string {
	k.Helper()
	id := k.do("create", "--network", "none", image, "/bin/busybox")
	defer k.do("rm", id)
	return said(k.t, "sh", "-c", `docker --host "$0" cp "$1:/note" - | tar -xO note`, k.socket(), id)
}

// TestDocker has docker do to the registry what people do with it, and compares
// the list of what is told, and what each event says with what docker has said
// of the same push.
func TestDocker(t *testing.T) {
	need(t, "docker", "dockerd", "busybox")
	d := start(t, "--resource-id", azureID, "--location", "westeurope")
	types := []string{eventing.ImagePushed, eventing.ImageDeleted, eventing.ChartPushed, eventing.ChartDeleted, eventing.ImageUntagged}
	grid, cloud := newSubscriber(t), newSubscriber(t)
	grid.subscribe(d, "grid", "eventgridschema", types...)
	cloud.subscribe(d, "cloud", "cloudeventschemav1_0", types...)
	k := startDocker(t, d)
	t.Logf("docker is %s, its engine %s", k.do("version", "--format", "{{.Client.Version}}"), k.do("version", "--format", "{{.Server.Version}}"))
	d.base()
	before := len(grid.told(2, time.Minute)) // base images
	cloud.told(2, time.Minute)
	pushed := map[string]string{}
	push := func(name string) {
		digest, size := k.push(name)
		pushed[name] = digest + " " + size
	}
	var want []string
	expect := func(t *testing.T, name, lines string) {
		t.Helper()
		told := strings.Fields(strings.ReplaceAll(lines, " ", "|"))
		slices.Sort(told) // deliveries of one subscription overtake each other
		for _, r := range []*subscriber{grid, cloud} {
			got := inWords(r.told(before+len(want)+len(told), time.Minute)[before+len(want):])
			if diff := gocmp.Diff(strings.Join(told, "\n"), strings.Join(got, "\n")); diff != "" {
				t.Fatalf("%s: told (-want +got):\n%s", name, diff)
			}
		}
		want = append(want, told...)
	}
	for _, op := range []struct {
		name string
		do   func()
		told string // one event a line
	}{
		{"an image is imported and tagged", func() {
			k.load("dk/app:v1", "one")
			k.do("tag", k.image("dk/app:v1"), k.image("dk/app:v2"))
		}, ""},
		{"it is pushed", func() { push("dk/app:v1") }, "ImagePushed dk/app:v1"},
		{"its second tag is pushed", func() { push("dk/app:v2") }, "ImagePushed dk/app:v2"},
		{"it is pushed again", func() { push("dk/app:v1") }, "ImagePushed dk/app:v1"},
		{"it is pushed to another repository, which has its layers mounted", func() {
			k.do("tag", k.image("dk/app:v1"), k.image("other/app:v1"))
			if out := k.do("push", k.image("other/app:v1")); !strings.Contains(out, "Mounted from dk/app") {
				t.Errorf("nothing is mounted:\n%s", out)
			}
		}, "ImagePushed other/app:v1"},
		{"all its tags are pushed", func() { k.do("push", "--all-tags", k.image("dk/app")) }, "ImagePushed dk/app:v1\nImagePushed dk/app:v2"},
		{"it is pulled", func() {
			k.do("rmi", "--force", k.image("dk/app:v1"), k.image("dk/app:v2"), k.image("other/app:v1"))
			if out := k.do("pull", k.image("dk/app:v1")); !strings.Contains(out, "Digest: "+strings.Fields(pushed["dk/app:v1"])[0]) {
				t.Errorf("it is not pulled as it was pushed, as %s:\n%s", pushed["dk/app:v1"], out)
			}
			if got := k.note(k.image("dk/app:v1")); got != "one" {
				t.Errorf("its note says %q", got)
			}
		}, ""},
		{"docker builds on it, and pushes", func() {
			k.do("build", "--tag", k.image("dk/built:v1"), d.folder(map[string]string{"Dockerfile": "FROM REGISTRY/dk/app:v1\nCOPY Dockerfile /\nLABEL made=here\n"}))
			push("dk/built:v1")
		}, "ImagePushed dk/built:v1"},
		{"the client makes a manifest list, and pushes it", func() {
			k.do("manifest", "create", "--insecure", k.image("dk/both:v1"), k.image("dk/app:v1"), k.image("dk/built:v1"))
			k.do("manifest", "push", k.image("dk/both:v1"))
			var list struct{ Manifests []struct{ Digest string } }
			if err := json.Unmarshal([]byte(k.do("manifest", "inspect", "--insecure", k.image("dk/both:v1"))), &list); err != nil || len(list.Manifests) != 2 {
				t.Errorf("the list is read as %+v: %v", list, err)
			}
		}, "ImagePushed dk/both:v1"},
		{"a tag that is locked is refused", func() {
			d.succeed(d.acrd("", "repository", "update", "--image", "dk/app:v2", "--write-enabled", "false"))
			k.load("dk/app:v2", "two")
			if out, err := k.try("", "push", k.image("dk/app:v2")); err == nil {
				t.Errorf("docker pushes over it:\n%s", out)
			}
		}, ""},
		{"acrd builds, and docker pulls by the digest that it has said", func() {
			digest := builtDigest(d, d.folder(map[string]string{"Dockerfile": "FROM REGISTRY/base/busybox:1\nRUN echo built > /note\n"}), "-t", "team/app:v1")
			byDigest := k.image("team/app") + "@" + digest
			k.do("pull", byDigest)
			if got := k.note(byDigest); got != "built" {
				t.Errorf("its note says %q", got)
			}
			k.do("pull", k.image("team/app:v1"))
			if got := k.do("image", "inspect", "--format", "{{join .RepoDigests \" \"}}", k.image("team/app:v1")); got != byDigest {
				t.Errorf("its tag is %s, want %s", got, byDigest)
			}
		}, "ImagePushed team/app:v1"},
		{"docker pushes what acrd has built", func() {
			k.do("tag", k.image("team/app:v1"), k.image("team/app:docker"))
			push("team/app:docker")
		}, "ImagePushed team/app:docker"},
	} {
		op.do()
		expect(t, op.name, op.told)
	}
	t.Run("buildx", func(t *testing.T) {
		if _, err := k.try("", "buildx", "version"); err != nil {
			t.Skip("docker has no plugin buildx")
		}
		k.do("buildx", "imagetools", "create", "--tag", k.image("dk/list:v1"), k.image("dk/app:v1"), k.image("dk/built:v1"))
		k.do("buildx", "imagetools", "inspect", k.image("dk/list:v1"))
		expect(t, "imagetools create", "ImagePushed dk/list:v1")
	})
	t.Run("nothing more", func(t *testing.T) { nothingMore(t, d, before+len(want), grid, cloud) })
	t.Run("once each", func(t *testing.T) { oneIDEach(t, grid.got) })
	t.Run("azsystemevents", func(t *testing.T) { parseInGo(t, grid.got, d.registry) })
	t.Run("azcore", func(t *testing.T) { parseCloudEvents(t, cloud.got) })
	t.Run("as docker says", func(t *testing.T) { asDockerSays(t, grid.got, pushed) })
}

// nothingMore waits until everything is delivered that was to be, and counts.
func nothingMore(t *testing.T, d *daemon, want int, all ...*subscriber) {
	crane := tool(t, "clients", "crane", "github.com/google/go-containerregistry/cmd/crane")
	said(t, crane, "tag", d.registry+"/base/busybox:1", "last")
	for _, r := range all {
		got := r.told(want+1, time.Minute)
		if len(got) != want+1 || got[want].event.Subject != "base/busybox:last" {
			t.Errorf("%d events in the end, want %d: %v", len(got), want+1, inWords(got))
		}
	}
}

// asDockerSays compares the last event of each image with what docker has said
// of its push.
func asDockerSays(t *testing.T, events []delivered, pushed map[string]string) {
	told := map[string]string{}
	for _, e := range events {
		var d eventing.RegistryData
		if err := json.Unmarshal(e.event.Data, &d); err != nil {
			t.Fatal(err)
		}
		if _, ok := pushed[e.event.Subject]; !ok {
			continue
		}
		told[e.event.Subject] = fmt.Sprintf("%s %d", d.Target.Digest, d.Target.Size)
		if d.Target.MediaType != "application/vnd.docker.distribution.manifest.v2+json" || d.Request.Method != "PUT" || !strings.HasPrefix(d.Request.UserAgent, "docker/") {
			t.Errorf("it is told as %s", e.event.Data)
		}
	}
	if diff := gocmp.Diff(pushed, told); diff != "" {
		t.Errorf("digest and size (-as docker says +as told):\n%s", diff)
	}
}

// TestDockerLogin has docker log in with a token of acrd: before it may
// nothing, and after it what the token may.
func TestDockerLogin(t *testing.T) {
	need(t, "docker", "dockerd", "busybox")
	cert, key := selfSigned(t)
	d := start(t, "--listen", "0.0.0.0:0", "--tls-cert", cert, "--tls-key", key)
	k := startDocker(t, d)
	token := func(scope string) string {
		return strings.TrimSpace(d.succeed(d.acrd("", "token", "create", scope, "--scope", scope)).stdout)
	}
	push, pull := token("registry-push"), token("registry-pull")
	login := func(password string) error {
		_, err := k.try(password, "login", "--username", "anybody", "--password-stdin", d.registry)
		return err
	}
	k.load("app:v1", "hello")
	for _, step := range []struct {
		name string
		do   func() error
		may  bool
	}{
		{"push without a login", func() error { _, err := k.try("", "push", k.image("app:v1")); return err }, false},
		{"log in with what is no token", func() error { return login("open sesame") }, false},
		{"log in", func() error { return login(push) }, true},
		{"push", func() error { _, err := k.try("", "push", k.image("app:v1")); return err }, true},
		{"log in to pull", func() error { return login(pull) }, true},
		{"pull", func() error { _, err := k.try("", "pull", k.image("app:v1")); return err }, true},
		{"push with a token for pulling", func() error { _, err := k.try("", "push", k.image("app:v1")); return err }, false},
		{"log out", func() error { _, err := k.try("", "logout", d.registry); return err }, true},
		{"pull after that", func() error { _, err := k.try("", "pull", k.image("app:v1")); return err }, false},
	} {
		if err := step.do(); (err == nil) != step.may {
			t.Errorf("%s: %v, and it may: %v", step.name, err, step.may)
		}
	}
}
