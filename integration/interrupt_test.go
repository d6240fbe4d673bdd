package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestInterrupt presses Ctrl-C in the middle of each kind of work, by a daemon
// and without one.
func TestInterrupt(t *testing.T) {
	need(t)
	d := start(t)
	d.base()
	d.succeed(d.acrd(d.folder(map[string]string{"Dockerfile": "FROM REGISTRY/base/busybox:1\nRUN true\n"}), "build", "--no-push", "."))
	before := d.idle()
	for name, s := range stubborn {
		t.Run(name, func(t *testing.T) {
			b := d.in(t).begin(d.folder(s.files), s.args...)
			b.await("step is stuck\n")
			b.interrupted()
			d.in(t).quiet(before, 10*time.Second)
		})
	}
	d.stop()
	// The same folder and images, and a daemon for the length of the command.
	t.Setenv("ACRD_LISTEN", d.registry)
	for name, s := range stubborn {
		t.Run(name+", without a daemon", func(t *testing.T) {
			dir := d.folder(s.files)
			d := d.in(t)
			d.cmd = nil
			b := d.begin(dir, s.args...)
			d.cmd = b.cmd
			b.await("step is stuck\n")
			b.interrupted()
			d.quiet(nil, 5*time.Second)
		})
	}
}

// interrupted presses Ctrl-C and checks what comes of it.
func (b *background) interrupted() {
	b.Helper()
	b.interrupt()
	pressed := time.Now()
	if code := b.wait(15 * time.Second); code != 130 || !strings.Contains(b.String(), "was canceled") {
		b.Errorf("exit code %d, want 130:\n%s", code, b)
	}
	took := time.Since(pressed)
	b.Logf("gone after %v", took)
	if took > 10*time.Second {
		b.Errorf("Ctrl-C took %v", took)
	}
}

// TestInterruptBetween presses Ctrl-C when runc has started a RUN and does not
// know it yet: it says that there is no such container. The container goes
// all the same.
func TestInterruptBetween(t *testing.T) {
	need(t)
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Fatal(err)
	}
	dir := shortDir(t)
	script := "#!/bin/sh\nfor w; do [ \"$w\" = kill ] && { echo container does not exist >&2; exit 1; }; done\nexec " + runc + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "runc"), []byte(script), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	d := start(t)
	d.base()
	d.succeed(d.acrd(d.folder(map[string]string{"Dockerfile": "FROM REGISTRY/base/busybox:1\nRUN true\n"}), "build", "--no-push", "."))
	before := d.idle()
	for _, output := range []string{"", " > /dev/null 2>&1"} { // what runc waits for goes with the container, or does not
		b := d.begin(d.folder(map[string]string{"Dockerfile": strings.Replace(stubbornBuild, "while true", "exec sh -c 'trap \"\" TERM; while true; do sleep 100000; done'"+output+"; while true", 1)}), stubborn["build"].args...)
		b.await("step is stuck\n")
		b.interrupted()
		d.quiet(before, 10*time.Second)
	}
}
