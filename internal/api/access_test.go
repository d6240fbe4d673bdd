package api

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func yes(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "yes") }

// TestProtect: what a page in a browser could send is refused, whatever the
// token.
func TestProtect(t *testing.T) {
	h := Protect(http.HandlerFunc(yes), []string{"localhost", "127.0.0.1", "::1", "Registry.Example"})
	for _, row := range []struct {
		name, method, host string
		header             http.Header
		want               int
	}{
		{"name", "GET", "localhost:5000", nil, 200},
		{"address", "GET", "127.0.0.1:5000", nil, 200},
		{"address of version 6", "GET", "[::1]:5000", nil, 200},
		{"given name, in any case", "GET", "registry.EXAMPLE", nil, 200},
		{"name that was rebound to us", "GET", "evil.example:5000", nil, 421},
		{"no name", "GET", "", nil, 421},
		{"client without origin", "POST", "localhost:5000", nil, 200},
		{"same origin", "POST", "localhost:5000", http.Header{"Origin": {"http://localhost:5000"}}, 200},
		{"another origin", "POST", "localhost:5000", http.Header{"Origin": {"http://evil.example"}}, 403},
		{"another port", "PUT", "localhost:5000", http.Header{"Origin": {"http://localhost:8080"}}, 403},
		{"fetch of another site", "DELETE", "localhost:5000", http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), row.method, "http://x/v2/", nil)
			r.Host = row.host
			maps.Copy(r.Header, row.header)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != row.want {
				t.Errorf("got %d, want %d: %s", w.Code, row.want, w.Body)
			}
		})
	}
}

func TestGuard(t *testing.T) {
	h := Guard(http.HandlerFunc(yes), "secret-token")
	for _, row := range []struct {
		name, authorization string
		owner               bool
		want                int
	}{
		{"nothing", "", false, 401},
		{"the token", "Bearer secret-token", false, 200},
		{"another", "Bearer secret-token2", false, 401},
		{"part of it", "Bearer secret", false, 401},
		{"empty", "Bearer ", false, 401},
		{"basic", "Basic c2VjcmV0LXRva2Vu", false, 401},
		{"socket", "", true, 200},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			if row.authorization != "" {
				r.Header.Set("Authorization", row.authorization)
			}
			if row.owner {
				r = r.WithContext(context.WithValue(r.Context(), ownerKey{}, true))
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != row.want {
				t.Errorf("got %d, want %d", w.Code, row.want)
			}
			if w.Code == 401 && (w.Header().Get("WWW-Authenticate") == "" || !strings.Contains(w.Body.String(), `"code":"Unauthorized"`) || strings.Contains(w.Body.String(), "secret-token")) {
				t.Errorf("answer %v %s", w.Header(), w.Body)
			}
		})
	}
}

// TestOwner: a real socket tells who is at the other end; TCP does not.
func TestOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: Owner(Guard(http.HandlerFunc(yes), "t")), ConnContext: WithPeer} //nolint:gosec // a test
	go func() { _ = s.Serve(l) }()
	defer s.Close()
	c, err := NewClient("unix:"+path, "")
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.http.Get("http://localhost/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("uid %d: %s", os.Geteuid(), resp.Status)
	}
	w := httptest.NewRecorder()
	s.Handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	if w.Code != 403 {
		t.Errorf("without a socket: %d", w.Code)
	}
}
