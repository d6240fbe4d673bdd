// Package integration runs the real thing: the acrd binary with its engine,
// registry and sources, as a user would. It needs root, runc and what else
// make deps installs, and runs when ACRD_INTEGRATION=1; without, everything
// but the tests of the import graph is skipped.
package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// built holds the programs that TestMain has built: acrd and base.
var built string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if os.Getenv("ACRD_INTEGRATION") != "1" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "acrd-it-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	built = dir
	for name, pkg := range map[string]string{"acrd": "../cmd/acrd", "base": "../examples/base"} {
		out, err := exec.Command("go", "build", "-ldflags", "-X main.version=v0.test -X main.commit=abcdef0", "-o", filepath.Join(dir, name), pkg).CombinedOutput()
		if err != nil {
			fmt.Fprintf(os.Stderr, "build %s: %v\n%s", pkg, err, out)
			return 1
		}
	}
	return m.Run()
}

// need skips a test that cannot run here, and says why.
func need(t testing.TB, programs ...string) {
	t.Helper()
	if built == "" {
		t.Skip("ACRD_INTEGRATION is not 1")
	}
	if os.Getuid() != 0 {
		t.Skip("the engine needs root")
	}
	for _, p := range append(programs, "runc") {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed: make deps", p)
		}
	}
}

// A daemon is a running acrd serve on a folder and a port of its own.
type daemon struct {
	testing.TB
	state    string
	registry string // localhost:PORT
	cmd      *exec.Cmd
	log      *output
	gone     chan struct{} // closed when it has ended
}

// start runs a daemon until the end of the test.
func start(t testing.TB, flags ...string) *daemon {
	t.Helper()
	d := &daemon{TB: t, state: shortDir(t)}
	d.start(flags...)
	t.Cleanup(func() {
		d.stop()
		if t.Failed() {
			t.Logf("the daemon has said:\n%s", d.log)
		}
	})
	return d
}

// shortDir is a folder whose path leaves room for the name of a socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "acrd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func (d *daemon) start(flags ...string) {
	d.Helper()
	d.launch(flags...)
	d.registry = d.awaitReady()
}

// launch starts the process, and does not wait.
func (d *daemon) launch(flags ...string) {
	d.Helper()
	listen := "127.0.0.1:0"
	if d.registry != "" { // again, after a crash: the images keep their names
		listen = "127.0.0.1" + strings.TrimPrefix(d.registry, "localhost")
	}
	d.log, d.gone = &output{}, make(chan struct{})
	d.cmd = exec.Command(filepath.Join(built, "acrd"), append([]string{"serve", "--state", d.state, "--listen", listen, "--drain-timeout", "5s"}, flags...)...)
	d.cmd.Stderr = d.log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		d.Fatal(err)
	}
	go func() {
		_ = d.cmd.Wait()
		close(d.gone)
	}()
}

// awaitReady reads from the daemon's own words where it serves.
func (d *daemon) awaitReady() string {
	d.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if _, after, ok := strings.Cut(d.log.String(), " serves on "); ok {
			address, _, _ := strings.Cut(after, " ")
			return address
		}
		select {
		case <-d.gone:
			d.Fatalf("the daemon has ended:\n%s", d.log)
		default:
		}
	}
	d.Fatalf("the daemon is not ready:\n%s", d.log)
	return ""
}

// stop ends the daemon in an orderly way, and fails the test if it cannot.
func (d *daemon) stop() {
	d.Helper()
	select {
	case <-d.gone:
		return
	default:
	}
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.gone:
		if !d.cmd.ProcessState.Success() {
			d.Errorf("the daemon ended with %v:\n%s", d.cmd.ProcessState, d.log)
		}
	case <-time.After(90 * time.Second):
		_ = d.cmd.Process.Kill()
		d.Errorf("the daemon did not end after SIGTERM:\n%s", d.log)
	}
}

// base pushes the base images of the examples.
func (d *daemon) base(flags ...string) {
	d.Helper()
	cmd := exec.Command(filepath.Join(built, "base"), append([]string{"-registry", d.registry}, flags...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		d.Fatalf("base images: %v\n%s", err, out)
	}
}

// A result is what a command said, and its exit code.
type result struct {
	stdout, stderr string
	code           int
}

func (r result) String() string { return r.stdout + r.stderr }

// acrd runs a command against the daemon, in a folder.
func (d *daemon) acrd(dir string, args ...string) result {
	d.Helper()
	return d.acrdContext(context.Background(), dir, args...)
}

func (d *daemon) acrdContext(ctx context.Context, dir string, args ...string) result {
	d.Helper()
	cmd := exec.CommandContext(ctx, filepath.Join(built, "acrd"), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	cmd.Dir, cmd.Env = dir, d.environment()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && ctx.Err() == nil {
		d.Fatalf("acrd %v: %v", args, err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func (d *daemon) environment() []string {
	return append(os.Environ(), "ACRD_STATE="+d.state, "HOME="+d.state, "DOCKER_CONFIG="+d.state)
}

// task runs a task file in a fresh folder.
func (d *daemon) task(yaml string, flags ...string) result {
	d.Helper()
	return d.acrd(d.folder(map[string]string{"acb.yaml": yaml}), append([]string{"run"}, append(flags, ".")...)...)
}

// folder makes one with files. In their content, REGISTRY is the daemon's.
func (d *daemon) folder(files map[string]string) string {
	d.Helper()
	dir := d.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			d.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "REGISTRY", d.registry)), 0o644); err != nil {
			d.Fatal(err)
		}
	}
	return dir
}

// succeed fails the test if a command has not.
func (d *daemon) succeed(r result) result {
	d.Helper()
	if r.code != 0 {
		d.Fatalf("exit code %d:\n%s", r.code, r)
	}
	return r
}

// enginePID finds the daemon's child.
func (d *daemon) enginePID() int {
	d.Helper()
	pid := d.findEngine()
	if pid == 0 {
		d.Fatal("no engine found")
	}
	return pid
}

// findEngine is 0 while there is none.
func (d *daemon) findEngine() int {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", d.cmd.Process.Pid))
	for _, task := range tasks {
		b, _ := os.ReadFile(task)
		for f := range strings.FieldsSeq(string(b)) {
			var pid int
			if _, err := fmt.Sscan(f, &pid); err == nil && isEngine(pid) {
				return pid
			}
		}
	}
	return 0
}

func isEngine(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.HasPrefix(string(b), "acrd\x00engine")
}

// get asks the daemon over TCP.
func (d *daemon) get(path string) (int, string) {
	d.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.registry+path, nil)
	if err != nil {
		d.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// output is a buffer that may be read while it is written.
type output struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
