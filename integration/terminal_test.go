package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A terminal is a command whose standard input, output and error are one.
type terminal struct {
	*background
	keyboard *os.File
}

// onTerminal starts a command on a terminal of its own, 40 lines of 200.
func (d *daemon) onTerminal(dir string, env []string, args ...string) *terminal {
	d.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 200})
	}
	if err != nil {
		d.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		d.Fatal(err)
	}
	b := &background{daemon: d, began: time.Now(), ended: make(chan struct{})}
	b.cmd = exec.Command(filepath.Join(built, "acrd"), args...)
	b.cmd.Dir, b.cmd.Env = dir, append(append(d.environment(), "TERM=xterm"), env...)
	b.cmd.Stdin, b.cmd.Stdout, b.cmd.Stderr = slave, slave, slave
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = b.cmd.Start()
	slave.Close()
	if err != nil {
		d.Fatal(err)
	}
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		buf := make([]byte, 32<<10)
		for { // until nobody has the terminal any more: EIO
			n, err := master.Read(buf)
			_, _ = b.stdout.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	go func() {
		_ = b.cmd.Wait()
		<-shown
		close(b.ended)
	}()
	d.Cleanup(func() {
		_ = b.cmd.Process.Kill()
		<-b.ended
	})
	return &terminal{b, master}
}

// press is Ctrl-C.
func (t *terminal) press() {
	t.Helper()
	if _, err := t.keyboard.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
}

// cursor says whether the command has left the cursor to be seen.
func (t *terminal) cursor() bool {
	shown := t.stdout.String()
	return strings.LastIndex(shown, "\x1b[?25h") >= strings.LastIndex(shown, "\x1b[?25l")
}

// TestTerminal: builds are shown by BuildKit's display on a terminal, and by
// lines where that cannot be or is not wanted.
func TestTerminal(t *testing.T) {
	need(t)
	d := start(t)
	d.base()
	dir := d.folder(map[string]string{
		"Dockerfile": "FROM REGISTRY/base/busybox:1\nRUN echo some $((40+2)) output\n",
		"Wrong":      "FROM REGISTRY/base/busybox:1\nRUN echo what went $((40+2)) wrong; exit 3\n",
	})
	const display, lines = "\x1b[?25l", "Executing step ID: build"
	for _, tt := range []struct {
		name  string
		env   []string
		args  []string
		code  int
		has   []string
		hasNo []string
	}{
		{"auto", nil, []string{"-t", "terminal:1", "."}, 0, []string{display, "[+] Building", "FINISHED", "Pushed " + d.registry + "/terminal:1@sha256:", "was successful"}, []string{lines}},
		{"tty", nil, []string{"--no-push", "--no-cache", "--progress", "tty", "."}, 0, []string{display, "FINISHED", "was successful"}, []string{lines, "Pushed"}},
		{"plain", nil, []string{"--no-push", "--no-cache", "--progress", "plain", "."}, 0, []string{lines, "some 42 output"}, []string{display}},
		{"dumb", []string{"TERM=dumb"}, []string{"--no-push", "--no-cache", "."}, 0, []string{lines, "some 42 output"}, []string{display}},
		{"quiet", nil, []string{"--no-push", "-q", "."}, 0, []string{"\nsha256:"}, []string{display, lines}},
		{"a failure", nil, []string{"--no-push", "-f", "Wrong", "."}, 1, []string{display, "ERROR", "what went 42 wrong", "unsuccessful status 'Failed'", "acrd logs "}, []string{lines}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := d.in(t).onTerminal(dir, tt.env, append([]string{"build"}, tt.args...)...)
			code, shown := b.wait(60*time.Second), b.String()
			if code != tt.code || !b.cursor() {
				t.Errorf("exit code %d, want %d; cursor %v", code, tt.code, b.cursor())
			}
			for _, want := range tt.has {
				if !strings.Contains(shown, want) {
					t.Errorf("%q is not in\n%q", want, shown)
				}
			}
			for _, bad := range tt.hasNo {
				if strings.Contains(shown, bad) {
					t.Errorf("%q is in\n%q", bad, shown)
				}
			}
		})
	}
}

// TestTerminalInterrupt presses Ctrl-C: once, and the run is cancelled; twice,
// and the command does not wait for that, but it is cancelled all the same.
func TestTerminalInterrupt(t *testing.T) {
	need(t)
	d := start(t)
	d.base()
	dir := d.folder(map[string]string{
		"Dockerfile": "FROM REGISTRY/base/busybox:1\nRUN trap '' TERM INT; echo it is st$((0))ck; while true; do sleep 100000; done\n",
		"acb.yaml":   "steps:\n  - cmd: REGISTRY/base/busybox:1 sh -c 'trap \"\" TERM INT; echo it is st$((0))ck; while true; do sleep 100000; done'\n",
	})
	for _, tt := range []struct {
		name  string
		args  []string
		twice bool
	}{
		{"build", []string{"build", "--no-push", "."}, false},
		{"run", []string{"run", "."}, false},
		{"run, twice", []string{"run", "."}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := d.in(t)
			b := d.onTerminal(dir, nil, tt.args...)
			b.await("it is st0ck")
			b.press()
			if tt.twice {
				b.await("Canceling run")
				b.press()
			}
			code := b.wait(15 * time.Second)
			status, _ := b.cmd.ProcessState.Sys().(syscall.WaitStatus)
			switch {
			case tt.twice && (!status.Signaled() || status.Signal() != syscall.SIGINT):
				t.Errorf("the second Ctrl-C does not end the command: exit code %d", code)
			case !tt.twice && (code != 130 || !strings.Contains(b.String(), "was canceled")):
				t.Errorf("exit code %d, want 130:\n%q", code, b.String())
			}
			if !b.cursor() {
				t.Errorf("the cursor is gone:\n%q", b.String())
			}
			eventually(t, 30*time.Second, "the run is not cancelled", func() bool {
				return strings.Contains(d.acrd(dir, "runs", "list", "--top", "1").stdout, "Canceled")
			})
		})
	}
}
