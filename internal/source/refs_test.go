package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acrd/steps"

	"github.com/google/go-cmp/cmp"
)

func listRefs(t *testing.T, f *Fetcher, address string, prefixes ...string) (*Refs, error) {
	t.Helper()
	c, err := steps.ParseGit(address)
	if err != nil {
		t.Fatal(err)
	}
	return f.Refs(t.Context(), c, prefixes)
}

// TestRefs asks servers of every age for the same refs.
func TestRefs(t *testing.T) {
	old := func(w http.ResponseWriter, r *http.Request, git http.Handler) {
		r.Header.Del("Git-Protocol")
		git.ServeHTTP(w, r)
	}
	noPost := func(w http.ResponseWriter, r *http.Request, git http.Handler) {
		if r.Method == http.MethodPost && !strings.HasPrefix(r.URL.Path, "/moved") {
			http.Redirect(w, r, strings.Replace(r.URL.String(), "/app", "/moved", 1), http.StatusMovedPermanently)
			return
		}
		if r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/app") {
			http.Redirect(w, r, strings.Replace(r.URL.String(), "/app", "/moved", 1), http.StatusMovedPermanently)
			return
		}
		git.ServeHTTP(w, r)
	}
	for _, tt := range []struct {
		name     string
		wrap     func(http.ResponseWriter, *http.Request, http.Handler)
		options  []string
		requests int // of the second question
	}{
		{"version 2", nil, nil, 1},
		{"version 0", old, nil, 1},
		{"sha256", nil, []string{"--object-format=sha256"}, 1},
		{"moved", noPost, nil, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newGitServer(t)
			s.wrap = tt.wrap
			r := s.repo(t, map[bool]string{true: "moved.git", false: "app.git"}[tt.name == "moved"], tt.options...)
			address := s.URL + "/app.git"
			f := &Fetcher{}
			if refs, err := listRefs(t, f, address, "HEAD", "refs/heads/"); err != nil || len(refs.Commits) > 0 {
				t.Fatalf("an empty repository has %v, %v", refs, err)
			}
			first := r.commit("main", map[string]string{"a": "1"})
			second := r.commit("main2", map[string]string{"a": "2"})
			r.git("tag", "-a", "-m", "one", "v1", first)
			s.asked()
			want := &Refs{Commits: map[string]string{"HEAD": first, "refs/heads/main": first, "refs/heads/main2": second, "refs/tags/v1": first}, Head: "refs/heads/main"}
			got, err := listRefs(t, f, address, "HEAD", "refs/heads/main", "refs/tags/v")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if asked := s.asked(); len(asked) != tt.requests {
				t.Errorf("%d requests; want %d: %v", len(asked), tt.requests, asked)
			}
			if got, err := listRefs(t, f, address, "refs/tags/nothing"); err != nil || len(got.Commits) > 0 {
				t.Errorf("of a prefix that nothing has: %v, %v", got, err)
			}
		})
	}
}

// TestRefsSSH asks over ssh, which the program git does.
func TestRefsSSH(t *testing.T) {
	dir := t.TempDir()
	r := newTestRepo(t, filepath.Join(dir, "app.git"))
	commit := r.commit("main", map[string]string{"a": "1"})
	r.commit("other", map[string]string{"a": "2"})
	r.git("tag", "-a", "-m", "one", "v1", commit)
	fakeSSH(t, fmt.Sprintf("for command; do :; done\ncd %s && exec sh -c \"$command\"\n", dir))
	f := &Fetcher{Dir: filepath.Join(dir, "mirrors")}
	got, err := listRefs(t, f, "git@git.example.com:app.git", "HEAD", "refs/heads/main", "refs/tags/v")
	if err != nil {
		t.Fatal(err)
	}
	want := &Refs{Commits: map[string]string{"HEAD": commit, "refs/heads/main": commit, "refs/tags/v1": commit}, Head: "refs/heads/main"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	c, _ := steps.ParseGit("git@git.example.com:app.git")
	if change, err := f.Change(t.Context(), c, "", commit); err != nil || change.Message != "msg" {
		t.Errorf("change %+v, %v", change, err)
	}
}

// TestRefsAreFew is why the program git is not asked: it has every ref sent to
// it.
func TestRefsAreFew(t *testing.T) {
	s := newGitServer(t)
	r := s.repo(t, "app.git")
	commit := r.commit("main", map[string]string{"a": "1"})
	var in strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&in, "create refs/pull/%d/head %s\n", i, commit)
	}
	runGit(t, in.String(), "--git-dir="+r.dir, "update-ref", "--stdin")
	f := &Fetcher{}
	if _, err := listRefs(t, f, r.url, "refs/heads/main"); err != nil {
		t.Fatal(err)
	}
	if asked := s.asked(); len(asked) != 1 || sent(asked) > 100 {
		t.Errorf("asked %v", asked)
	}
}

func TestRefsRefused(t *testing.T) {
	s := newGitServer(t)
	r := s.repo(t, "app.git")
	r.commit("main", map[string]string{"a": "1"})
	f := &Fetcher{}
	s.private("dummy", "c4n4ry")
	withToken := strings.Replace(r.url, "://", "://c4n4ry@", 1)
	if _, err := listRefs(t, f, withToken, "refs/heads/main"); err != nil {
		t.Error(err)
	}
	for _, tt := range []struct {
		status int
		header string
		after  time.Duration
	}{{401, "", 0}, {403, "", 0}, {404, "", 0}, {429, "120", 2 * time.Minute}, {503, "99999999999", 0}, {500, "-3", 0}} {
		s.wrap = func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Retry-After", tt.header)
			http.Error(w, "no", tt.status)
		}
		_, err := listRefs(t, f, withToken, "refs/heads/main")
		refused := (*StatusError)(nil)
		if !errors.As(err, &refused) || refused.Status != tt.status || refused.RetryAfter != tt.after {
			t.Errorf("%d %q: %v", tt.status, tt.header, err)
		} else if strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("the token is shown: %v", err)
		}
	}
}

// TestRefsHostile asks servers that want to keep us busy.
func TestRefsHostile(t *testing.T) {
	answer := func(text string) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			if r.Method == http.MethodGet {
				http.Error(w, "", http.StatusNotFound)
				return
			}
			w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
			fmt.Fprint(w, text)
		}
	}
	for name, wrap := range map[string]func(http.ResponseWriter, *http.Request, http.Handler){
		"nothing":   answer(""),
		"no length": answer("zzzz"),
		"cut short": answer("0040abc"),
		"no flush":  answer("0006a\n"),
		"long":      answer("fff5" + strings.Repeat("a", 65521)),
		"no hash":   answer("0012abc refs/a\n0000"),
		"error":     answer("000cERR no\n0000"),
		"html":      func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { fmt.Fprint(w, "<html>log in</html>") },
		"hangs": func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		},
		"a byte at a time": func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
			_, _ = io.Copy(io.Discard, r.Body)
			for range 1000 {
				fmt.Fprint(w, "1")
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newGitServer(t)
			s.wrap = wrap
			f := &Fetcher{Limits: Limits{Connect: 200 * time.Millisecond, FirstByte: 200 * time.Millisecond}}
			began := time.Now()
			if refs, err := listRefs(t, f, s.URL+"/app.git", "refs/heads/main"); err == nil {
				t.Errorf("got %v", refs)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestRefsDenied(t *testing.T) {
	s := newGitServer(t)
	f := &Fetcher{Deny: func(netip.AddrPort) error { return errors.New("not there") }}
	if _, err := listRefs(t, f, s.URL+"/app.git", "refs/heads/main"); !errors.Is(err, ErrDenied) {
		t.Errorf("got %v", err)
	}
}

func TestChange(t *testing.T) {
	s := newGitServer(t)
	r := s.repo(t, "app.git")
	first := r.commit("main", map[string]string{"a": "1", "b/c": "1"})
	second := r.commit("main", map[string]string{"b/c": "2", "b/d e": "2"})
	f := &Fetcher{Dir: t.TempDir()}
	c, _ := steps.ParseGit(r.url)
	got, err := f.Change(t.Context(), c, first, second)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Sort(got.Paths); !got.Known || !slices.Equal(got.Paths, []string{"b/c", "b/d e"}) || got.Message != "msg" {
		t.Errorf("got %+v", got)
	}
	if got, err = f.Change(t.Context(), c, "", first); err != nil || got.Known || got.Message != "msg" {
		t.Errorf("alone: %+v, %v", got, err)
	}
	// What was rewritten is not known, but no error.
	if got, err = f.Change(t.Context(), c, strings.Repeat("ab", 20), second); err != nil || got.Known || got.Message != "msg" {
		t.Errorf("rewritten: %+v, %v", got, err)
	}
	if _, err = f.Change(t.Context(), c, "", strings.Repeat("ab", 20)); err == nil {
		t.Error("a commit that is not there has a message")
	}
	if _, err = f.Change(t.Context(), c, "", "--output=/tmp/x"); err == nil {
		t.Error("an option is a commit")
	}
	s.asked()
	if _, err := f.Change(context.WithoutCancel(t.Context()), c, first, second); err != nil || len(s.asked()) > 0 {
		t.Errorf("it is fetched again: %v", err)
	}
}

func FuzzPktLines(f *testing.F) {
	f.Add("0006a\n0000")
	f.Fuzz(func(t *testing.T, text string) {
		lines, refs := &pktReader{r: strings.NewReader(text)}, &Refs{Commits: map[string]string{}}
		for {
			line, err := lines.next()
			if err != nil {
				return
			}
			_ = refs.add(line)
		}
	})
}
