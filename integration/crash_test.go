package integration

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"acrd/eventing"
)

// stubbornTask has a detached step, a second network, a secret in memory, and
// a tree of processes that do not want to go.
const stubbornTask = `version: v1.1.0
volumes:
  - name: hidden
    secret:
      word: aGlkZGVu
networks:
  - name: elsewhere
steps:
  - id: aside
    detach: true
    network: elsewhere
    cmd: $Registry/base/busybox:1 sleep 100000
  - id: stuck
    ports: []
    volumeMounts:
      - name: hidden
        mountPath: /hidden
    cmd: $Registry/base/busybox:1 sh -c 'trap "" TERM INT HUP; (setsid sh -c "trap \"\" TERM; sleep 100000") & (trap "" TERM; sleep 100000) & echo step is stuck; while true; do sleep 100000; done'
`

// stubbornBuild is the same of a build.
const stubbornBuild = `FROM REGISTRY/base/busybox:1
RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/fast \
    trap "" TERM INT HUP; (setsid sh -c 'trap "" TERM; sleep 100000') & echo step is stuck; while true; do sleep 100000; done
`

// stubborn are the ways in which a run can be in the middle of something.
var stubborn = map[string]struct {
	files map[string]string
	args  []string
}{
	"cmd":          {map[string]string{"acb.yaml": stubbornTask}, []string{"run", "."}},
	"build":        {map[string]string{"Dockerfile": stubbornBuild}, []string{"build", "--no-push", "--no-cache", "--progress", "plain", "."}},
	"build in run": {map[string]string{"acb.yaml": "steps:\n  - id: it\n    build: --no-cache .\n", "Dockerfile": stubbornBuild}, []string{"run", "."}},
}

// background is a command of acrd that is still running.
type background struct {
	*daemon
	cmd            *exec.Cmd
	stdout, stderr output
	began          time.Time
	ended          chan struct{}
}

// begin starts a command in a process group of its own, as a shell does.
func (d *daemon) begin(dir string, args ...string) *background {
	d.Helper()
	b := &background{daemon: d, began: time.Now(), ended: make(chan struct{})}
	b.cmd = exec.Command(filepath.Join(built, "acrd"), args...)
	b.cmd.Dir, b.cmd.Env = dir, d.environment()
	b.cmd.Stdout, b.cmd.Stderr = &b.stdout, &b.stderr
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := b.cmd.Start(); err != nil {
		d.Fatal(err)
	}
	go func() {
		_ = b.cmd.Wait()
		close(b.ended)
	}()
	d.Cleanup(func() {
		_ = b.cmd.Process.Kill()
		<-b.ended
	})
	return b
}

// await waits until the command has printed text.
func (b *background) await(text string) {
	b.Helper()
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(b.String(), text); time.Sleep(5 * time.Millisecond) {
		select {
		case <-b.ended:
			b.Fatalf("the command has ended without %q:\n%s", text, b)
		default:
		}
		if time.Now().After(deadline) {
			b.Fatalf("the command does not say %q:\n%s", text, b)
		}
	}
}

// interrupt is Ctrl-C: the terminal tells the whole process group.
func (b *background) interrupt() { _ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGINT) }

// wait returns the exit code, and fails the test if the command takes longer
// than patience from now on.
func (b *background) wait(patience time.Duration) int {
	b.Helper()
	select {
	case <-b.ended:
	case <-time.After(patience):
		b.Fatalf("the command has not ended within %v:\n%s", patience, b)
	}
	return b.cmd.ProcessState.ExitCode()
}

func (b *background) String() string { return b.stdout.String() + b.stderr.String() }

// TestEngineKilled kills the engine in the middle of each kind of work: the
// run fails at once and says why, the engine is back at once, and soon nothing
// is left of what went on.
func TestEngineKilled(t *testing.T) {
	need(t)
	d := start(t)
	d.base()
	trivial := d.folder(map[string]string{
		"acb.yaml":   "steps:\n  - cmd: REGISTRY/base/busybox:1 true\n",
		"Dockerfile": "FROM REGISTRY/base/busybox:1\nRUN true\n",
	})
	d.succeed(d.acrd(trivial, "build", "--no-push", "."))
	d.succeed(d.acrd(trivial, "run", "."))
	before := d.idle()
	for name, s := range stubborn {
		t.Run(name, func(t *testing.T) {
			d := d.in(t)
			b := d.begin(d.folder(s.files), s.args...)
			b.await("step is stuck\n")
			began := time.Now()
			d.succeed(d.acrd(trivial, "run", "."))
			usual := time.Since(began) // on a machine that has much else to do
			engine := d.enginePID()
			_ = syscall.Kill(engine, syscall.SIGKILL)
			killed := time.Now()
			if code := b.wait(5 * time.Second); code != 1 || !strings.Contains(b.String(), "build engine") {
				t.Errorf("exit code %d, and this does not name the engine:\n%s", code, b)
			}
			t.Logf("the run had failed after %v", time.Since(killed))
			d.succeed(d.acrd(trivial, "run", "."))
			if took := time.Since(killed) - usual; took > 5*time.Second {
				t.Errorf("the engine was back after %v, without the %v that a run takes", took, usual)
			}
			if again := d.enginePID(); again == engine {
				t.Error("the engine was not killed")
			}
			d.succeed(d.acrd(trivial, "build", "--no-push", "."))
			d.quiet(before, time.Until(killed.Add(10*time.Second)))
		})
	}
}

// in is the daemon for a subtest.
func (d *daemon) in(t *testing.T) *daemon {
	sub := *d
	sub.TB = t
	return &sub
}

// TestDaemonKilled kills the daemon. Its engine goes with it, and the next
// daemon on the same folder removes what both have left.
func TestDaemonKilled(t *testing.T) {
	need(t)
	d := start(t)
	d.base()
	trivial := d.folder(map[string]string{"Dockerfile": "FROM REGISTRY/base/busybox:1\nRUN true\n"})
	d.succeed(d.acrd(trivial, "build", "--no-push", "."))
	before := d.idle()
	for name, s := range stubborn {
		t.Run(name, func(t *testing.T) {
			b := d.in(t).begin(d.folder(s.files), s.args...)
			b.await("step is stuck\n")
			engine := d.enginePID()
			_ = d.cmd.Process.Kill()
			<-d.gone
			if code := b.wait(5 * time.Second); code == 0 {
				t.Errorf("the command does not mind that its daemon is gone:\n%s", b)
			}
			eventually(t, 15*time.Second, "the engine outlives its daemon", func() bool { return !isEngine(engine) })
			d.start()
			started := time.Now()
			// A build is tried once more by the next daemon; this one would
			// never end. What had run commands is not, and has ended.
			id, _, _ := strings.Cut(between(b.String()+"\n", "with ID: ", "\n"), " ")
			_ = d.acrd(t.TempDir(), "task", "cancel-run", "--run-id", id)
			d.succeed(d.acrd(trivial, "build", "--no-push", "."))
			d.in(t).quiet(before, time.Until(started.Add(10*time.Second)))
		})
	}
}

func eventually(t *testing.T, patience time.Duration, otherwise string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(otherwise)
		}
	}
}

// TestDrain sends SIGTERM while a run goes on. One that can finish does; one
// that cannot is cancelled when its time is up; new ones are not taken. Who
// subscribed to the end of runs hears of either.
func TestDrain(t *testing.T) {
	need(t)
	for _, tt := range []struct {
		name, sleep, drain string
		code               int
		says               string
	}{
		{"finishes", "3", "1m", 0, "was successful"},
		{"cancelled", "100000", "2s", 1, "canceled"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := start(t, "--drain-timeout", tt.drain)
			d.base()
			ends := newSubscriber(t)
			ends.subscribe(d, "ends", "EventGridSchema", eventing.RunSucceeded, eventing.RunFailed)
			dir := d.folder(map[string]string{"acb.yaml": fmt.Sprintf("steps:\n  - cmd: REGISTRY/base/busybox:1 sh -c 'echo step is stuck; sleep %s & wait'\n", tt.sleep)})
			b := d.begin(dir, "run", ".")
			b.await("step is stuck\n")
			_ = d.cmd.Process.Signal(syscall.SIGTERM)
			told := time.Now()
			eventually(t, 5*time.Second, "runs are still taken", func() bool { return d.acrd(dir, "run", "--no-wait", ".").code == 3 })
			if code := b.wait(15 * time.Second); code != tt.code || !strings.Contains(b.String(), tt.says) {
				t.Errorf("exit code %d, want %d, and %q:\n%s", code, tt.code, tt.says, b)
			}
			select {
			case <-d.gone:
			case <-time.After(20 * time.Second):
				t.Fatalf("the daemon is still there:\n%s", d.log)
			}
			t.Logf("the daemon was gone after %v", time.Since(told))
			if !d.cmd.ProcessState.Success() {
				t.Errorf("the daemon ended with %v:\n%s", d.cmd.ProcessState, d.log)
			}
			d.quiet(nil, time.Second)
			if got := ends.told(1, 0); len(got) != 1 {
				t.Errorf("told of %d ends, want 1", len(got))
			}
		})
	}
}

// TestSecondSignal ends a daemon that has been told once and is waiting for a
// run. What it leaves is as after a crash.
func TestSecondSignal(t *testing.T) {
	need(t)
	d := start(t)
	d.base()
	before := d.idle()
	b := d.begin(d.folder(stubborn["cmd"].files), "run", ".")
	b.await("step is stuck\n")
	engine := d.enginePID()
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	eventually(t, 5*time.Second, "the daemon does not drain", func() bool { return d.acrd(t.TempDir(), "run", "--cmd", "x", "/dev/null").code == 3 })
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.gone:
	case <-time.After(8 * time.Second): // it takes three to hurry its runs
		t.Fatal("the daemon does not mind a second signal")
	}
	eventually(t, 15*time.Second, "the engine outlives its daemon", func() bool { return !isEngine(engine) })
	d.start()
	d.quiet(before, 10*time.Second)
}
