package integration

import (
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
			b.await("step is stuck")
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
			b.await("step is stuck")
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
