package integration

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An sshServer is sshd on a port of its own, with keys of its own, which lets
// one key fetch.
type sshServer struct {
	address         string // USER@HOST:PORT
	key, knownHosts string // what a client needs
}

// newSSHServer starts one that ends with the test, or skips.
func newSSHServer(t *testing.T) *sshServer {
	t.Helper()
	sshd, err := exec.LookPath("/usr/sbin/sshd")
	if err != nil {
		t.Skip("sshd is not installed: make deps CI=true")
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	dir, port := shortDir(t), freePort(t)
	s := &sshServer{
		address: fmt.Sprintf("%s@127.0.0.1:%s", me.Username, port),
		key:     filepath.Join(dir, "id"), knownHosts: filepath.Join(dir, "known_hosts"),
	}
	public := s.makeKey(t, s.key)
	host := s.makeKey(t, filepath.Join(dir, "host"))
	for name, text := range map[string]string{
		s.knownHosts:                     fmt.Sprintf("[127.0.0.1]:%s %s\n", port, host),
		filepath.Join(dir, "authorized"): `restrict,command="git-shell -c \"$SSH_ORIGINAL_COMMAND\"" ` + public + "\n",
		filepath.Join(dir, "config"): strings.Join([]string{
			"Port " + port, "ListenAddress 127.0.0.1", "HostKey " + dir + "/host", "AuthorizedKeysFile " + dir + "/authorized",
			"PidFile none", "UsePAM no", "StrictModes no", "PermitRootLogin yes",
			"AuthenticationMethods publickey", "PasswordAuthentication no", "KbdInteractiveAuthentication no", "",
		}, "\n"),
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.run(t, sshd, dir+"/config", port)
	return s
}

// makeKey returns the public half.
func (s *sshServer) makeKey(t *testing.T, path string) string {
	t.Helper()
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	public, err := os.ReadFile(path + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(public))
}

// run starts the process, waits until it listens, and ends it by its id.
func (s *sshServer) run(t *testing.T, sshd, config, port string) {
	t.Helper()
	// It wants this folder, empty, also where the system's own never ran.
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	said := &output{}
	cmd := exec.Command(sshd, "-D", "-e", "-f", config)
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("sshd has said:\n%s", said)
		}
	})
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			conn.Close()
			return
		}
	}
	t.Fatalf("sshd does not listen:\n%s", said)
}

// TestCommitsSSH pushes to a repository behind a real sshd, which the daemon
// has a key for.
func TestCommitsSSH(t *testing.T) {
	need(t, "git", "ssh", "ssh-keygen", "git-shell")
	s := newSSHServer(t)
	f := newForge(t, "--ssh-key", s.key, "--ssh-known-hosts", s.knownHosts)
	f.url = "ssh://" + s.address + f.dir
	f.commits("main", "old", "a")
	f.watch("web-app")
	first := f.commits("main", "by poll", "b")
	f.want("by poll", "web-app", first)
	second := f.commits("main", "three in one push, by hook", "c", "d", "e")
	if got := f.hook("web-app", "one"); got != http.StatusAccepted {
		t.Errorf("hook: %d", got)
	}
	f.want("by hook", "web-app", first, second)
	if key, err := os.ReadFile(s.key); err != nil || strings.Contains(f.log.String(), strings.Split(string(key), "\n")[1]) {
		t.Errorf("the log has the key, or %v", err)
	}
}

// TestCommitsSSHUnknown has a server that says it is another: it gets nothing.
func TestCommitsSSHUnknown(t *testing.T) {
	need(t, "git", "ssh", "ssh-keygen", "git-shell")
	s := newSSHServer(t)
	if err := os.WriteFile(s.knownHosts, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := newForge(t, "--ssh-key", s.key, "--ssh-known-hosts", s.knownHosts)
	f.commits("main", "old", "a")
	r := f.acrd(t.TempDir(), "build", "-t", "app:1", "ssh://"+s.address+f.dir+"#main")
	if r.code == 0 || !strings.Contains(r.String(), "not among the known hosts") {
		t.Errorf("it is believed:\n%s", r)
	}
}
