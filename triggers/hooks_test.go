package triggers

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"acrd/runner"

	"github.com/google/go-cmp/cmp"
)

const hookSecret = "It's a Secret to Everybody"

// A hook is a recorded webhook, and what it is about.
type hook struct {
	provider, event, file string
	refs                  []string
	pull                  *Pull
}

func hooks() []hook {
	head := strings.Repeat("1", 40)
	hello := &Pull{ID: "2", Repository: "Codertocat/Hello-World", Branch: "master", Commit: "ec26c3e57ca3a959ca5aad62de7213c562f8c821", Ref: "refs/pull/2/head"}
	return []hook{
		{"github", "push", "github-push", []string{"refs/heads/master"}, nil},
		{"github", "push", "github-tag", []string{"refs/tags/simple-tag"}, nil},
		{"github", "push", "github-tag-deleted", []string{"refs/tags/simple-tag"}, nil},
		{"github", "ping", "github-ping", nil, nil},
		{"github", "pull_request", "github-pull-opened", nil, hello},
		{"github", "pull_request", "github-pull-synchronize", nil, hello},
		{"github", "pull_request", "github-pull-labeled", nil, nil},
		{"gitea", "push", "gitea-push", []string{"refs/heads/main"}, nil},
		{"forgejo", "push", "gitea-push", []string{"refs/heads/main"}, nil},
		{"gitea", "create", "gitea-create", nil, nil},
		{"gitea", "pull_request", "gitea-pull-closed", nil, nil},
		{"gitlab", "", "gitlab-push", []string{"refs/heads/main"}, nil},
		{"gitlab", "", "gitlab-tag", []string{"refs/tags/v1.0.0"}, nil},
		{"gitlab", "", "gitlab-merge", nil, &Pull{"7", "alice/app", "main", head, "refs/merge-requests/7/head", true}},
		{"gitlab", "", "gitlab-merge-title", nil, nil},
		{"bitbucket", "repo:push", "bitbucket-push", []string{"refs/heads/main", "refs/tags/v0"}, nil},
		{"bitbucket", "pullrequest:created", "bitbucket-pull", nil, &Pull{"3", "alice/app", "main", head[:12], "", true}},
		{"bitbucket-server", "repo:refs_changed", "bitbucket-server-push", []string{"refs/heads/main"}, nil},
		{"bitbucket-server", "pr:opened", "bitbucket-server-pull", nil, &Pull{"1", "PROJ/app", "main", head, "refs/pull-requests/1/from", false}},
		{"azure", "", "azure-push", []string{"refs/heads/main"}, nil},
		{"azure", "", "azure-pull", nil, &Pull{"1", "Fabrikam/app", "main", head, "refs/pull/1/merge", false}},
		{"generic", "", "generic-push", []string{"refs/heads/main"}, nil},
	}
}

func (h *hook) body(t testing.TB) []byte {
	b, err := os.ReadFile(filepath.Join("testdata", "hooks", h.file+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// header is what the provider sends along, signed with a secret.
func (h *hook) header(body []byte, secret, delivery string) http.Header {
	sum := hex.EncodeToString(mac([]byte(secret), body))
	head := http.Header{}
	switch h.provider {
	case "github":
		head.Set("X-GitHub-Event", h.event)
		head.Set("X-GitHub-Delivery", delivery)
		head.Set("X-Hub-Signature-256", "sha256="+sum)
	case "gitea":
		for _, who := range []string{"Gitea", "GitHub", "Gogs"} {
			head.Set("X-"+who+"-Event", h.event)
			head.Set("X-"+who+"-Delivery", delivery)
		}
		head.Set("X-Gitea-Signature", sum)
		head.Set("X-Hub-Signature-256", "sha256="+sum)
	case "forgejo":
		head.Set("X-Forgejo-Event", h.event)
		head.Set("X-Forgejo-Delivery", delivery)
		head.Set("X-Forgejo-Signature", sum)
	case "gitlab":
		head.Set("X-Gitlab-Token", secret)
		head.Set("Idempotency-Key", delivery)
	case "bitbucket", "bitbucket-server":
		head.Set("X-Event-Key", h.event)
		head.Set("X-Request-Id", delivery)
		head.Set("X-Request-UUID", delivery)
		head.Set("X-Hub-Signature", "sha256="+sum)
	case "azure":
		head.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("acrd:"+secret)))
	case "generic":
		signStandard(head, body, []byte(secret), delivery, time.Now())
	}
	return head
}

func signStandard(head http.Header, body, key []byte, id string, at time.Time) {
	stamp := strconv.FormatInt(at.Unix(), 10)
	head.Set("Webhook-Id", id)
	head.Set("Webhook-Timestamp", stamp)
	head.Set("Webhook-Signature", "v1,AAAA v1,"+base64.StdEncoding.EncodeToString(mac(key, []byte(id+"."+stamp+"."), body)))
}

func TestHooksParse(t *testing.T) {
	for _, h := range hooks() {
		t.Run(h.provider+" "+h.file, func(t *testing.T) {
			body := h.body(t)
			got, err := providers()[h.provider].parse(h.header(body, hookSecret, "one"), body)
			if err != nil {
				t.Fatal(err)
			}
			var want *Notice
			if h.refs != nil || h.pull != nil {
				want = &Notice{Delivery: "one", Refs: h.refs, Pull: h.pull}
			}
			if got != nil && h.provider == "azure" {
				got.Delivery = "one" // it is in the body
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestHooksGitHubVector is GitHub's own example of a signature.
func TestHooksGitHubVector(t *testing.T) {
	h := http.Header{}
	h.Set("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")
	if verify := providers()["github"].verify; !verify(h, []byte("Hello, World!"), hookSecret) || verify(h, []byte("Hello, World"), hookSecret) {
		t.Error("the signature is not understood")
	}
}

// A hookServer takes webhooks for one task, whose looks are counted.
type hookServer struct {
	*Hooks
	store *commitStore
}

func newHookServer(secret string) *hookServer {
	s := newCommitStore(commitTask("web-app", func(s *runner.SourceTrigger) {
		s.Repository = runner.SourceRepository{URL: "https://git.example.com/alice/app"}
		s.Events = append(s.Events, runner.PullRequestEvent)
		if secret != "" {
			s.WebhookSecret = runner.NewSecret(secret)
		}
	}))
	return &hookServer{&Hooks{Tasks: s, Deliveries: s, Commits: &Commits{Tasks: s, Watches: s, Intents: s, Git: newCommitGit()}}, s}
}

func (s *hookServer) send(provider string, head http.Header, body io.Reader) int {
	return s.sendTo(http.MethodPost, HooksPrefix+provider+"/web-app/src", head, body)
}

func (s *hookServer) sendTo(method, path string, head http.Header, body io.Reader) int {
	r := httptest.NewRequest(method, path, body)
	r.Header = head
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code
}

// looks is how many looks were asked for since the last call.
func (s *hookServer) looks() int {
	s.Commits.init()
	return len(s.Commits.takeAsked())
}

// TestHooksReceive sends each provider's webhooks in every way they can go
// wrong.
func TestHooksReceive(t *testing.T) {
	for _, h := range hooks() {
		t.Run(h.provider+" "+h.file, func(t *testing.T) {
			s := newHookServer("old-secret-0123456789 " + strings.ReplaceAll(hookSecret, " ", "_"))
			secret := strings.ReplaceAll(hookSecret, " ", "_")
			body := h.body(t)
			good := func() http.Header { return h.header(body, secret, "one") }
			refuse := func(what string, want int, head http.Header, body io.Reader) {
				t.Helper()
				if got := s.send(h.provider, head, body); got != want {
					t.Errorf("%s: %d; want %d", what, got, want)
				}
				if s.looks() > 0 || len(s.store.wanted()) > 0 {
					t.Errorf("%s: it has an effect", what)
				}
			}
			unsigned := good()
			for name := range unsigned {
				if strings.Contains(name, "Signature") || strings.Contains(name, "Token") || name == "Authorization" {
					unsigned.Del(name)
				}
			}
			refuse("unsigned", 401, unsigned, bytes.NewReader(body))
			refuse("wrong secret", 401, h.header(body, "wrong-secret-0123456789", "one"), bytes.NewReader(body))
			refuse("no secret", 401, h.header(body, "", "one"), bytes.NewReader(body))
			if h.provider != "azure" && h.provider != "gitlab" { // what is not signed can be truncated
				refuse("truncated", 401, good(), bytes.NewReader(body[:len(body)/2]))
			} else {
				refuse("truncated", 400, good(), bytes.NewReader(body[:len(body)/2]))
			}
			refuse("cut short", 400, good(), io.MultiReader(bytes.NewReader(body[:9]), brokenReader{}))
			for name, values := range good() {
				if !strings.Contains(name, "Signature") && !strings.Contains(name, "Token") && name != "Authorization" || strings.HasPrefix(name, "X-Hub") && h.provider == "gitea" {
					continue
				}
				twice := good()
				twice[name] = append(twice[name], values[0])
				refuse("twice "+name, 401, twice, bytes.NewReader(body))
			}
			for _, short := range []string{"", "sha256=", "sha256=zz", "s", "v1,"} {
				bad := good()
				for name := range bad {
					if strings.Contains(name, "Signature") {
						bad.Set(name, short)
					}
				}
				if h.provider != "azure" && h.provider != "gitlab" {
					refuse("signature "+short, 401, bad, bytes.NewReader(body))
				}
			}

			wantLooks, wantStatus := 0, 200
			if h.refs != nil {
				wantLooks = 1
			}
			if h.refs != nil || h.pull != nil {
				wantStatus = 202
			}
			if got := s.send(h.provider, good(), bytes.NewReader(body)); got != wantStatus || s.looks() != wantLooks {
				t.Errorf("good: %d; want %d and %d looks", got, wantStatus, wantLooks)
			}
			intents := len(s.store.wanted())
			if got := s.send(h.provider, good(), bytes.NewReader(body)); got != 200 || s.looks() != 0 || len(s.store.wanted()) != intents {
				t.Errorf("again: %d", got)
			}
			if got := s.send(h.provider, h.header(body, "old-secret-0123456789", "two"), bytes.NewReader(body)); got != 200 && got != 202 {
				t.Errorf("old secret: %d", got)
			}
		})
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestHooksLarge sends 50 MiB, with and without saying so.
func TestHooksLarge(t *testing.T) {
	s := newHookServer("0123456789abcdef")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	large := func() io.Reader { return io.LimitReader(zeros{}, 50<<20) }
	for _, length := range []int64{-1, 50 << 20} {
		r := httptest.NewRequest(http.MethodPost, HooksPrefix+"github/web-app/src", large())
		r.ContentLength = length
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("length %d: %d", length, w.Code)
		}
	}
	runtime.ReadMemStats(&after)
	if used := after.HeapInuse - min(before.HeapInuse, after.HeapInuse); used > 128<<20 {
		t.Errorf("%d MiB are in use", used>>20)
	}
}

// TestHooksCrowd: of those whom nobody knows yet, one at a time has more than a
// mebibyte of memory; who sends less does not wait for him.
func TestHooksCrowd(t *testing.T) {
	s := newHookServer("0123456789abcdef")
	sent, end := io.Pipe()
	done, reading := make(chan int), make(chan struct{})
	go func() {
		done <- s.send("github", http.Header{}, io.MultiReader(io.LimitReader(zeros{}, 2<<20), signal{reading}, sent))
	}()
	<-reading
	if got := s.send("github", http.Header{}, io.LimitReader(zeros{}, 2<<20)); got != http.StatusServiceUnavailable {
		t.Errorf("a second large body: %d", got)
	}
	h := hook{provider: "github", event: "push", file: "github-push"}
	body := h.body(t)
	if got := s.send("github", h.header(body, "0123456789abcdef", "one"), bytes.NewReader(body)); got != http.StatusAccepted {
		t.Errorf("a small one: %d", got)
	}
	end.Close()
	if got := <-done; got != http.StatusUnauthorized {
		t.Errorf("the first: %d", got)
	}
}

// A signal is closed by whoever reads so far.
type signal struct{ read chan struct{} }

func (s signal) Read([]byte) (int, error) {
	close(s.read)
	return 0, io.EOF
}

// TestHooksTellNothing: a hook of a task that there is not is read to its end
// as well, and answered with the same words.
func TestHooksTellNothing(t *testing.T) {
	s := newHookServer("0123456789abcdef")
	var texts []string
	for _, path := range []string{"github/web-app/src", "github/nobody/src", "github/web-app/other"} {
		body := strings.NewReader("{}")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodPost, HooksPrefix+path, body))
		texts = append(texts, w.Body.String())
		if w.Code != http.StatusUnauthorized || w.Body.String() != texts[0] || body.Len() > 0 {
			t.Errorf("%s: %d %s, %d bytes are not read", path, w.Code, w.Body, body.Len())
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestHooksPaths(t *testing.T) {
	s := newHookServer("0123456789abcdef")
	h := hook{provider: "github", event: "push", file: "github-push"}
	body := h.body(t)
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/hooks/github/web-app/src", 405},
		{"POST", "/hooks/github/web-app/other", 401},
		{"POST", "/hooks/github/nobody/src", 401},
		{"POST", "/hooks/github/web-app", 404},
		{"POST", "/hooks/github/", 404},
		{"POST", "/hooks/cvs/web-app/src", 404},
		{"POST", "/hooks/github/web-app/src", 202},
		{"POST", "/hooks/github/web-app/src/", 401},
	} {
		if got := s.sendTo(tt.method, tt.path, h.header(body, "0123456789abcdef", tt.path), bytes.NewReader(body)); got != tt.want {
			t.Errorf("%s %s: %d; want %d", tt.method, tt.path, got, tt.want)
		}
	}
	// A trigger without a secret takes nothing, signed with nothing or not.
	s = newHookServer("")
	for _, secret := range []string{"", " "} {
		if got := s.send("github", h.header(body, secret, "x"), bytes.NewReader(body)); got != 401 {
			t.Errorf("without a secret: %d", got)
		}
	}
}

// TestHooksStandard are the rules that GitLab's new signatures follow, too.
func TestHooksStandard(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	secret := "whsec_" + base64.StdEncoding.EncodeToString(key)
	body := []byte(`{"ref":"main"}`)
	for _, tt := range []struct {
		off  time.Duration
		key  []byte
		want bool
	}{{0, key, true}, {-4 * time.Minute, key, true}, {-6 * time.Minute, key, false}, {6 * time.Minute, key, false}, {0, []byte(secret), false}} {
		for _, provider := range []string{"generic", "gitlab"} {
			h := http.Header{}
			signStandard(h, body, tt.key, "id", time.Now().Add(tt.off))
			if got := providers()[provider].verify(h, body, secret); got != tt.want {
				t.Errorf("%s %v: %v", provider, tt, got)
			}
		}
	}
}

// TestHooksPull is what becomes of requests to merge.
func TestHooksPull(t *testing.T) {
	s := newHookServer("0123456789abcdef")
	own := `{"action":"opened","number":1,"pull_request":{"head":{"ref":"x","sha":"%s","repo":{"id":%d,"full_name":"b/app"}},"base":{"ref":"main","sha":"x","repo":{"id":1,"full_name":"Alice/app"}}}}`
	send := func(commit string, repo int) {
		t.Helper()
		h := hook{provider: "github", event: "pull_request"}
		body := fmt.Appendf(nil, own, commit, repo)
		if got := s.send("github", h.header(body, "0123456789abcdef", commit+fmt.Sprint(repo)), bytes.NewReader(body)); got > 202 {
			t.Fatal(got)
		}
	}
	send(commit(1), 1)
	send(commit(1), 1)
	got := s.store.wanted()
	if len(got) != 1 || got[0].Kind != PullRequest || got[0].Untrusted || got[0].Commit != commit(1) || got[0].Cause.Source.PullRequestID != "1" {
		t.Fatalf("got %+v", got)
	}
	// From a fork, it takes somebody who approves of this very commit.
	send(commit(2), 2)
	send(commit(3), 2)
	if n := len(s.store.wanted()); n != 1 {
		t.Fatalf("%d intents; the fork is not to run", n)
	}
	if err := s.Commits.Approve(t.Context(), "web-app", commit(4)); err == nil {
		t.Error("a commit is approved that nobody wants merged")
	}
	if err := s.Commits.Approve(t.Context(), "web-app", commit(2)); err != nil {
		t.Fatal(err)
	}
	got = s.store.wanted()
	if len(got) != 2 || !got[1].Untrusted || got[1].Commit != commit(2) {
		t.Fatalf("got %+v", got)
	}
	if err := s.Commits.Approve(t.Context(), "web-app", commit(2)); err == nil {
		t.Error("approved twice")
	}
}

// TestHooksPullOff is the default: no trigger without the event runs.
func TestHooksPullOff(t *testing.T) {
	s := newHookServer("0123456789abcdef")
	s.store.tasks[0].Trigger.Sources[0].Events = []string{runner.CommitEvent}
	p := &Pull{ID: "1", Repository: "alice/app", Branch: "main", Commit: commit(1)}
	if err := s.Commits.Pull(t.Context(), "web-app", "src", "github", p); err != nil || len(s.store.wanted()) > 0 {
		t.Errorf("it runs: %v", err)
	}
	s.store.tasks[0].Trigger.Sources[0].Events = []string{runner.PullRequestEvent}
	p.Repository = "mallory/app"
	if err := s.Commits.Pull(t.Context(), "web-app", "src", "github", p); err != nil || len(s.store.wanted()) > 0 {
		t.Errorf("another repository's runs: %v", err)
	}
}

func FuzzHooks(f *testing.F) {
	for _, h := range hooks() {
		f.Add(h.provider, h.event, h.body(f))
	}
	f.Fuzz(func(t *testing.T, provider, event string, body []byte) {
		p, ok := providers()[provider]
		if !ok {
			return
		}
		h := hook{provider: provider, event: event}
		head := h.header(body, hookSecret, "x")
		if !p.verify(head, body, hookSecret) {
			t.Errorf("its own signature is not understood")
		}
		n, err := p.parse(head, body)
		if err != nil && n != nil {
			t.Errorf("both %v and %v", n, err)
		}
		if n != nil && n.Pull != nil && !isHex(n.Pull.Commit) {
			t.Errorf("commit %q", n.Pull.Commit)
		}
	})
}
