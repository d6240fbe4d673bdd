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
