package integration

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"acrd/internal/api"
)

const hookSecret = "0123456789abcdef0123"

// A forge is a git server with one repository, that a task waits for.
type forge struct {
	*daemon
	web   *httptest.Server
	repos string
	dir   string // of the repository
	url   string
	// hang and drip make the server not answer, or a byte a second.
	hang, drip atomic.Bool
}

func newForge(t *testing.T, flags ...string) *forge {
	t.Helper()
	f := &forge{daemon: start(t, append([]string{"--git-poll", "1s"}, flags...)...), repos: t.TempDir()}
	git := gitBackend(t, f.repos)
	f.web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case f.hang.Load():
			select {
			case <-r.Context().Done():
			case <-t.Context().Done():
			}
		case f.drip.Load():
			w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
			for r.Context().Err() == nil && t.Context().Err() == nil {
				fmt.Fprint(w, "1")
				w.(http.Flusher).Flush()
				time.Sleep(time.Second)
			}
		default:
			git.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(f.web.CloseClientConnections)
	t.Cleanup(f.web.Close)
	f.use("app")
	return f
}

// use makes a repository the one that is meant.
func (f *forge) use(name string) {
	f.Helper()
	f.dir, f.url = filepath.Join(f.repos, name+".git"), f.web.URL+"/git/"+name+".git"
	f.git("init", "--quiet", "--bare", "--initial-branch=main", f.dir)
}

func (f *forge) git(args ...string) string {
	f.Helper()
	return f.gitInput("", args...)
}

func (f *forge) gitInput(in string, args ...string) string {
	f.Helper()
	cmd := exec.Command("git", args...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull)
	cmd.Stdin = strings.NewReader(in)
	out, err := cmd.CombinedOutput()
	if err != nil {
		f.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commits puts commits on a branch, all in one push, and returns the last.
func (f *forge) commits(branch, message string, files ...string) string {
	f.Helper()
	ref := "refs/heads/" + branch
	tip := ""
	if b, err := exec.Command("git", "--git-dir="+f.dir, "rev-parse", "--quiet", "--verify", ref).Output(); err == nil {
		tip = strings.TrimSpace(string(b))
	}
	var in strings.Builder
	for i, file := range files {
		fmt.Fprintf(&in, "commit refs/new\ncommitter A <a@example.com> %d +0000\ndata %d\n%s\n", time.Now().UnixNano()%1e9+1e9, len(message), message)
		if i == 0 && tip != "" {
			fmt.Fprintf(&in, "from %s\n", tip)
		}
		text := fmt.Sprintf("FROM scratch\nCOPY Dockerfile /\n# %s %d %s\n", file, i, message)
		fmt.Fprintf(&in, "M 100644 inline Dockerfile\ndata %d\n%s\nM 100644 inline %s\ndata 1\nx\n", len(text), text, file)
	}
	f.gitInput(in.String(), "--git-dir="+f.dir, "fast-import", "--quiet", "--force")
	hash := f.git("--git-dir="+f.dir, "rev-parse", "refs/new")
	f.git("--git-dir="+f.dir, "update-ref", ref, hash)
	f.git("--git-dir="+f.dir, "update-ref", "-d", "refs/new")
	return hash
}

// task makes one that waits for the repository, and lets it look around.
func (f *forge) watch(name string, flags ...string) {
	f.Helper()
	f.succeed(f.acrd(f.TempDir(), append([]string{
		"task", "create", "-n", name, "-c", f.url + "#main", "-f", "Dockerfile", "-t", name + ":{{.Run.ID}}",
		"--base-image-trigger-enabled=false", "--webhook-secret", hookSecret,
	}, flags...)...))
	time.Sleep(3 * time.Second)
}

// hook sends what Gitea would of a push.
func (f *forge) hook(task, delivery string) int {
	f.Helper()
	return f.send(task, "push", delivery, `{"ref":"refs/heads/main"}`)
}

func (f *forge) send(task, event, delivery, body string) int {
	f.Helper()
	m := hmac.New(sha256.New, []byte(hookSecret))
	m.Write([]byte(body))
	req, err := http.NewRequest(http.MethodPost, "http://"+f.registry+"/hooks/gitea/"+task+"/defaultSourceTriggerName", strings.NewReader(body))
	if err != nil {
		f.Fatal(err)
	}
	req.Header.Set("X-Gitea-Event", event)
	req.Header.Set("X-Gitea-Delivery", delivery)
	req.Header.Set("X-Gitea-Signature", hex.EncodeToString(m.Sum(nil)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// built waits for as many runs of a task, and for what would be one too many,
// and returns the commits that they were for, the oldest first.
func (f *forge) built(task string, n int) []string {
	f.Helper()
	var runs []*api.Run
	list := func() {
		r := f.succeed(f.acrd(f.TempDir(), "task", "list-runs", "-n", task, "--top", "100", "-o", "json"))
		runs = nil
		if err := json.Unmarshal([]byte(r.stdout), &runs); err != nil {
			f.Fatal(err)
		}
	}
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		list()
		open := slices.ContainsFunc(runs, func(r *api.Run) bool { return r.Properties.FinishTime == nil })
		if len(runs) >= n && !open {
			break
		}
	}
	time.Sleep(2500 * time.Millisecond)
	list()
	slices.Reverse(runs)
	var all []string
	for _, r := range runs {
		p := r.Properties
		if p.Status != "Succeeded" {
			f.Errorf("run %s: %s %s", p.RunID, p.Status, p.RunErrorMessage)
		}
		if p.Source == nil || p.Source.EventType == "" {
			f.Errorf("run %s has the cause %+v", p.RunID, p.Source)
			continue
		}
		all = append(all, p.Source.CommitID)
	}
	return all
}

func (f *forge) want(what, task string, want ...string) {
	f.Helper()
	if got := f.built(task, len(want)); !slices.Equal(got, want) {
		f.Fatalf("%s: built %v; want %v", what, got, want)
	}
}

// TestCommits pushes to a real git server in every way there is.
func TestCommits(t *testing.T) {
	need(t, "git")
	f := newForge(t)
	f.commits("main", "old", "a")
	f.watch("web-app")
	first := f.commits("main", "by poll", "b")
	f.want("by poll", "web-app", first)
	if log := f.succeed(f.acrd(t.TempDir(), "task", "logs", "-n", "web-app")).stdout; !strings.Contains(log, "Reason: commit "+first[:12]+" on main of ") {
		t.Errorf("the log does not say why:\n%s", log)
	}

	second := f.commits("main", "by hook", "c")
	if got := f.hook("web-app", "one"); got != http.StatusAccepted {
		t.Fatalf("hook: %d", got)
	}
	f.want("by hook", "web-app", first, second)

	third := f.commits("main", "three in one push", "d", "e", "f")
	for i := range 5 {
		f.hook("web-app", fmt.Sprint("both ", i))
	}
	f.want("by both, three commits (acr#152, acr#398)", "web-app", first, second, third)
	if got := f.hook("web-app", "one"); got != http.StatusOK {
		t.Errorf("the same delivery again: %d", got)
	}

	f.commits("main", "nothing [skip ci]", "g")
	f.want("[skip ci]", "web-app", first, second, third)
	f.git("--git-dir="+f.dir, "update-ref", "refs/heads/main", first)
	f.hook("web-app", "force")
	f.want("force push", "web-app", first, second, third, first)
	f.git("--git-dir="+f.dir, "update-ref", "-d", "refs/heads/main")
	f.hook("web-app", "delete")
	f.want("branch deleted", "web-app", first, second, third, first)
}

// TestCommitsElsewhere is tags, patterns, paths, an empty repository and a
// default branch that is renamed.
func TestCommitsElsewhere(t *testing.T) {
	need(t, "git")
	f := newForge(t)
	f.watch("empty-repo")
	f.watch("by-pattern", "--branch-pattern", "release/*", "--tag-pattern", "v*")
	f.watch("by-path", "--path-pattern", "web/")
	first := f.commits("main", "first", "a")
	f.want("the first push to an empty repository", "empty-repo", first)
	f.want("a new branch touches everything", "by-path", first)
	second := f.commits("main", "second", "web/a")
	f.want("a path", "by-path", first, second)
	third := f.commits("main", "third", "api/a")
	f.want("all paths", "empty-repo", first, second, third)
	release := f.commits("release/1", "release", "a")
	f.want("a branch", "by-pattern", release)
	f.git("--git-dir="+f.dir, "-c", "user.name=x", "-c", "user.email=x@x", "tag", "-a", "-m", "x", "v1", first)
	f.git("--git-dir="+f.dir, "tag", "w1", first)
	f.want("an annotated tag", "by-pattern", release, first)
	f.git("--git-dir="+f.dir, "branch", "-m", "main", "trunk")
	f.git("--git-dir="+f.dir, "symbolic-ref", "HEAD", "refs/heads/trunk")
	f.commits("trunk", "nobody waits for it", "a")
	f.want("renamed", "by-path", first, second)
}

// TestCommitsHostile has a server that hangs and one that drips: nobody else
// waits for them, and neither does the end of the daemon.
func TestCommitsHostile(t *testing.T) {
	need(t, "git")
	f := newForge(t)
	f.commits("main", "old", "a")
	f.watch("web-app")
	for name, bad := range map[string]*atomic.Bool{"hangs": &f.hang, "drips": &f.drip} {
		bad.Store(true)
		time.Sleep(3 * time.Second)
		if code, _ := f.get("/healthz"); code != http.StatusOK {
			t.Errorf("the daemon answers %d", code)
		}
		if got := f.hook("web-app", name); got != http.StatusAccepted {
			t.Errorf("hook while the server %s: %d", name, got)
		}
		bad.Store(false)
	}
	f.hang.Store(true)
	began := time.Now()
	f.stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the daemon took %v to end", took)
	}
}

// TestCommitsFork has a stranger who wants something merged.
func TestCommitsFork(t *testing.T) {
	need(t, "git")
	f := newForge(t)
	f.commits("main", "old", "a")
	f.watch("web-app", "--pull-request-trigger-enabled", "--git-access-token", "c4n4ry")
	head := f.commits("theirs", "please", "b")
	f.git("--git-dir="+f.dir, "update-ref", "refs/pull/1/head", head)
	f.git("--git-dir="+f.dir, "update-ref", "-d", "refs/heads/theirs")
	body := fmt.Sprintf(`{"action":"opened","number":1,"pull_request":{"head":{"sha":"%s","repo":{"id":2}},"base":{"ref":"main","repo":{"id":1,"full_name":"git/app"}}}}`, head)
	if got := f.send("web-app", "pull_request", "one", body); got != http.StatusAccepted {
		t.Fatalf("hook: %d", got)
	}
	f.want("before it is approved", "web-app")
	if r := f.acrd(t.TempDir(), "task", "approve", "-n", "web-app", "--commit", strings.Repeat("ab", 20)); r.code == 0 {
		t.Errorf("another commit is approved:\n%s", r)
	}
	f.succeed(f.acrd(t.TempDir(), "task", "approve", "-n", "web-app", "--commit", head))
	f.want("approved", "web-app", head)
	if code, text := f.get("/v2/web-app/tags/list"); code != http.StatusNotFound {
		t.Errorf("it has pushed: %d %s", code, text)
	}
	if got := f.send("web-app", "pull_request", "two", body); got != http.StatusAccepted {
		t.Errorf("hook again: %d", got)
	}
	f.want("the same again", "web-app", head)
}
