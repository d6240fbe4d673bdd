//go:build linux

package container

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if err := AdoptOrphans(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// rootfs holds a static busybox under the names that the tests call.
func rootfs(t testing.TB) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("containers need root")
	}
	for _, tool := range []string{"runc", "/bin/busybox"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: make deps", tool)
		}
	}
	dir := t.TempDir()
	for _, d := range []string{"bin", "proc", "sys", "dev", "etc", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), b, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "true", "sleep", "cat", "id", "dd", "grep", "hostname", "mknod"} {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A bench runs containers on one rootfs.
type bench struct {
	testing.TB
	runtime *Runtime
	root    string
	count   int
}

func newBench(t testing.TB) *bench {
	root := rootfs(t)
	b := &bench{TB: t, runtime: &Runtime{Dir: t.TempDir()}, root: root}
	group := b.group()
	if err := b.runtime.Cgroups.Create(group, Limits{}); err != nil {
		t.Skip("no control groups: ", err)
	}
	t.Cleanup(func() {
		if err := b.runtime.Cgroups.Remove(group); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *bench) group() string { return fmt.Sprintf("/acrd-test-%d", os.Getpid()) }

func (b *bench) start(c Config) (*Process, func() string, error) {
	b.Helper()
	b.count++
	id := fmt.Sprintf("test-%d-%d", os.Getpid(), b.count)
	c.Rootfs, c.CgroupPath = b.root, b.group()+"/"+id
	if c.Cwd == "" {
		c.Cwd = "/"
	}
	c.Env = append(c.Env, "PATH=/bin")
	spec, err := Spec(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	out := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(r)
		r.Close()
		out <- string(all)
	}()
	p, err := b.runtime.Start(b.Context(), id, b.TempDir(), spec, w, w)
	w.Close()
	return p, func() string { return <-out }, err
}

func (b *bench) run(c Config) (Exit, string) {
	b.Helper()
	p, out, err := b.start(c)
	if err != nil {
		b.Fatal(err)
	}
	exit := p.Wait()
	if err := p.Remove(); err != nil {
		b.Error(err)
	}
	return exit, out()
}

func sh(script string) Config { return Config{Args: []string{"sh", "-c", script}} }

func TestExitCodes(t *testing.T) {
	b := newBench(t)
	for _, code := range []int{0, 1, 42, 125, 126, 127, 137, 255} {
		if exit, _ := b.run(sh(fmt.Sprintf("exit %d", code))); exit.Code != code || exit.OOM {
			t.Errorf("exit %d: got %+v", code, exit)
		}
	}
	if exit, _ := b.run(sh("kill -9 $$; sleep 1")); exit.Code != 0 {
		t.Errorf("the first process of a container is not killed from inside; got %+v", exit)
	}
}

func TestStartErrors(t *testing.T) {
	b := newBench(t)
	if err := os.WriteFile(filepath.Join(b.root, "tmp/data"), []byte("no program"), 0o644); err != nil {
		t.Fatal(err)
	}
	for cmd, want := range map[string]int{"nosuch": 127, "/nosuch": 127, "/tmp/data": 126, "/tmp": 126} {
		_, _, err := b.start(Config{Args: []string{cmd}})
		start, ok := errors.AsType[*StartError](err)
		if !ok || start.Code != want {
			t.Errorf("start %s: got %v, want a StartError with code %d", cmd, err, want)
		}
	}
}

func TestStop(t *testing.T) {
	b := newBench(t)
	for name, tt := range map[string]struct {
		script string
		grace  time.Duration
		code   int
	}{
		"hears":    {`trap "exit 3" TERM; sleep 100 & wait`, time.Minute, 3},
		"stubborn": {`trap "" TERM; (trap "" TERM; sleep 100) & sleep 100`, 50 * time.Millisecond, 137},
		"no grace": {`sleep 100`, 0, 137},
	} {
		t.Run(name, func(t *testing.T) {
			p, out, err := b.start(sh("echo up; " + tt.script))
			if err != nil {
				t.Fatal(err)
			}
			<-time.After(100 * time.Millisecond) // for the trap
			if exit := p.Stop(tt.grace); exit.Code != tt.code {
				t.Errorf("got %+v, want code %d", exit, tt.code)
			}
			if err := p.Remove(); err != nil {
				t.Error(err)
			}
			if got := out(); got != "up\n" {
				t.Errorf("output %q", got)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	b := newBench(t)
	c := sh("dd if=/dev/zero of=/dev/null bs=64M count=1")
	c.Limits.Memory = 16 << 20
	if exit, out := b.run(c); exit.Code != 137 || !exit.OOM {
		t.Errorf("64 MiB in 16: got %+v, %s; want killed for want of memory", exit, out)
	}
	c = sh("for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done; wait")
	c.Limits.PIDs = 4
	if exit, out := b.run(c); !exit.PIDs || !strings.Contains(out, "fork") {
		t.Errorf("9 processes of 4: got %+v, %s", exit, out)
	}
}

func TestConfinement(t *testing.T) {
	b := newBench(t)
	const capEff = "00000000a00405fb" // docker's default, a80425fb, less NET_RAW and MKNOD
	_, out := b.run(sh("grep -E 'CapEff|NoNewPrivs|^Seccomp:' /proc/self/status; hostname; mknod /tmp/d c 1 3"))
	for _, want := range []string{"CapEff:\t" + capEff, "NoNewPrivs:\t1", "Seccomp:\t2", "not permitted"} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in:\n%s", want, out)
		}
	}
}

func TestBury(t *testing.T) {
	b := newBench(t)
	// A grandchild whose parent ends first becomes ours, and nobody's.
	out, err := exec.CommandContext(t.Context(), "sh", "-c", "sleep 0.1 >/dev/null & echo $!").Output()
	if err != nil {
		t.Fatal(err)
	}
	stat := "/proc/" + strings.TrimSpace(string(out)) + "/stat"
	go Bury(t.Context(), 50*time.Millisecond, "")
	for deadline := time.Now().Add(5 * time.Second); ; <-time.After(20 * time.Millisecond) {
		if _, err := os.Stat(stat); errors.Is(err, os.ErrNotExist) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the orphan is still there")
		}
	}
	if exit, _ := b.run(sh("exit 7")); exit.Code != 7 {
		t.Errorf("a container's own exit is lost: %+v", exit)
	}
}

func BenchmarkTrue(b *testing.B) {
	w := newBench(b)
	for b.Loop() {
		w.run(Config{Args: []string{"true"}})
	}
}
