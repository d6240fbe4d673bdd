package realm

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestAccepts(t *testing.T) {
	pairs := Pairs{"r.example:5000": {"tokens.other.example", "tokens.other.example:7443"}, "10.0.0.5:5000": {"10.0.0.6:5001"}}
	for _, tt := range []struct {
		registry string
		plain    bool
		realm    string
		want     bool
	}{
		{"index.docker.io", false, "https://auth.docker.io/token", true},
		{"registry-1.docker.io", false, "https://auth.docker.io/token", true},
		{"registry.gitlab.com", false, "https://gitlab.com/jwt/auth", true},
		{"docker.elastic.co", false, "https://docker-auth.elastic.co/auth", true},
		{"ghcr.io", false, "https://ghcr.io/token", true},
		{"ghcr.io", false, "https://ghcr.io:443/token", true},
		{"ghcr.io:443", false, "https://ghcr.io/token", true},
		{"r.example:5000", false, "https://r.example:5000/token", true},
		{"r.example:5000", false, "https://r.example/token", true},
		{"r.example:5000", false, "https://tokens.other.example/", true},
		{"r.example:5000", false, "https://tokens.other.example:7443/", true},
		{"127.0.0.1:5000", true, "http://127.0.0.1:5000/token", true},
		{"10.0.0.5:5000", true, "http://10.0.0.6:5001/token", true},

		{"127.0.0.1:5000", true, "http://127.0.0.1:5001/token", false},
		{"127.0.0.1:5000", true, "http://localhost:5000/token", false},
		{"localhost:5000", true, "http://localhost:5001/token", false},
		{"localhost:5000", true, "https://localhost:5001/token", false},
		{"10.0.0.5", false, "https://11.0.0.5/token", false},
		{"r.example:5000", false, "https://r.example:5001/token", false},
		{"r.example:5000", false, "http://r.example:5000/token", false}, // not without TLS
		{"r.example:5000", false, "http://tokens.other.example/", false},
		{"r.example:5000", false, "https://tokens.other.example:1/", false},
		{"r.example", false, "https://tokens.other.example/", false}, // named for another
		{"ghcr.io", false, "https://ghcr.io.evil.example/token", false},
		{"ghcr.io", false, "https://evilghcr.io/token", false},
		{"ghcr.io", false, "https://evil.io/token", false},
		{"one.github.io", false, "https://other.github.io/token", false}, // a suffix under which strangers live
		{"one.co.uk", false, "https://co.uk/token", false},
		{"registry", false, "https://auth/token", false},
		{"ghcr.io", false, "ftp://ghcr.io/token", false},
		{"ghcr.io", false, "//ghcr.io/token", false},
		{"[::1]:5000", true, "http://[::1]:5001/", false},
	} {
		u, err := url.Parse(tt.realm)
		if err != nil {
			t.Fatal(err)
		}
		if got := pairs.Accepts(tt.registry, tt.plain, u); got != tt.want {
			t.Errorf("Accepts(%s, plain %v, %s) = %v, want %v", tt.registry, tt.plain, tt.realm, got, tt.want)
		}
	}
}

// TestGuard follows a registry that redirects to another port of its host,
// where a client of Go would go with the credential.
func TestGuard(t *testing.T) {
	var seen []string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Method+" "+r.Header.Get("Authorization"))
	}))
	defer other.Close()
	status := http.StatusTemporaryRedirect
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, status)
	}))
	defer s.Close()
	ask := func(method, authorization string) error {
		client := http.Client{Transport: Guard{Next: http.DefaultTransport, Registry: strings.TrimPrefix(s.URL, "http://"), Plain: true}}
		req, err := http.NewRequestWithContext(t.Context(), method, s.URL, strings.NewReader("password=x"))
		if err != nil {
			t.Fatal(err)
		}
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	for method, authorization := range map[string]string{http.MethodGet: "Basic c2VjcmV0", http.MethodPost: ""} {
		if err := ask(method, authorization); err == nil || !strings.Contains(err.Error(), "wants its credential sent to "+other.URL) {
			t.Errorf("%s: the redirect gave %v", method, err)
		}
	}
	if err := ask(http.MethodGet, ""); err != nil {
		t.Errorf("without a credential: %v", err)
	}
	if len(seen) != 1 || seen[0] != "GET " {
		t.Errorf("the other server saw %q", seen)
	}
}
