package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// TestRealm has a registry behind tokens. Its own token server is shown the
// credential of a run; one on another port is not, whether the registry names
// it or redirects there, unless the owner trusts it.
func TestRealm(t *testing.T) {
	t.Parallel()
	need(t)
	const user, password = "robot", "pass-of-the-robot"
	var mu sync.Mutex
	var seen []string // by the other server
	give := func(w http.ResponseWriter, token string) {
		_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "access_token": token, "expires_in": 300})
	}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, basic, _ := r.BasicAuth()
		mu.Lock()
		defer mu.Unlock()
		if at := basic + r.FormValue("password") + r.Header.Get("Authorization"); at != "" {
			seen = append(seen, at)
		}
		give(w, "by-the-other")
	}))
	t.Cleanup(other.Close)
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	realm := map[string]string{} // by the first part of a repository's name
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
		_, basic, _ := r.BasicAuth()
		switch {
		case r.URL.Path == "/token" && basic == password:
			give(w, "by-itself")
		case r.URL.Path == "/token":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/leads-away":
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		case !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer by-"):
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="s",scope="repository:x:pull"`, realm[kind]))
			w.WriteHeader(http.StatusUnauthorized)
		default:
			inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	realm["own"], realm["other"], realm["away"], realm[""] = s.URL+"/token", other.URL+"/token", s.URL+"/leads-away", s.URL+"/token"
	host := strings.TrimPrefix(s.URL, "http://")

	d := start(t)
	d.base()
	dir := d.folder(map[string]string{
		"Dockerfile": "FROM REGISTRY/base/busybox:1\n",
		"own.yaml":   "steps:\n  - build: -t " + host + "/own/app:1 .\n  - push: [" + host + "/own/app:1]\n",
		"other.yaml": "steps:\n  - build: -t " + host + "/other/app:1 .\n  - push: [" + host + "/other/app:1]\n",
		"away.yaml":  "steps:\n  - build: -t " + host + "/away/app:1 .\n  - push: [" + host + "/away/app:1]\n",
		"From":       "FROM " + host + "/own/app:1\n",
		"FromOther":  "FROM " + host + "/other/app:1\n",
	})
	credential := fmt.Sprintf(`--credential={"registry":%q,"username":%q,"password":%q}`, host, user, password)
	d.succeed(d.acrd(dir, "run", credential, "-f", "own.yaml", "."))
	d.succeed(d.acrd(dir, "build", credential, "--no-push", "-f", "From", "."))
	for _, args := range [][]string{
		{"run", credential, "-f", "other.yaml", "."},
		{"run", credential, "-f", "away.yaml", "."},
		{"build", credential, "--no-push", "-f", "FromOther", "."},
	} {
		r := d.acrd(dir, args...)
		if r.code != 1 || !strings.Contains(r.String(), "wants its credential sent to "+other.URL) {
			t.Errorf("%v: exit code %d:\n%s", args, r.code, r)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) > 0 {
		t.Errorf("the other server saw %q", seen)
	}
}
