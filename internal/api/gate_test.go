package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const base = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/r"

func add(t *testing.T, m *memoryTokens, name string, expires time.Time, scopes ...Scope) string {
	t.Helper()
	value := tokenPrefix + name
	if err := m.AddToken(t.Context(), &Token{Name: name, Scopes: scopes, Expires: expires, Hash: HashToken(value)}); err != nil {
		t.Fatal(err)
	}
	return value
}

// TestScopes says for each request which token is enough.
func TestScopes(t *testing.T) {
	m := &memoryTokens{}
	g := &Gate{Owner: "owners", Tokens: m}
	tokens := map[Scope]string{}
	for _, s := range Scopes {
		tokens[s] = add(t, m, string(s), time.Time{}, s)
	}
	mux := http.NewServeMux()
	mux.Handle("/v2/", g.Registry(http.HandlerFunc(yes)))
	mux.Handle("/acr/v1/", g.Registry(http.HandlerFunc(yes)))
	mux.Handle("/metrics", g.Metrics(http.HandlerFunc(yes)))
	mux.Handle("/", g.Management(http.HandlerFunc(yes)))
	for _, row := range []struct{ request, scopes string }{ // the owner may always
		{"GET " + base + "/runs", "submit read"},
		{"GET " + base + "/runs/ca1/log?follow=true", "submit read"},
		{"GET /version", "submit read"},
		{"GET /metrics", "submit read"},
		{"POST " + base + "/runs/ca1/listLogSasUrl", "submit read"},
		{"POST " + base + "/tasks/t/LISTDETAILS", "submit read"},
		{"POST " + base + "/webhooks/hook1/listEvents", ""}, // it has addresses
		{"POST " + base + "/webhooks/hook1/getCallbackConfig", ""},
		{"POST " + base + "/webhooks/hook1/ping", ""},
		{"PUT " + base + "/webhooks/hook1", ""},
		{"POST " + base + "/scheduleRun", "submit"},
		{"POST " + strings.ToUpper(base) + "/schedulerun", "submit"},
		{"POST " + base + "/runs/ca1/cancel", "submit"},
		{"PATCH " + base + "/runs/ca1", "submit"},
		{"POST " + base + "/listBuildSourceUploadUrl", "submit"},
		{"POST " + base + "/contexts/missing", "submit"},
		{"PUT " + base + "/taskRuns/x", "submit"},
		{"POST " + base + "/sshAgents/x", "submit"},
		{"PUT " + base + "/tasks/t", ""},
		{"DELETE " + base + "/tasks/t", ""},
		{"POST " + base + "/somethingNew", ""},
		{"POST /scheduleRun", ""},
		{"POST /", ""},
		{"GET /acrd/v1/tokens", ""},
		{"POST /acrd/v1/tokens", ""},
		{"GET /acrd/v1/secrets", ""},
		{"PUT /acrd/v1/secrets/x", ""},
		{"GET /v2/", "registry-push registry-pull"},
		{"HEAD /v2/app/manifests/v1", "registry-push registry-pull"},
		{"PUT /v2/app/manifests/v1", "registry-push"},
		{"POST /v2/app/blobs/uploads/", "registry-push"},
		{"DELETE /v2/app/manifests/v1", "registry-push"},
		{"GET /acr/v1/_catalog", "registry-push registry-pull"},
		{"PATCH /acr/v1/app/_tags/v1", "registry-push"},
		{"DELETE /acr/v1/app", "registry-push"},
		{"POST /acr/v1/_deleted/app/_tags/v1", "registry-push"},
		{"POST /acrd/v1/registry/collect", ""},
	} {
		method, path, _ := strings.Cut(row.request, " ")
		for _, s := range Scopes {
			want := http.StatusForbidden
			if s == ScopeOwner || strings.Contains(" "+row.scopes+" ", " "+string(s)+" ") {
				want = http.StatusOK
			}
			if got := ask(t, mux, method, path, "Bearer "+tokens[s]); got.Code != want {
				t.Errorf("%s with %s: got %d, want %d: %s", row.request, s, got.Code, want, got.Body)
			}
		}
		for name, authorization := range map[string]string{"none": "", "another": "Bearer acrd_unknown", "the owner's in part": "Bearer owner"} {
			if got := ask(t, mux, method, path, authorization); got.Code != http.StatusUnauthorized {
				t.Errorf("%s with token %s: got %d", row.request, name, got.Code)
			}
		}
		if got := ask(t, mux, method, path, "Bearer owners"); got.Code != http.StatusOK {
			t.Errorf("%s with the owner's token: got %d", row.request, got.Code)
		}
	}
}

func ask(t *testing.T, h http.Handler, method, path, authorization string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestRegistryLogin: what docker login does, and what it is told.
func TestRegistryLogin(t *testing.T) {
	m := &memoryTokens{}
	token := add(t, m, "ci", time.Time{}, ScopePull)
	s := httptest.NewServer((&Gate{Owner: "owners", Tokens: m}).Registry(http.HandlerFunc(yes)))
	defer s.Close()
	for _, row := range []struct {
		method, password string
		want             int
		body             string
	}{
		{"GET", "", 401, `"code":"UNAUTHORIZED"`},
		{"GET", token, 200, "yes"},
		{"GET", "owners", 200, "yes"},
		{"GET", token + "x", 401, `"code":"UNAUTHORIZED"`},
		{"PUT", token, 403, `"code":"DENIED"`},
	} {
		r, err := http.NewRequestWithContext(t.Context(), row.method, s.URL+"/v2/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if row.password != "" {
			r.SetBasicAuth("anybody", row.password)
		}
		resp, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		challenge := resp.Header.Get("WWW-Authenticate")
		if resp.StatusCode != row.want || !strings.Contains(string(body), row.body) || row.want == 401 && challenge != `Basic realm="acrd"` ||
			strings.Contains(string(body), token) {
			t.Errorf("%s with %q: %d, challenge %q, %s", row.method, row.password, resp.StatusCode, challenge, body)
		}
	}
	open := (&Gate{Owner: "owners", OpenRegistry: true}).Registry(http.HandlerFunc(yes))
	if got := ask(t, open, "PUT", "/v2/app/manifests/v1", ""); got.Code != 200 {
		t.Errorf("on loopback: %d", got.Code)
	}
	whose := (&Gate{Owner: "owners", OpenRegistry: true}).Registry(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, Owns(r))
	}))
	for credential, want := range map[string]string{"": "false", "Bearer other": "false", "Bearer owners": "true"} {
		if got := ask(t, whose, "GET", "/v2/", credential).Body.String(); got != want {
			t.Errorf("owner by %q: %s, want %s", credential, got, want)
		}
	}
}

func TestExpiry(t *testing.T) {
	m := &memoryTokens{}
	h := (&Gate{Tokens: m}).Management(http.HandlerFunc(yes))
	old := add(t, m, "old", time.Now().Add(-time.Second), ScopeOwner)
	young := add(t, m, "young", time.Now().Add(time.Hour), ScopeOwner)
	if got := ask(t, h, "GET", "/version", "Bearer "+old); got.Code != 401 {
		t.Errorf("expired: %d", got.Code)
	}
	if got := ask(t, h, "GET", "/version", "Bearer "+young); got.Code != 200 {
		t.Errorf("not expired: %d", got.Code)
	}
	if got := ask(t, h, "GET", "/version", ""); got.Code != 401 {
		t.Errorf("no owner's token and none given: %d", got.Code)
	}
}

// TestStoreAway: without a store no token is known, and that is our fault.
func TestStoreAway(t *testing.T) {
	m := &memoryTokens{err: errors.New("disk full, with an inside to hide")}
	h := (&Gate{Owner: "owners", Tokens: m}).Management(http.HandlerFunc(yes))
	got := ask(t, h, "GET", "/version", "Bearer acrd_x")
	if got.Code != 503 || strings.Contains(got.Body.String(), "inside") || got.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	if got := ask(t, h, "GET", "/version", "Bearer owners"); got.Code != 200 {
		t.Errorf("the owner: %d", got.Code)
	}
}

// TestLookups: a busy token is not looked up for each request.
func TestLookups(t *testing.T) {
	m := &memoryTokens{}
	h := (&Gate{Tokens: m}).Management(http.HandlerFunc(yes))
	token := add(t, m, "busy", time.Time{}, ScopeRead)
	for range 100 {
		if got := ask(t, h, "GET", "/version", "Bearer "+token); got.Code != 200 {
			t.Fatal(got.Code)
		}
	}
	if m.asks > 2 {
		t.Errorf("%d lookups", m.asks)
	}
}

// TestRevoked: a token that is deleted ends what it opened, within five
// seconds, and not as if it were whole.
func TestRevoked(t *testing.T) {
	m := &memoryTokens{}
	gate := &Gate{Owner: "owners", Tokens: m}
	ended := make(chan error, 2)
	s := httptest.NewServer(gate.Management(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		_ = c.EnableFullDuplex()
		_, _ = io.WriteString(w, "first\n")
		_ = c.Flush()
		if r.Method == http.MethodPost { // an upload that waits for its client
			_, err := io.Copy(io.Discard, r.Body)
			ended <- err
			return
		}
		<-r.Context().Done() // a log that is followed
		ended <- context.Cause(r.Context())
	})))
	defer s.Close()
	token := add(t, m, "leaked", time.Time{}, ScopeSubmit)
	follow := func(method, path, token string, body io.Reader) *bufio.Reader {
		r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		resp, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		lines := bufio.NewReader(resp.Body)
		if line, err := lines.ReadString('\n'); line != "first\n" {
			t.Fatalf("%s %s: %q, %v", method, path, line, err)
		}
		return lines
	}
	body, hold := io.Pipe()
	defer hold.Close()
	log := follow("GET", base+"/runs/ca1/log", token, nil)
	follow("POST", base+"/contexts/x", token, body)
	if err := m.DeleteToken(t.Context(), "leaked"); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if rest, err := io.ReadAll(log); err == nil {
		t.Errorf("the log ended as if it were whole: %q", rest)
	}
	for range 2 {
		select {
		case err := <-ended:
			if err == nil {
				t.Error("ended without a reason")
			}
		case <-time.After(5 * time.Second):
			t.Fatal("something is still open")
		}
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	if got := ask(t, s.Config.Handler, "GET", "/version", "Bearer "+token); got.Code != 401 {
		t.Errorf("a new request: %d", got.Code)
	}
}

// TestEntitlements: only the owner grants what lets a run out of its box.
func TestEntitlements(t *testing.T) {
	m := &memoryTokens{}
	h := (&Gate{Owner: "owners", Tokens: m}).Management((&Server{}).Handler())
	token := add(t, m, "ci", time.Time{}, ScopeSubmit)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, base+"/scheduleRun", strings.NewReader(`{"type":"EncodedTaskRunRequest","entitlements":["security.insecure"]}`))
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "the owner's to grant") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
