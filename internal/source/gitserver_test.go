package source

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A gitServer is a real one, git http-backend, which remembers what it was
// asked.
type gitServer struct {
	*httptest.Server
	dir string

	// Wrap comes between a request and git, if it is not nil.
	wrap func(w http.ResponseWriter, r *http.Request, git http.Handler)

	mu       sync.Mutex // guards what follows
	requests []request
}

type request struct {
	method, path, authorization string
	sent                        int64 // bytes of the answer
}

func newGitServer(t *testing.T) *gitServer {
	t.Helper()
	return startGitServer(t, func(h http.Handler) *httptest.Server { return httptest.NewServer(h) })
}

func startGitServer(t *testing.T, start func(http.Handler) *httptest.Server) *gitServer {
	t.Helper()
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	s := &gitServer{dir: t.TempDir()}
	git := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env: []string{
			"GIT_PROJECT_ROOT=" + s.dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_CONFIG_GLOBAL=" + os.DevNull, "REMOTE_USER=test",
		},
		InheritEnv: []string{"PATH"},
		Stderr:     t.Output(),
		Logger:     log.New(io.Discard, "", 0),
	}
	s.Server = start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		counted := &countedWriter{ResponseWriter: w}
		if s.wrap != nil {
			s.wrap(counted, r, git)
		} else {
			git.ServeHTTP(counted, r)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests = append(s.requests, request{r.Method, r.URL.Path, r.Header.Get("Authorization"), counted.n})
	}))
	t.Cleanup(s.Close)
	return s
}

type countedWriter struct {
	http.ResponseWriter
	n int64
}

func (w *countedWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.n += int64(n)
	return n, err
}

func (w *countedWriter) Flush() { w.ResponseWriter.(http.Flusher).Flush() }

// asked returns the requests since the last call.
func (s *gitServer) asked() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.requests
	s.requests = nil
	return asked
}

func sent(requests []request) (total int64) {
	for _, r := range requests {
		total += r.sent
	}
	return total
}

// A testRepo is a bare repository of a gitServer, or of none.
type testRepo struct {
	t   *testing.T
	dir string
	url string
}

func (s *gitServer) repo(t *testing.T, name string, options ...string) *testRepo {
	t.Helper()
	r := &testRepo{t: t, dir: filepath.Join(s.dir, name), url: s.URL + "/" + name}
	runGit(t, "", append([]string{"init", "--quiet", "--bare", "--initial-branch=main", r.dir}, options...)...)
	return r
}

// Kinds of files beside plain ones, by the beginning of their content.
const (
	symlinkTo = "-> "
	commitOf  = "commit "
	script    = "#!"
)

// commit puts files on branch, on top of what is there, and returns its hash.
// The name of the branch is any that a repository can hold.
func (r *testRepo) commit(branch string, files map[string]string) string {
	r.t.Helper()
	return r.commitOn("refs/heads/"+branch, files)
}

func (r *testRepo) commitOn(ref string, files map[string]string) string {
	r.t.Helper()
	var in bytes.Buffer
	fmt.Fprintf(&in, "commit %s\ncommitter A U Thor <author@example.com> 1700000000 +0000\ndata 3\nmsg\n", ref)
	if exec.Command("git", "--git-dir="+r.dir, "rev-parse", "--quiet", "--verify", ref).Run() == nil {
		fmt.Fprintf(&in, "from %s^0\n", ref)
	}
	names := []string{}
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		mode, content := "100644", files[name]
		if commit, ok := strings.CutPrefix(content, commitOf); ok {
			fmt.Fprintf(&in, "M 160000 %s %q\n", commit, name)
			continue
		}
		if target, ok := strings.CutPrefix(content, symlinkTo); ok {
			mode, content = "120000", target
		} else if strings.HasPrefix(content, script) {
			mode = "100755"
		}
		fmt.Fprintf(&in, "M %s inline %q\ndata %d\n%s\n", mode, name, len(content), content)
	}
	runGit(r.t, in.String(), "--git-dir="+r.dir, "fast-import", "--quiet", "--force")
	return r.git("rev-parse", ref)
}

func (r *testRepo) git(args ...string) string {
	r.t.Helper()
	return runGit(r.t, "", append([]string{"--git-dir=" + r.dir}, args...)...)
}

// runGit is the git of the tests, not of the code under test.
func runGit(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull,
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.com")
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}
