package integration

import (
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"acrd/internal/api"
	"acrd/runner"
)

// diskSize is the size of the disk that TestFullDisk fills.
const diskSize = 384 << 20

// smallDisk mounts an ext4 of its own on dir for the length of the test.
func smallDisk(t *testing.T, dir string) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(diskSize), f.Close()); err != nil {
		t.Fatal(err)
	}
	// Nothing is reserved for root, who the daemon is.
	for _, words := range [][]string{{"mkfs.ext4", "-q", "-m", "0", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Skipf("this host cannot mount a file: %v: %v %s", words, err, out)
		}
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
			_ = syscall.Unmount(dir, syscall.MNT_DETACH)
		}
	})
}

// fillUp writes a file until the disk takes no byte more, and goes on with
// that until stop is called, which gives the space back.
func fillUp(t *testing.T, path string) (stop func()) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	fill := func() {
		for size := 1 << 20; size >= 512; {
			if _, err := f.Write(make([]byte, size)); err != nil {
				size /= 2
			}
		}
	}
	fill()
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ended:
				return
			case <-time.After(20 * time.Millisecond):
				fill()
			}
		}
	}()
	return func() {
		close(ended)
		<-done
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
		f.Close()
	}
}

// TestFullDisk fills the disk of the state folder under work of each kind: it
// ends, nothing new is taken, what there is can be read, and once there is
// space again the daemon works, without having been restarted.
func TestFullDisk(t *testing.T) {
	need(t, "mkfs.ext4", "mount")
	d := &daemon{TB: t, state: shortDir(t)}
	smallDisk(t, d.state)
	d.start()
	t.Cleanup(d.stop)
	d.base()
	context := d.folder(map[string]string{"Dockerfile": "FROM REGISTRY/base/busybox:1\nARG n\nRUN echo $n > /n\n"})
	d.succeed(d.acrd(context, "build", "-t", "disk/app:1", "--build-arg", "n=1", "."))
	client, err := api.NewClient("unix:"+filepath.Join(d.state, "acrd.sock"), "")
	if err != nil {
		t.Fatal(err)
	}
	busy := map[string]*background{}
	for name, yaml := range map[string]string{
		"silent":    "steps:\n  - cmd: REGISTRY/base/busybox:1 sh -c 'echo step is on; sleep 4'\n",
		"two steps": "steps:\n  - cmd: REGISTRY/base/busybox:1 sh -c 'echo step is on; sleep 4'\n  - cmd: REGISTRY/base/busybox:1 true\n",
		"chatty":    "steps:\n  - cmd: REGISTRY/base/busybox:1 sh -c 'echo step is on; for i in $(seq 40); do seq 10000; sleep 0.1; done'\n",
		"writer":    "steps:\n  - cmd: REGISTRY/base/busybox:1 sh -c 'echo step is on; sleep 2; dd if=/dev/zero of=big bs=1M count=1000'\n",
		"endless":   "steps:\n  - cmd: REGISTRY/base/busybox:1 sh -c 'echo step is on; sleep 100000 & wait'\n",
	} {
		busy[name] = d.begin(d.folder(map[string]string{"acb.yaml": yaml}), "run", ".")
	}
	busy["build"] = d.begin(d.folder(map[string]string{
		"Dockerfile": "FROM REGISTRY/base/busybox:1\nRUN echo step is on; sleep 2; dd if=/dev/urandom of=/big bs=1M count=1000\n",
	}), "build", "-t", "disk/big:1", ".")
	for _, b := range busy {
		b.await("step is on")
	}
	free := fillUp(t, filepath.Join(d.state, "ballast"))
	full := time.Now()
	taken := d.refused(client)
	if r := d.acrd(context, "run", "--cmd", "REGISTRY/base/busybox:1 true", "/dev/null"); r.code != 1 || !strings.Contains(r.stderr, "no space") {
		t.Errorf("exit code %d, want 1 and the reason:\n%s", r.code, r)
	}
	if code, _ := d.get("/healthz"); code != http.StatusOK {
		t.Errorf("healthz on a full disk: %d", code)
	}
	if err := client.Cancel(t.Context(), d.runID(busy["endless"])); err != nil {
		t.Errorf("cancel on a full disk: %v", err)
	}
	for name, b := range busy {
		code := b.wait(time.Until(full.Add(30 * time.Second)))
		run, err := client.Run(t.Context(), d.runID(b))
		if err != nil || !runner.Status(run.Properties.Status).Final() {
			t.Errorf("%s: %v, %v", name, run.Properties.Status, err)
			continue
		}
		t.Logf("%s: %s (%d), %s", name, run.Properties.Status, code, run.Properties.RunErrorMessage)
		if strings.Contains(run.Properties.RunErrorMessage, d.state) {
			t.Errorf("%s: a path of the host in %s", name, run.Properties.RunErrorMessage)
		}
	}
	t.Logf("all had ended %v after the disk was full", time.Since(full).Round(time.Millisecond))

	free()
	there := time.Now()
	for r := (result{code: -1}); r.code != 0; r = d.acrd(context, "build", "-t", "disk/app:2", "--build-arg", "n="+there.String(), ".") {
		if time.Since(there) > 30*time.Second {
			t.Fatalf("the daemon does not work %v after there is space:\n%s\n%s", time.Since(there), r, d.log)
		}
	}
	d.succeed(d.task("steps:\n  - cmd: REGISTRY/base/busybox:1 true\n"))
	t.Logf("the daemon worked %v after there was space", time.Since(there).Round(time.Millisecond))
	eventually(t, 30*time.Second, "what was taken does not end", func() bool {
		for _, id := range taken {
			if run, err := client.Run(t.Context(), id); err != nil || !runner.Status(run.Properties.Status).Final() {
				return false
			}
		}
		return true
	})
}

// refused submits until that is refused for want of space, and returns what
// was taken before: the store has some room in its files.
func (d *daemon) refused(c *api.Client) (taken []string) {
	d.Helper()
	yaml := "steps:\n  - cmd: $Registry/base/busybox:1 true\n#" + strings.Repeat("x", 10_000) + "\n"
	request := &api.RunRequest{Type: api.EncodedTask, EncodedTaskContent: base64.StdEncoding.EncodeToString([]byte(yaml))}
	for range 1000 {
		run, err := c.Schedule(d.Context(), request)
		if err == nil {
			taken = append(taken, run.Name)
			continue
		}
		problem, ok := errors.AsType[*api.Problem](err)
		if !ok || problem.Status != http.StatusInsufficientStorage || !strings.Contains(problem.Message, "no space is left") || strings.Contains(problem.Message, d.state) {
			d.Errorf("a submission to a full disk is answered with %v (%+v)", err, problem)
		}
		d.Logf("%d were taken, then: %v", len(taken), err)
		return taken
	}
	d.Error("a full disk takes a thousand submissions")
	return taken
}

// runID is the id of the run that a command has told.
func (d *daemon) runID(b *background) string {
	d.Helper()
	for line := range strings.Lines(b.String()) {
		if _, id, ok := strings.Cut(line, " with ID: "); ok {
			return strings.TrimSpace(id)
		}
	}
	d.Fatalf("no run id in\n%s", b)
	return ""
}
