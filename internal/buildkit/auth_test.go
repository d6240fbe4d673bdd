package buildkit

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"acrd/internal/realm"
	"acrd/steps"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	ocilayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/moby/buildkit/session/auth"
	"golang.org/x/crypto/nacl/sign"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const canary = "c4n4ry-of-the-robot"

// A thief writes down what it is sent, and answers with tokens.
type thief struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string
}

func newThief(t *testing.T) *thief {
	t.Helper()
	s := &thief{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		_ = r.ParseForm()
		s.mu.Lock()
		s.seen = append(s.seen, r.Method+" "+user+":"+password+r.Form.Get("password"))
		s.mu.Unlock()
		_ = json.NewEncoder(w).Encode(map[string]any{"token": "t0ken", "access_token": "t0ken", "expires_in": 300})
	}))
	t.Cleanup(s.Close)
	return s
}

// told tells what has been seen since it was last asked.
func (s *thief) told() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	s.seen = nil
	return seen
}

func hostOf(s *httptest.Server) string { return strings.TrimPrefix(s.URL, "http://") }

// TestTokens exchanges a credential at the registry, and at nobody else whom
// the registry names or redirects to: another port is another host.
func TestTokens(t *testing.T) {
	other := newThief(t)
	answer := http.StatusOK
	var own []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		own = append(own, r.Method+" "+password+" "+r.FormValue("password")+" "+r.FormValue("scope"))
		switch {
		case answer == http.StatusTemporaryRedirect:
			http.Redirect(w, r, other.URL, answer)
		case answer != http.StatusOK && r.Method == http.MethodGet:
			w.WriteHeader(answer)
		case r.Method == http.MethodPost:
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "by post", "expires_in": 300})
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{"token": "by get", "expires_in": 300})
		}
	}))
	defer s.Close()
	server := func(pairs realm.Pairs) *authServer {
		a, _ := newAuth([]steps.Credential{{Registry: hostOf(s), Username: "robot", Password: canary}}, &Registries{TokenServers: pairs}).(*authServer)
		return a
	}
	fetch := func(a *authServer, at string) (string, error) {
		r, err := a.FetchToken(t.Context(), &auth.FetchTokenRequest{Host: hostOf(s), Realm: at, Service: "s", Scopes: []string{"repository:a:pull"}, ClientID: "buildkit-client"})
		return r.GetToken(), err
	}
	if got, err := fetch(server(nil), s.URL+"/token"); err != nil || got != "by get" {
		t.Errorf("the registry's own realm: %q, %v", got, err)
	}
	answer = http.StatusNotFound
	if got, err := fetch(server(nil), s.URL+"/token"); err != nil || got != "by post" {
		t.Errorf("by POST: %q, %v", got, err)
	}
	want := []string{"GET " + canary + "  repository:a:pull", "GET " + canary + "  repository:a:pull", "POST  " + canary + " repository:a:pull"}
	if !slices.Equal(own, want) {
		t.Errorf("the registry saw %q, want %q", own, want)
	}
	answer = http.StatusTemporaryRedirect
	elsewhere := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	for _, at := range []string{other.URL, elsewhere, s.URL} {
		got, err := fetch(server(nil), at)
		if err == nil || !strings.Contains(err.Error(), "wants its credential sent to") || strings.Contains(err.Error(), canary) {
			t.Errorf("realm %s: %q, %v", at, got, err)
		}
	}
	if seen := other.told(); len(seen) > 0 {
		t.Errorf("the other host saw %q", seen)
	}
	if got, err := fetch(server(realm.Pairs{hostOf(s): {hostOf(other.Server)}}), other.URL); err != nil || got != "t0ken" {
		t.Errorf("a realm that the owner trusts: %q, %v", got, err)
	}
}

// TestTokensRefused: what a token server answers is not quoted, and not read
// without end.
func TestTokensRefused(t *testing.T) {
	answer := func(w http.ResponseWriter) { http.Error(w, "no, "+canary, http.StatusForbidden) }
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w) }))
	defer s.Close()
	a, _ := newAuth([]steps.Credential{{Registry: hostOf(s), Username: "robot", Password: canary}}, &Registries{}).(*authServer)
	fetch := func() error {
		_, err := a.FetchToken(t.Context(), &auth.FetchTokenRequest{Host: hostOf(s), Realm: s.URL + "/token?" + canary})
		return err
	}
	if err := fetch(); status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "403 Forbidden") || strings.Contains(err.Error(), canary) {
		t.Errorf("refused: %v", err)
	}
	answer = func(w http.ResponseWriter) {
		_, _ = io.WriteString(w, `{"token":"`)
		for part := strings.Repeat("x", 64<<10); ; {
			if _, err := io.WriteString(w, part); err != nil {
				return
			}
		}
	}
	if err := fetch(); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("an answer without end: %v", err)
	}
	if _, err := a.FetchToken(t.Context(), &auth.FetchTokenRequest{Host: "other.example", Realm: s.URL}); status.Code(err) != codes.Unavailable {
		t.Errorf("a host without credential: %v", err)
	}
}

// TestTokenAuthority: tokens are lent to who has the same credential.
func TestTokenAuthority(t *testing.T) {
	with := func(password string) *authServer {
		a, _ := newAuth([]steps.Credential{{Registry: "docker.io", Username: "robot", Password: password}}, &Registries{}).(*authServer)
		return a
	}
	const host = "registry-1.docker.io"
	salt, payload := []byte("salt"), []byte("payload")
	got, err := with("a").GetTokenAuthority(t.Context(), &auth.GetTokenAuthorityRequest{Host: host, Salt: salt})
	if err != nil {
		t.Fatal(err)
	}
	key := [32]byte(got.PublicKey)
	for password, want := range map[string]bool{"a": true, "b": false} {
		v, err := with(password).VerifyTokenAuthority(t.Context(), &auth.VerifyTokenAuthorityRequest{Host: host, Salt: salt, Payload: payload})
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := sign.Open(nil, v.Signed, &key); ok != want {
			t.Errorf("password %q proves it: %v, want %v", password, ok, want)
		}
	}
	for _, nobody := range []string{"other.example", "docker.io.other.example"} {
		if _, err := with("a").GetTokenAuthority(t.Context(), &auth.GetTokenAuthorityRequest{Host: nobody, Salt: salt}); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v", nobody, err)
		}
	}
}

// TestLayoutPush pushes for a remote BuildKit, to a registry with a realm.
func TestLayoutPush(t *testing.T) {
	other := newThief(t)
	at := ""
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			_ = json.NewEncoder(w).Encode(map[string]string{"token": "t0ken"})
		case r.Header.Get("Authorization") != "Bearer t0ken":
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+at+`",service="s"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			inner.ServeHTTP(w, r)
		}
	}))
	defer s.Close()
	image, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := ocilayout.Write(dir, mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: image})); err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	credentials := []steps.Credential{{Registry: hostOf(s), Username: "robot", Password: canary}}
	push := func() error {
		_, err := layout{dir: dir}.push(t.Context(), digest.String(), hostOf(s)+"/app:1", credentials, &Registries{})
		return err
	}
	u, _ := url.Parse(other.URL)
	at = "http://localhost:" + u.Port() + "/token"
	if err := push(); err == nil || !strings.Contains(err.Error(), "wants its credential sent to") {
		t.Errorf("a realm elsewhere: %v", err)
	}
	if seen := other.told(); len(seen) > 0 {
		t.Errorf("the other host saw %q", seen)
	}
	at = s.URL + "/token"
	if err := push(); err != nil {
		t.Errorf("the registry's own realm: %v", err)
	}
}
