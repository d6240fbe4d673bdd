package integration

import (
	"encoding/base64"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// TestCredentials has a registry that lets nobody in without a password. Who
// gives it builds from there, runs from there and pushes there; who does not
// is refused, even if the image is on this machine already.
func TestCredentials(t *testing.T) {
	t.Parallel()
	need(t)
	d := start(t)
	d.base()
	const user, password = "robot", "pass-of-the-robot"
	inner := registry.New(registry.Logger(log.New(&output{}, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="private"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	private := "localhost" + s.URL[strings.LastIndex(s.URL, ":"):]
	credential := fmt.Sprintf(`--credential={"registry":%q,"username":%q,"password":%q}`, private, user, password)

	dir := d.folder(map[string]string{
		"Dockerfile": "FROM REGISTRY/base/busybox:1\nRUN echo private > /made\n",
		"Child":      "FROM " + private + "/app:1\nRUN cat /made\n",
		"cmd.yaml":   "steps:\n  - cmd: " + private + "/app:1 cat /made\n",
		"push.yaml":  "steps:\n  - build: -t " + private + "/app:2 .\n  - push: [" + private + "/app:2]\n",
		"login.yaml": "steps:\n  - cmd: REGISTRY/base/busybox:1 cat /acb/home/.docker/config.json\n",
	})
	build := []string{"build", "-t", private + "/app:1", "."}
	for _, args := range [][]string{
		build,
		{"build", "--no-push", "-f", filepath.Join(dir, "Child"), "."},
		{"run", "-f", "cmd.yaml", "."},
		{"run", "-f", "push.yaml", "."},
	} {
		with := append([]string{args[0], credential}, args[1:]...)
		if args[1] == "-t" { // az acr build keeps to the run's registry unless it has a credential for another
			d.succeed(d.acrd(dir, with...))
			continue
		}
		for _, tt := range []struct {
			who  string
			args []string
			code int
		}{{"nobody", args, 1}, {"the robot", with, 0}, {"nobody, afterwards", args, 1}, {"somebody else", append([]string{args[0], strings.Replace(credential, password, "wrong", 1)}, args[1:]...), 1}} {
			r := d.acrd(dir, tt.args...)
			if r.code != tt.code {
				t.Errorf("%s, %v: exit code %d, want %d:\n%s", tt.who, args, r.code, tt.code, r)
			}
			if r.code == 1 && !strings.Contains(r.String(), "401") && !strings.Contains(strings.ToLower(r.String()), "unauthorized") {
				t.Errorf("%s, %v: it does not say why:\n%s", tt.who, args, r)
			}
		}
	}
	// Steps that log in by themselves find the password in their home, and the
	// log does not show it.
	encoded := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	if r := d.succeed(d.acrd(dir, "run", credential, "-f", "login.yaml", ".")); strings.Contains(r.String(), password) || strings.Contains(r.String(), encoded) || !strings.Contains(r.String(), private) {
		t.Errorf("the step has seen:\n%s", r)
	}
	// docker login counts, unless told otherwise.
	config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, private, encoded)
	if err := os.WriteFile(filepath.Join(d.state, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	d.succeed(d.acrd(dir, "run", "-f", "cmd.yaml", "."))
	if r := d.acrd(dir, "run", "--auth-mode", "None", "-f", "cmd.yaml", "."); r.code != 1 {
		t.Errorf("--auth-mode None: exit code %d:\n%s", r.code, r)
	}
}
