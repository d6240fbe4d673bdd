package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestCapabilityMissing starts the daemon, and a command with a daemon in it,
// as a process that may not make networks: each refuses, and says what it
// lacks.
func TestCapabilityMissing(t *testing.T) {
	need(t, "setpriv", "unshare")
	for _, tt := range []struct{ name, by, want string }{
		{"CAP_NET_ADMIN", "setpriv --bounding-set=-net_admin", "lacks CAP_NET_ADMIN"},
		{"CAP_SYS_ADMIN", "setpriv --bounding-set=-sys_admin", "lacks CAP_SYS_ADMIN"},
		// All capabilities, in a user namespace that does not own the network.
		{"user namespace", "unshare --map-root-user --mount", "CAP_NET_ADMIN does not hold"},
		{"not root", "setpriv --reuid=65534 --clear-groups", "run the daemon as root"},
	} {
		for _, args := range []string{"serve", "run --cmd true /dev/null", "doctor"} {
			t.Run(tt.name+", "+strings.Fields(args)[0], func(t *testing.T) {
				state := shortDir(t)
				if err := os.Chmod(state, 0o755); err != nil { // for another user to see that nobody serves
					t.Fatal(err)
				}
				words := strings.Fields(tt.by + " " + filepath.Join(built, "acrd") + " " + args)
				cmd := exec.Command(words[0], words[1:]...)
				cmd.Env = append(cmd.Environ(), "ACRD_STATE="+state, "ACRD_LISTEN=127.0.0.1:0")
				ended := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
				defer ended.Stop()
				out, _ := cmd.CombinedOutput()
				want := tt.want
				if tt.name == "not root" && strings.HasPrefix(args, "run") {
					want = "needs root"
				}
				if code := cmd.ProcessState.ExitCode(); code != 4 || !strings.Contains(string(out), want) || strings.Contains(string(out), "serves on") {
					t.Errorf("exit code %d, want 4 and %q:\n%s", code, want, out)
				}
			})
		}
	}
}

// TestLinkedState has a state folder that is a symbolic link: steps run, and
// what a killed daemon leaves is found.
func TestLinkedState(t *testing.T) {
	need(t)
	folder, link := shortDir(t), filepath.Join(shortDir(t), "s")
	if err := os.Symlink(folder, link); err != nil {
		t.Fatal(err)
	}
	d := &daemon{TB: t, state: link}
	d.start()
	t.Cleanup(d.stop)
	d.base()
	b := d.begin(d.folder(stubborn["cmd"].files), "run", ".")
	b.await("step is stuck\n")
	_ = d.cmd.Process.Kill()
	<-d.gone
	d.start()
	d.succeed(d.task("steps:\n  - cmd: REGISTRY/base/busybox:1 true\n"))
	d.stop()
	d.state = folder
	d.quiet(nil, 5*time.Second)
}

// TestBrokenCache has an engine that cannot start, for its cache is no cache:
// the daemon says so, and leaves no network behind.
func TestBrokenCache(t *testing.T) {
	need(t)
	d := start(t)
	d.stop()
	if err := os.WriteFile(filepath.Join(d.state, "engine", "buildkit", "containerd.db"), []byte("this is no database\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.launch()
	select {
	case <-d.gone:
	case <-time.After(time.Minute):
		t.Fatal("the daemon goes on without an engine")
	}
	if said := d.log.String(); !strings.Contains(said, "containerd.db") {
		t.Errorf("the daemon does not say what is broken:\n%s", said)
	}
	d.quiet(nil, 5*time.Second)
}

// TestDoctor looks at this very host, which is one that works, and leaves
// nothing behind.
func TestDoctor(t *testing.T) {
	need(t)
	d := start(t)
	before := d.idle()
	text := d.succeed(d.acrd(t.TempDir(), "doctor")).stdout
	for _, want := range []string{"root", "runc", "networks", "cgroups", "git", "overlayfs", "seccomp", "disk", "emulation"} {
		if !regexp.MustCompile(`(?m)^(ok|warn) +` + want + ` `).MatchString(text) {
			t.Errorf("%s is not ok:\n%s", want, text)
		}
	}
	var checks []struct {
		Name, Found, Fix string
		OK, Needed       bool
	}
	out := d.succeed(d.acrd(t.TempDir(), "doctor", "-o", "json")).stdout
	if err := json.Unmarshal([]byte(out), &checks); err != nil || len(checks) < 9 {
		t.Errorf("%v in\n%s", err, out)
	}
	for _, c := range checks {
		if c.Needed && !c.OK || !c.OK && c.Fix == "" {
			t.Errorf("%+v", c)
		}
	}
	d.quiet(before, time.Second)
}

// TestDoctorLacking: what a host lacks is named, with what to do about it, and
// the daemon does not start.
func TestDoctorLacking(t *testing.T) {
	need(t, "unshare", "mount")
	acrd := filepath.Join(built, "acrd")
	bare := t.TempDir() // a PATH with a runc that was built without seccomp
	script := "#!/bin/sh\necho runc version 1.1.0\n"
	if err := os.WriteFile(filepath.Join(bare, "runc"), []byte(script), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, script string
		lacks, fix   string
		serves       bool
	}{
		{"runc", "PATH=/nonexistent", "FAIL  runc             not found", "apt-get install runc", false},
		{"runc's seccomp", "PATH=" + bare, "FAIL  runc             runc version 1.1.0, built without seccomp", "apt-get install runc", false},
		{"git", "PATH=/nonexistent", "warn  git              not found", "apt-get install git", false},
		{"controllers", "mount -t tmpfs none /sys/fs/cgroup; echo 'cpuset memory' > /sys/fs/cgroup/cgroup.controllers", "FAIL  cgroups          version 2 without pids, cpu", "mount the cgroup file system", false},
		{"control groups", "mount -t tmpfs none /sys/fs/cgroup", "FAIL  cgroups          version 1 without memory, pids, cpu", "mount the cgroup file system", false},
		{"overlayfs", "mkdir -p l u w; mount -t tmpfs none w; mkdir w/u w/w; mount -t overlay -o lowerdir=l,upperdir=w/u,workdir=w/w none u; ACRD_STATE=$PWD/u/state", "FAIL  overlayfs        for ", "put the state folder on", false},
		{"space", "mkdir -p s; mount -t tmpfs -o size=64m none s; ACRD_STATE=$PWD/s/state", "warn  disk             0.1 GiB free", "free some space", true},
		{"a disk to write to", "mkdir -p s; mount -t tmpfs -o ro none s; ACRD_STATE=$PWD/s/state", "FAIL  disk             ", "read-only file system", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			run := func(command string) (string, int) {
				cmd := exec.Command("unshare", "--mount", "sh", "-c", tt.script+"; export PATH ACRD_STATE; exec "+acrd+" "+command)
				cmd.Dir, cmd.Env = dir, append(cmd.Environ(), "ACRD_STATE="+filepath.Join(shortDir(t), "s"), "ACRD_LISTEN=127.0.0.1:0")
				ended := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
				defer ended.Stop()
				out, _ := cmd.CombinedOutput()
				return string(out), cmd.ProcessState.ExitCode()
			}
			if out, code := run("doctor"); !strings.Contains(out, tt.lacks) || !strings.Contains(out, tt.fix) || (code == 0) != tt.serves {
				t.Errorf("exit code %d; want %q and %q:\n%s", code, tt.lacks, tt.fix, out)
			}
			if tt.serves {
				return
			}
			if out, code := run("serve"); code == 0 || strings.Contains(out, "serves on") {
				t.Errorf("the daemon starts: exit code %d\n%s", code, out)
			}
		})
	}
}

// TestVersion: the versions of the binary, as make build sets them, of its
// BuildKit, and of the daemon.
func TestVersion(t *testing.T) {
	need(t)
	d := start(t)
	want := `(?m)^acrd +v0\.test \(commit abcdef0\), BuildKit v0\.\d+\.\d+, go\S+ linux/\w+$\n^daemon +v0\.test \(commit abcdef0\), BuildKit v0\.\d+\.\d+, registry localhost:\d+$`
	if got := d.succeed(d.acrd(t.TempDir(), "version")).stdout; !regexp.MustCompile(want).MatchString(got) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	var both map[string]map[string]string
	out := d.succeed(d.acrd(t.TempDir(), "version", "-o", "json")).stdout
	if err := json.Unmarshal([]byte(out), &both); err != nil || both["client"]["version"] != "v0.test" || both["daemon"]["commit"] != "abcdef0" {
		t.Errorf("%v in\n%s", err, out)
	}
}
