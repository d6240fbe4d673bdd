package source

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestGitDaemon(t *testing.T) {
	dir := t.TempDir()
	r := newTestRepo(t, filepath.Join(dir, "app.git"))
	r.commit("main", map[string]string{"a": "1"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// git daemon cannot say which port it chose, so it gets each connection.
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			file, _ := conn.(*net.TCPConn).File()
			cmd := exec.Command("git", "daemon", "--inetd", "--export-all", "--base-path="+dir)
			cmd.Stdin, cmd.Stdout = file, file
			cmd.Run()
			file.Close()
			conn.Close()
		}
	}()
	address := "git://" + l.Addr().String() + "/app.git"
	got := mustFetch(t, &Fetcher{}, address)
	got.wantFile(t, "a", "1")
	if url := runGit(t, "", "-C", got.Dir, "remote", "get-url", "origin"); url != address {
		t.Errorf("origin is %s; want %s", url, address)
	}
	fetchInto(t, &Fetcher{}, "git://169.254.169.254/app.git").wantError(t, "metadata")
}

// TestSSH has a program in the place of ssh that checks its configuration, goes
// where it is sent and serves the repository from there.
func TestSSH(t *testing.T) {
	dir := t.TempDir()
	r := newTestRepo(t, filepath.Join(dir, "app.git"))
	r.commit("main", map[string]string{"a": "1"})
	seen := filepath.Join(dir, "seen")
	fakeSSH(t, fmt.Sprintf(`{ echo "argv $*"; env; cat "$2"; } >>%s
for command; do :; done
cd %s && exec sh -c "$command"
`, seen, dir))
	t.Setenv("SSH_AUTH_SOCK", "/agent")
	f := &Fetcher{Dir: filepath.Join(dir, "mirrors of 'git'"), Identity: "/keys/id 1%", KnownHosts: "/keys/known"}
	for _, address := range []string{"git@git.example.com:app.git", "ssh://git@git.example.com:2222" + dir + "/app.git#main"} {
		mustFetch(t, f, address).wantFile(t, "a", "1")
	}
	text, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"HostName 127.0.0.1", "HostKeyAlias git.example.com", "HostKeyAlias [git.example.com]:2222",
		"BatchMode yes", "StrictHostKeyChecking yes", "IdentityAgent none", "IdentitiesOnly yes",
		`IdentityFile "/keys/id 1%%"`, `UserKnownHostsFile "/keys/known"`, "GIT_ALLOW_PROTOCOL=ssh",
	} {
		if !strings.Contains(string(text), line+"\n") {
			t.Errorf("ssh does not see %q", line)
		}
	}
	if strings.Contains(string(text), "/agent") {
		t.Error("ssh sees the agent of the daemon's user")
	}
	if left, _ := filepath.Glob(filepath.Join(f.Dir, "ssh-*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// fakeSSH puts a shell script in the place of ssh.
func fakeSSH(t *testing.T, body string) {
	t.Helper()
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// The PATH that git gets begins with the folder that git is in.
	if err := os.Symlink(git, filepath.Join(dir, "git")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte("#!/bin/sh\n"+body), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// TestSSHRefused holds what ssh says of a server to words for people.
func TestSSHRefused(t *testing.T) {
	for said, want := range map[string]string{
		"Host key verification failed.":                        "not among the known hosts",
		"git@127.0.0.1: Permission denied (publickey).":        "does not accept our key",
		"remote: s3cr3t\nfatal: x\033[31m: no such repository": "fatal: x?[31m: no such repository",
	} {
		fakeSSH(t, "printf '"+said+"\r\n' >&2\nexit 255\n")
		fetchInto(t, &Fetcher{}, "git@git.example.com:x", "s3cr3t").wantError(t, want)
	}
}

// TestSSHConfig asks the real ssh what it makes of the configuration.
func TestSSHConfig(t *testing.T) {
	program, err := exec.LookPath("ssh")
	if err != nil {
		t.Skip("ssh is not installed")
	}
	f := &Fetcher{Dir: t.TempDir(), Identity: "/keys/id 1%"}
	config, err := f.writeSSHConfig("git.example.com", "2222", 4242)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, "-G", "-F", config, "git@git.example.com").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, line := range []string{
		"hostname 127.0.0.1", "port 4242", "hostkeyalias [git.example.com]:2222", "batchmode yes",
		"stricthostkeychecking true", "identityagent none", "identitiesonly yes", "identityfile /keys/id 1%%", "user git",
	} {
		if !strings.Contains(string(out), line+"\n") {
			t.Errorf("ssh does not read %q in:\n%s", line, out)
		}
	}
}

// TestRelay holds a connection through a relay to what passes it unchanged.
func TestRelay(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		line, _ := bufio.NewReader(conn).ReadString('\n')
		io.WriteString(conn, "you said "+line)
	}()
	f := &Fetcher{Dir: t.TempDir()}
	to, err := f.reachRelayed(t.Context(), "git://"+l.Addr().String()+"/x", &meter{limits: Limits{}.withDefaults()})
	if err != nil {
		t.Fatal(err)
	}
	defer to.close()
	conn, err := net.DialTimeout("tcp", mustParse(t, to.url).Host, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "hello\n")
	if got, err := io.ReadAll(conn); string(got) != "you said hello\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}
