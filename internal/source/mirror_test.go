package source

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"acrd/steps"
)

func TestMirrorSavesDownloads(t *testing.T) {
	s := newGitServer(t)
	r := s.repo(t, "app.git")
	commit := r.commit("main", map[string]string{"big": noise(1 << 20), "a": "1"})
	f := &Fetcher{}
	mustFetch(t, f, r.url)
	if n := sent(s.asked()); n < 1<<20 {
		t.Fatalf("the first fetch received %d bytes; the test is broken", n)
	}

	mustFetch(t, f, r.url+"#main")
	asked := s.asked()
	if n := sent(asked); n > 2<<10 {
		t.Errorf("a second fetch received %d bytes: %v", n, asked)
	}
	mustFetch(t, f, r.url+"#"+commit)
	if asked := s.asked(); len(asked) != 0 {
		t.Errorf("a fetch of a commit that is there asked for %v", asked)
	}

	next := r.commit("main", map[string]string{"a": "2"})
	got := mustFetch(t, f, r.url)
	got.wantFile(t, "a", "2")
	if got.Commit != next {
		t.Errorf("commit %s; want %s", got.Commit, next)
	}
	if n := sent(s.asked()); n > 8<<10 {
		t.Errorf("a fetch of a commit with one small file received %d bytes", n)
	}

	// A branch that was rewritten.
	r.git("update-ref", "refs/heads/main", commit)
	mustFetch(t, f, r.url).wantFile(t, "a", "1")
}

// TestMirrorOldServers fetches from servers that know less than today's.
func TestMirrorOldServers(t *testing.T) {
	smart := func(w http.ResponseWriter, r *http.Request, git http.Handler) {
		r.Header.Del("Git-Protocol")
		git.ServeHTTP(w, r)
	}
	dumb := func(w http.ResponseWriter, r *http.Request, git http.Handler) {
		r.URL.RawQuery = ""
		if strings.HasSuffix(r.URL.Path, "alternates") {
			t.Errorf("asked for %s", r.URL.Path)
		}
		git.ServeHTTP(w, r)
	}
	for name, wrap := range map[string]func(http.ResponseWriter, *http.Request, http.Handler){"version 0": smart, "dumb": dumb} {
		t.Run(name, func(t *testing.T) {
			s := newGitServer(t)
			s.wrap = wrap
			r := s.repo(t, "app.git")
			first := r.commit("main", map[string]string{"a": "1"})
			second := r.commit("main", map[string]string{"a": "2"})
			r.git("tag", "-a", "-m", "one", "v1", first)
			r.git("repack", "-adq")
			r.git("update-server-info")
			f := &Fetcher{}
			for _, step := range []struct{ ref, commit string }{
				{"", second}, {"#v1", first}, {"#" + first, first}, {"#main", second},
			} {
				if got := mustFetch(t, f, r.url+step.ref); got.Commit != step.commit {
					t.Errorf("commit %s at %q; want %s", got.Commit, step.ref, step.commit)
				}
			}
			fetchInto(t, f, r.url+"#"+strings.Repeat("ab", 20)).wantError(t, "is not in the repository")
		})
	}
}

func TestMirrorSHA256(t *testing.T) {
	s := newGitServer(t)
	r := s.repo(t, "app.git", "--object-format=sha256")
	commit := r.commit("main", map[string]string{"a": "1"})
	for _, ref := range []string{"", "#main", "#" + commit} {
		if got := mustFetch(t, &Fetcher{}, r.url+ref); got.Commit != commit {
			t.Errorf("commit %s; want %s", got.Commit, commit)
		}
	}
}

// TestMirrorSHA256Short begins with what does not say how hashes are made.
func TestMirrorSHA256Short(t *testing.T) {
	s := newGitServer(t)
	r := s.repo(t, "app.git", "--object-format=sha256")
	commit := r.commit("main", map[string]string{"a": "1"})
	f := &Fetcher{}
	for _, ref := range []string{"#" + commit[:10], "#main"} {
		if got := mustFetch(t, f, r.url+ref); got.Commit != commit {
			t.Errorf("commit %s; want %s", got.Commit, commit)
		}
	}
}

// TestHashOfTag names an annotated tag by its own hash.
func TestHashOfTag(t *testing.T) {
	s := newGitServer(t)
	r := s.repo(t, "app.git")
	commit := r.commit("main", map[string]string{"a": "1"})
	r.git("tag", "-a", "-m", "one", "v1", commit)
	f := &Fetcher{}
	for range 2 {
		got := mustFetch(t, f, r.url+"#"+r.git("rev-parse", "v1"))
		if got.wantFile(t, "a", "1"); got.Commit != commit {
			t.Errorf("commit %s; want %s", got.Commit, commit)
		}
		if head := runGit(t, "", "-C", got.Dir, "rev-parse", "HEAD"); head != commit {
			t.Errorf("HEAD is %s; want %s", head, commit)
		}
	}
	fetchInto(t, f, r.url+"#"+r.git("rev-parse", "main^{tree}")).wantError(t, "is no commit")
}

// TestMirrorOfAnother finds another repository behind the URL.
func TestMirrorOfAnother(t *testing.T) {
	s := newGitServer(t)
	r := s.repo(t, "app.git")
	r.commit("main", map[string]string{"a": "1"})
	f := &Fetcher{}
	mustFetch(t, f, r.url)
	if err := os.RemoveAll(r.dir); err != nil {
		t.Fatal(err)
	}
	r = s.repo(t, "app.git", "--object-format=sha256")
	commit := r.commit("main", map[string]string{"a": "2"})
	for _, ref := range []string{"", "#" + commit[:10]} {
		mustFetch(t, f, r.url+ref).wantFile(t, "a", "2")
	}
}

// TestMirrorBranchBecomesFolder renames a branch to one below its name.
func TestMirrorBranchBecomesFolder(t *testing.T) {
	s := newGitServer(t)
	r := s.repo(t, "app.git")
	f := &Fetcher{}
	first := r.commit("main", map[string]string{"a": "1"})
	mustFetch(t, f, r.url+"#"+first[:10])
	second := r.commit("main", map[string]string{"a": "2"})
	mustFetch(t, f, r.url+"#"+second) // shallow
	r.git("update-ref", "-d", "refs/heads/main")
	third := r.commit("main/next", map[string]string{"a": "3"})
	before := onlyMirror(t, f)
	kept := filepath.Join(before, "kept")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mustFetch(t, f, r.url+"#"+third[:10]).wantFile(t, "a", "3")
	if _, err := os.Lstat(kept); err != nil {
		t.Errorf("the mirror was made anew: %v", err)
	}
}

func TestMirrorConcurrently(t *testing.T) {
	s := newGitServer(t)
	r := s.repo(t, "app.git")
	r.commit("main", map[string]string{"a": "1"})
	f := &Fetcher{Dir: t.TempDir()}
	var wg sync.WaitGroup
	for i := range 8 {
		r.commit(fmt.Sprint("b", i), map[string]string{"a": fmt.Sprint(i)})
	}
	for i := range 8 {
		wg.Go(func() {
			c, _ := steps.ParseContext(fmt.Sprintf("%s#b%d", r.url, i))
			dir := filepath.Join(t.TempDir(), "x")
			if _, err := f.Fetch(t.Context(), c, dir, t.Output()); err != nil {
				t.Error(err)
			} else if text, err := os.ReadFile(filepath.Join(dir, "a")); string(text) != fmt.Sprint(i) {
				t.Errorf("a of b%d is %q, %v", i, text, err)
			}
		})
	}
	wg.Wait()
	if dirs, _ := os.ReadDir(filepath.Join(f.Dir, "git")); len(dirs) != 1 {
		t.Errorf("%d mirrors of one repository: %v", len(dirs), dirs)
	}
}

func TestMirrorTidies(t *testing.T) {
	s := newGitServer(t)
	r := s.repo(t, "app.git")
	f := &Fetcher{Dir: t.TempDir()}
	for i := range 45 {
		r.commit("main", map[string]string{"a": fmt.Sprint(i)})
		if i%2 == 0 || i > 40 {
			mustFetch(t, f, r.url).wantFile(t, "a", fmt.Sprint(i))
		}
	}
	m := onlyMirror(t, f)
	for range 20 {
		r.commit("main", map[string]string{"a": noise(10)})
		mustFetch(t, f, r.url)
	}
	packs, _ := filepath.Glob(filepath.Join(m, "objects/pack/*.pack"))
	if len(packs) > 41 {
		t.Errorf("%d packs are left", len(packs))
	}
}

func onlyMirror(t *testing.T, f *Fetcher) string {
	t.Helper()
	found, _ := filepath.Glob(filepath.Join(f.Dir, "git", "*"))
	if len(found) != 1 {
		t.Fatalf("mirrors: %v; want one", found)
	}
	return found[0]
}

// TestMirrorAfterCrash fetches over what a killed process may have left.
func TestMirrorAfterCrash(t *testing.T) {
	s := newGitServer(t)
	r := s.repo(t, "app.git")
	r.commit("main", map[string]string{"a": "1"})
	f := &Fetcher{}
	mustFetch(t, f, r.url)
	m := onlyMirror(t, f)
	for _, name := range []string{"shallow.lock", "packed-refs.lock", "objects/pack/tmp_pack_x"} {
		if err := os.WriteFile(filepath.Join(m, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(m+".busy", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.commit("main", map[string]string{"a": "2"})
	mustFetch(t, f, r.url).wantFile(t, "a", "2")
	if left, _ := filepath.Glob(filepath.Join(m, "objects/pack/tmp_*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// TestMirrorDamaged loses the pack of a mirror that says it has everything.
func TestMirrorDamaged(t *testing.T) {
	s := newGitServer(t)
	r := s.repo(t, "app.git")
	r.commit("main", map[string]string{"a": "1"})
	f := &Fetcher{}
	mustFetch(t, f, r.url)
	packs, _ := filepath.Glob(filepath.Join(onlyMirror(t, f), "objects/pack/*.pack"))
	for _, pack := range packs {
		if err := errors.Join(os.Remove(pack), os.WriteFile(pack, []byte("PACK"), 0o400)); err != nil {
			t.Fatal(err)
		}
	}
	fetchInto(t, f, r.url).wantError(t, "git ")
	mustFetch(t, f, r.url).wantFile(t, "a", "1")
}

// TestMirrorUnusable loses what git cannot do without, and fetches more.
func TestMirrorUnusable(t *testing.T) {
	s := newGitServer(t)
	r := s.repo(t, "app.git")
	f := &Fetcher{}
	for i, name := range []string{"objects", "HEAD"} {
		commit := r.commit("main", map[string]string{"a": fmt.Sprint(i)})
		mustFetch(t, f, r.url)
		if err := os.RemoveAll(filepath.Join(onlyMirror(t, f), name)); err != nil {
			t.Fatal(err)
		}
		mustFetch(t, f, r.url).wantFile(t, "a", fmt.Sprint(i))
		if err := os.RemoveAll(filepath.Join(onlyMirror(t, f), name)); err != nil {
			t.Fatal(err)
		}
		mustFetch(t, f, r.url+"#"+commit[:10]).wantFile(t, "a", fmt.Sprint(i))
	}
}

func TestMirrorCanceled(t *testing.T) {
	s := newGitServer(t)
	r := s.repo(t, "app.git")
	r.commit("main", map[string]string{"a": "1"})
	waiting := make(chan struct{})
	s.wrap = func(w http.ResponseWriter, r *http.Request, git http.Handler) {
		close(waiting)
		<-r.Context().Done()
	}
	f := &Fetcher{Dir: t.TempDir()}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("changed my mind")
	go func() { <-waiting; cancel(why) }()
	c, _ := steps.ParseContext(r.url)
	began := time.Now()
	_, err := f.Fetch(ctx, c, filepath.Join(t.TempDir(), "x"), t.Output())
	if !errors.Is(err, why) || time.Since(began) > 5*time.Second {
		t.Errorf("after %v: %v; want %v", time.Since(began), err, why)
	}
	if left, _ := filepath.Glob(filepath.Join(f.Dir, "git", "*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	s.wrap = nil
	mustFetch(t, f, r.url)
}

// private makes the server want this user and password.
func (s *gitServer) private(user, password string) {
	s.wrap = func(w http.ResponseWriter, r *http.Request, git http.Handler) {
		if u, p, _ := r.BasicAuth(); u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "reply body "+r.Header.Get("Authorization"), http.StatusUnauthorized)
			return
		}
		git.ServeHTTP(w, r)
	}
}

func TestGitCredential(t *testing.T) {
	const secret = "c4n4ry-p4ssw0rd"
	encoded := base64.StdEncoding.EncodeToString([]byte("alice:" + secret))
	s := newGitServer(t)
	r := s.repo(t, "app.git")
	r.commit("main", map[string]string{"a": "1"})
	address := func(userinfo string) string { return strings.Replace(r.url, "://", "://"+userinfo+"@", 1) }

	t.Run("none", func(t *testing.T) {
		s.private("alice", secret)
		fetchInto(t, &Fetcher{}, r.url, secret).wantError(t, "401 Unauthorized", "wants a credential")
	})
	t.Run("wrong", func(t *testing.T) {
		got := fetchInto(t, &Fetcher{}, address("alice:wr0ng-c4n4ry"), "wr0ng-c4n4ry", secret)
		got.wantError(t, "401 Unauthorized")
		if strings.Contains(got.out, "reply body") {
			t.Errorf("what the server said is passed on:\n%s", got.out)
		}
	})
	t.Run("url", func(t *testing.T) {
		mustFetch(t, &Fetcher{}, address("alice:"+secret), secret, encoded).wantFile(t, "a", "1")
	})
	t.Run("token", func(t *testing.T) {
		s.private("dummy", secret)
		mustFetch(t, &Fetcher{}, address(secret), secret).wantFile(t, "a", "1")
		s.private("alice", secret)
	})
	t.Run("given", func(t *testing.T) {
		f := &Fetcher{Credential: func(_ context.Context, scheme, host string) (string, string, bool) {
			return "alice", secret, scheme+"://"+host == s.URL
		}}
		mustFetch(t, f, r.url, secret, encoded).wantFile(t, "a", "1")
	})
	t.Run("mirrors are apart", func(t *testing.T) {
		f := &Fetcher{}
		got := mustFetch(t, f, address("alice:"+secret), secret)
		fetchInto(t, f, r.url+"#"+got.Commit, secret).wantError(t, "401")
		fetchInto(t, f, address("mallory:x")+"#"+got.Commit, secret).wantError(t, "401")
	})
}

// TestGitSeesNoCredential puts a program in the place of git that writes down
// all that a git can know: its arguments, its environment and its input.
func TestGitSeesNoCredential(t *testing.T) {
	const secret = "c4n4ry-p4ssw0rd"
	s := newGitServer(t)
	s.private("alice", secret)
	r := s.repo(t, "app.git")
	sub := s.repo(t, "sub.git")
	commit := sub.commit("main", map[string]string{"s": "1"})
	r.commit("main", map[string]string{
		".gitmodules": "[submodule \"s\"]\npath = s\nurl = ../sub.git\n", "s": commitOf + commit,
	})
	seen := filepath.Join(t.TempDir(), "seen")
	f := &Fetcher{}
	spyOnGit(t, seen)
	mustFetch(t, f, strings.Replace(r.url, "://", "://alice:"+secret+"@", 1)+"#main", secret)
	text, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	for _, hidden := range []string{secret, base64.StdEncoding.EncodeToString([]byte("alice:" + secret)), "SPY_CANARY"} {
		if strings.Contains(string(text), hidden) {
			t.Errorf("git sees %q", hidden)
		}
	}
	for _, word := range []string{"GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1", "GIT_ALLOW_PROTOCOL=http\n", "GIT_ALLOW_PROTOCOL=\n", "core.hooksPath=/dev/null", "protocol.file.allow=never", "--end-of-options"} {
		if !strings.Contains(string(text), word) {
			t.Errorf("git does not see %q", word)
		}
	}
	// The token of the gateway is nobody else's business either.
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "argv") && strings.Contains(line, tokenHeader) {
			t.Errorf("the token is an argument: %s", line)
		}
	}
}

// spyOnGit makes every git that a Fetcher starts write to the file seen.
func spyOnGit(t *testing.T, seen string) {
	t.Helper()
	real, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	spy := fmt.Sprintf("#!/bin/sh\n{ echo \"argv $*\"; env; } >>%s\nexec %s \"$@\"\n", shellQuote(seen), real)
	if err := os.WriteFile(filepath.Join(dir, "git"), []byte(spy), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SPY_CANARY", "SPY_CANARY")
	t.Setenv("GIT_DIR", "SPY_CANARY")
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestGitRedirect(t *testing.T) {
	const secret = "c4n4ry"
	s, other := newGitServer(t), newGitServer(t)
	r := s.repo(t, "new.git")
	r.commit("main", map[string]string{"a": "1"})
	other.repo(t, "new.git").commit("main", map[string]string{"a": "evil"})
	s.wrap = func(w http.ResponseWriter, r *http.Request, git http.Handler) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/old.git/"):
			http.Redirect(w, r, strings.Replace(r.URL.String(), "old", "new", 1), http.StatusMovedPermanently)
		case strings.HasPrefix(r.URL.Path, "/away.git/"):
			http.Redirect(w, r, other.URL+strings.Replace(r.URL.String(), "away", "new", 1), http.StatusMovedPermanently)
		case strings.HasPrefix(r.URL.Path, "/loop.git/"):
			http.Redirect(w, r, r.URL.String(), http.StatusFound)
		default:
			git.ServeHTTP(w, r)
		}
	}
	base := strings.Replace(s.URL, "://", "://alice:"+secret+"@", 1)
	mustFetch(t, &Fetcher{}, base+"/old.git", secret).wantFile(t, "a", "1")
	fetchInto(t, &Fetcher{}, base+"/away.git", secret).wantError(t, "redirected to "+other.URL)
	if asked := other.asked(); len(asked) > 0 {
		t.Errorf("the other host was asked: %v", asked)
	}
	fetchInto(t, &Fetcher{}, base+"/loop.git", secret).wantError(t, "redirected more than")
}

// TestGateway asks a gateway what git would not.
func TestGateway(t *testing.T) {
	s := newGitServer(t)
	s.repo(t, "app.git").commit("main", map[string]string{"a": "1"})
	f := &Fetcher{}
	u := mustParse(t, s.URL+"/app.git")
	g := f.newGateway(u, credential{"alice", "secret"}, &meter{limits: Limits{}.withDefaults()})
	if err := g.open(); err != nil {
		t.Fatal(err)
	}
	defer g.close()
	ask := func(token, method, path string) int {
		req, _ := http.NewRequestWithContext(t.Context(), method, g.origin+path, nil)
		req.Header.Set(tokenHeader, token)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	const refs = "/git/info/refs?service=git-upload-pack"
	if got := ask(g.token, "GET", refs); got != http.StatusOK {
		t.Errorf("refs: %d", got)
	}
	s.asked()
	for _, q := range [][3]string{
		{"", "GET", refs},
		{"x", "GET", refs},
		{g.token, "POST", "/git/git-receive-pack"},
		{g.token, "GET", "/git/config"},
		{g.token, "GET", "/"},
		{g.token, "GET", "/git/../other.git/info/refs"},
		{g.token, "DELETE", "/git/info/refs"},
		{g.token, "GET", "/git/objects/info/http-alternates"},
		{g.token, "GET", "/lfs/x"},
		{g.token, "POST", "/git/info/lfs/objects/batch"},
		{g.token, "CONNECT", "/"},
	} {
		if got := ask(q[0], q[1], q[2]); got < 300 {
			t.Errorf("%v: %d; want it refused", q, got)
		}
	}
	if asked := s.asked(); len(asked) > 0 {
		t.Errorf("the server was asked %v", slices.Collect(slices.Values(asked)))
	}
}

func TestPrune(t *testing.T) {
	s := newGitServer(t)
	f := &Fetcher{Dir: t.TempDir()}
	if err := f.Prune(t.Context(), 0); err != nil {
		t.Errorf("nothing to prune: %v", err)
	}
	for _, name := range []string{"old.git", "new.git"} {
		r := s.repo(t, name)
		r.commit("main", map[string]string{"a": name})
		mustFetch(t, f, r.url)
		if name == "old.git" {
			long := time.Now().Add(-48 * time.Hour)
			if err := os.Chtimes(onlyMirror(t, f), long, long); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.Prune(t.Context(), 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	s.asked()
	onlyMirror(t, f)
	mustFetch(t, f, s.URL+"/new.git")
	if n := sent(s.asked()); n > 1<<10 {
		t.Errorf("the mirror in use was removed: %d bytes received", n)
	}
}
