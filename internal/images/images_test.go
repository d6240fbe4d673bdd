package images

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"acrd/eventing/inbound"
	"acrd/internal/realm"
	"acrd/internal/registry"
	"acrd/triggers"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func own(t *testing.T, pushed func(name, tag, digest string)) *Client {
	t.Helper()
	r, err := registry.Open(t.Context(), registry.Options{Dir: t.TempDir(), Pushed: pushed})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return &Client{Own: "localhost:5000", Handler: r}
}

// TestIndex: attestations are no platforms, and a push by tag is told.
func TestIndex(t *testing.T) {
	var told []string
	c := own(t, func(name, tag, digest string) { told = append(told, name+":"+tag+"@"+digest) })
	image, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	digest, _ := image.Digest()
	about, _ := random.Image(50, 1)
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}}},
		mutate.IndexAddendum{Add: about, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}, Annotations: map[string]string{attestation: "attestation-manifest"},
		}},
	)
	ref, _ := name.NewTag("localhost:5000/base/os:1", name.Insecure)
	if err := remote.WriteIndex(ref, index, remote.WithTransport(inside{c.Handler})); err != nil {
		t.Fatal(err)
	}
	whole, _ := index.Digest()
	got, err := c.Image(t.Context(), "localhost:5000/base/os:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &triggers.Image{Digest: whole.String(), Platforms: map[string]string{"linux/arm64/v8": digest.String()}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.For("linux/arm64") != digest.String() || got.For("linux/amd64") != "" {
		t.Errorf("platforms: %v", got)
	}
	head, err := c.Head(t.Context(), "localhost:5000/base/os:1", nil)
	if err != nil || head != whole.String() {
		t.Errorf("HEAD is %q, %v", head, err)
	}
	if diff := cmp.Diff([]string{"base/os:1@" + whole.String()}, told); diff != "" {
		t.Error(diff)
	}
}

// TestRefusal: what a registry says is told, with how long it wants to be left
// alone.
func TestRefusal(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		w.Header().Set("Retry-After", "90")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "http://")
	_, err := (&Client{PlainHTTP: []string{host}}).Head(t.Context(), host+"/a:1", nil)
	refused, ok := err.(*triggers.StatusError) //nolint:errorlint // as it is
	if !ok || refused.Status != http.StatusTooManyRequests || refused.After != 90*time.Second {
		t.Errorf("got %v", err)
	}
}

// TestCredentialStaysHere has a registry that names a token server on another
// port, and one that redirects there: neither sees the credential, or a token.
func TestCredentialStaysHere(t *testing.T) {
	var seen []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		_, _ = io.WriteString(w, `{"token":"t0ken"}`)
	}))
	defer other.Close()
	elsewhere := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	at, moved := "", false
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case moved:
			http.Redirect(w, r, elsewhere+r.URL.Path, http.StatusTemporaryRedirect)
		case r.URL.Path == "/token":
			_, _ = io.WriteString(w, `{"token":"t0ken"}`)
		case r.Header.Get("Authorization") != "Bearer t0ken":
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+at+`/token",service="s"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64))
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			w.Header().Set("Content-Length", "2")
		}
	}))
	defer s.Close()
	ref := strings.TrimPrefix(s.URL, "http://") + "/app:1"
	c, as := &Client{}, &triggers.Login{User: "robot", Password: "c4n4ry"}
	at = s.URL
	if _, err := c.Head(t.Context(), ref, as); err != nil {
		t.Errorf("the registry's own realm: %v", err)
	}
	at = elsewhere
	if _, err := c.Head(t.Context(), ref, as); err == nil || !strings.Contains(err.Error(), "wants its credential sent to "+elsewhere) {
		t.Errorf("a realm elsewhere: %v", err)
	}
	if _, err := c.Tags(t.Context(), strings.TrimSuffix(ref, ":1"), as); err == nil {
		t.Error("tags are listed with a token from elsewhere")
	}
	moved = true
	_, _ = c.Head(t.Context(), ref, as)
	for _, s := range seen {
		if s != "" {
			t.Errorf("the other host saw %q", s)
		}
	}
	seen, moved = nil, false
	c.TokenServers = realm.Pairs{strings.TrimPrefix(s.URL, "http://"): {strings.TrimPrefix(elsewhere, "http://")}}
	if _, err := c.Head(t.Context(), ref, as); err != nil || len(seen) == 0 || !strings.HasPrefix(seen[0], "Basic ") {
		t.Errorf("a realm that the owner trusts: %v, it saw %q", err, seen)
	}
}

// TestHostileAnswers: nothing of what a registry answers is quoted, and it is
// not read without end.
func TestHostileAnswers(t *testing.T) {
	const canary = "c4n4ry of the neighbour"
	answer := func(w http.ResponseWriter, _ *http.Request) { http.Error(w, canary, http.StatusTeapot) }
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			answer(w, r)
		}
	}))
	defer s.Close()
	c, as := &Client{}, &inbound.Login{User: "robot", Password: "x"}
	repository := strings.TrimPrefix(s.URL, "http://") + "/app"
	questions := map[string]func() error{
		"head": func() error { _, err := c.Head(t.Context(), repository+":1", nil); return err },
		"tags": func() error { _, err := c.Tags(t.Context(), repository, nil); return err },
		"look": func() error { _, err := c.Describe(t.Context(), repository+":1", as, true); return err },
	}
	said := func(kind string) {
		t.Helper()
		for name, ask := range questions {
			if err := ask(); err == nil || strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s, %s: %v", kind, name, err)
			}
		}
	}
	said("a status")
	answer = func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"errors":[{"code":"`+canary+`","message":"`+canary+`"}]}`)
	}
	said("words of its own")
	answer = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+s.URL+`/token"`)
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "\n"+canary)
	}
	said("a challenge")

	pages := 0
	answer = func(w http.ResponseWriter, _ *http.Request) {
		pages++
		w.Header().Set("Link", fmt.Sprintf(`</v2/app/tags/list?last=%d>; rel="next"`, pages))
		_, _ = io.WriteString(w, `{"tags":["a"]}`)
	}
	if err := questions["tags"](); err == nil || !strings.Contains(err.Error(), "without end") || pages > mostAnswers {
		t.Errorf("after %d pages: %v", pages, err)
	}
	answer = func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"tags":["`)
		for part := strings.Repeat("x", 1<<20); ; {
			if _, err := io.WriteString(w, part); err != nil {
				return
			}
		}
	}
	if err := questions["tags"](); err == nil || !strings.Contains(err.Error(), "without end") {
		t.Errorf("a page without end: %v", err)
	}
}

// TestNoRegistry: what looks like a host and is none would be a repository of
// Docker Hub, which then saw the credential.
func TestNoRegistry(t *testing.T) {
	c := &Client{Transport: refusing{t}}
	_, err := c.Head(t.Context(), "harbor/app:1", &triggers.Login{User: "robot", Password: "c4n4ry"})
	if err == nil || !strings.Contains(err.Error(), "harbor is no host") {
		t.Error(err)
	}
}

type refusing struct{ t *testing.T }

func (r refusing) RoundTrip(req *http.Request) (*http.Response, error) {
	r.t.Errorf("%s was asked", req.URL)
	return nil, io.EOF
}
