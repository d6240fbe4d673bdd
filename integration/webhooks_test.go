package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
)

// A receiver of webhooks answers each request with a status, and remembers it.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex // guards what follows
	received []received
	answers  []int // the next ones; 200 after them
}

// received is a webhook as its receiver sees it.
type received struct {
	header http.Header
	body   string

	ID, Timestamp, Action string
	Target                map[string]any
	Request               *struct{ ID, Host, Method, UserAgent string }
}

func newReceiver(t *testing.T, answers ...int) *receiver {
	t.Helper()
	r := &receiver{answers: answers}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	b, _ := io.ReadAll(req.Body)
	one := received{header: req.Header.Clone(), body: string(b)}
	_ = json.Unmarshal(b, &one) // the test looks at what is missing
	r.mu.Lock()
	defer r.mu.Unlock()
	r.received = append(r.received, one)
	status := http.StatusOK
	if len(r.answers) > 0 {
		status, r.answers = r.answers[0], r.answers[1:]
	}
	w.WriteHeader(status)
	fmt.Fprintln(w, "thanks")
}

func (r *receiver) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.received)
}

// wait is all of them once there are n, and no more a moment later.
func (r *receiver) wait(t *testing.T, n int) []received {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); len(r.all()) < n; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d webhooks were received, want %d: %v", len(r.all()), n, r.all())
		}
	}
	time.Sleep(300 * time.Millisecond)
	if got := r.all(); len(got) != n {
		t.Fatalf("%d webhooks were received, want %d: %v", len(got), n, got)
	}
	return r.all()
}

// someImage is an image that is unlike all others.
func someImage(t *testing.T) v1.Image {
	t.Helper()
	image, err := random.Image(200, 1)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestWebhooks has crane push and delete, and looks at what a receiver gets: as
// ACR sends it, but again if it was not taken.
func TestWebhooks(t *testing.T) {
	need(t)
	d := start(t)
	image := d.registry + "/team/app"

	t.Run("Push", func(t *testing.T) {
		d := d.in(t)
		r := newReceiver(t, http.StatusInternalServerError)
		d.succeed(d.acrd(".", "webhook", "create", "-n", "pushes", "--trusted", "--uri", r.URL+"/hook?code=CANARY", "--actions", "push", "--scope", "team/app:*",
			"--headers", "Authorization=Bearer CANARY", "X-Empty"))
		pushed := someImage(t)
		ok(t, crane.Push(pushed, image+":v1", crane.Insecure))
		ok(t, crane.Push(someImage(t), d.registry+"/team/other:v1", crane.Insecure))
		got := r.wait(t, 2)
		digest, _ := pushed.Digest()
		for _, one := range got {
			if one.ID != got[0].ID || one.Action != "push" || one.Target["repository"] != "team/app" || one.Target["tag"] != "v1" || one.Target["digest"] != digest.String() {
				t.Errorf("body %s", one.body)
			}
			// Argo CD Image Updater compares the one, and takes the other for the
			// registry's name. Keel does that, too.
			if one.header.Get("Authorization") != "Bearer CANARY" || one.Request == nil || one.Request.Host != d.registry || one.Request.Method != "PUT" {
				t.Errorf("header %v, body %s", one.header, one.body)
			}
			if one.header.Get("Content-Type") != "application/json" {
				t.Errorf("Content-Type %s", one.header.Get("Content-Type"))
			}
			for name := range one.header {
				if !slices.Contains([]string{"Accept-Encoding", "Authorization", "Content-Length", "Content-Type", "User-Agent", "X-Empty"}, name) {
					t.Errorf("there is a header %s", name)
				}
			}
		}
		list := d.acrd(".", "webhook", "list-events", "-n", "pushes", "-o", "tsv")
		lines := strings.Split(strings.TrimSpace(list.stdout), "\n")
		if len(lines) != 2 || !strings.HasPrefix(lines[0], got[0].ID+"\tpush\tteam/app:v1\t200\t") || !strings.Contains(lines[1], "\t500\t") {
			t.Errorf("list-events: %s", list)
		}
		if all := d.acrd(".", "webhook", "list-events", "-n", "pushes", "-o", "json"); strings.Contains(all.String(), "CANARY") || !strings.Contains(all.stdout, `"content": "thanks`) {
			t.Errorf("list-events: %s", all)
		}
		d.succeed(d.acrd(".", "webhook", "redeliver", "-n", "pushes", "--event-id", got[0].ID))
		if again := r.wait(t, 3)[2]; again.body != got[0].body {
			t.Errorf("redelivered %s, want %s", again.body, got[0].body)
		}
		d.succeed(d.acrd(".", "webhook", "update", "-n", "pushes", "--status", "disabled"))
		ok(t, crane.Push(someImage(t), image+":v2", crane.Insecure))
		d.succeed(d.acrd(".", "webhook", "ping", "-n", "pushes"))
		if ping := r.wait(t, 4)[3]; ping.Action != "ping" || ping.Target != nil || ping.Request != nil {
			t.Errorf("ping %s", ping.body)
		}
	})

	t.Run("Delete", func(t *testing.T) {
		d := d.in(t)
		r, plain := newReceiver(t), newReceiver(t)
		d.succeed(d.acrd(".", "webhook", "create", "-n", "deletes", "--trusted", "--uri", r.URL, "--actions", "delete", "untag", "--tags-on-delete",
			"--headers", "Content-Type=text/plain"))
		d.succeed(d.acrd(".", "webhook", "create", "-n", "plain", "--trusted", "--uri", plain.URL, "--actions", "delete", "--scope", "team/gone:any"))
		gone := d.registry + "/team/gone"
		pushed := someImage(t)
		for _, tag := range []string{":a", ":b", ":c"} {
			ok(t, crane.Push(pushed, gone+tag, crane.Insecure))
		}
		digest, _ := pushed.Digest()
		ok(t, crane.Delete(gone+":b", crane.Insecure))
		ok(t, crane.Delete(gone+"@"+digest.String(), crane.Insecure))
		got := r.wait(t, 2)
		if got[0].Action != "untag" {
			slices.Reverse(got) // no order was asked for
		}
		if got[0].Action != "untag" || got[0].Target["tag"] != "b" || got[0].header.Get("Content-Type") != "text/plain" {
			t.Errorf("untag %s", got[0].body)
		}
		target := got[1].Target
		if fmt.Sprint(target["tags"]) != "[a c]" || target["digest"] != digest.String() || target["mediaType"] == nil || len(target) != 4 || got[1].Request.Method != "DELETE" {
			t.Errorf("delete %s", got[1].body)
		}
		if target := plain.wait(t, 1)[0].Target; len(target) != 3 {
			t.Errorf("delete without tags %v", target)
		}
	})

	t.Run("Quarantine", func(t *testing.T) {
		d := d.in(t)
		r := newReceiver(t)
		d.succeed(d.acrd(".", "config", "quarantine", "update", "--status", "enabled"))
		d.succeed(d.acrd(".", "webhook", "create", "-n", "scanner", "--trusted", "--uri", r.URL, "--actions", "push", "quarantine", "--scope", "team/held:*"))
		pushed := someImage(t)
		digest, _ := pushed.Digest()
		held := d.registry + "/team/held"
		ok(t, crane.Push(pushed, held+":v1", crane.Insecure))
		if one := r.wait(t, 1)[0]; one.Action != "quarantine" || one.Target["tag"] != "v1" || one.Target["mediaType"] != nil || one.Request.UserAgent != "" {
			t.Errorf("quarantine %s", one.body)
		}
		if _, err := crane.Pull(held+":v1", crane.Insecure); err == nil {
			t.Error("a tag leads to an image in quarantine")
		}
		_, err := crane.Pull(held+"@"+digest.String(), crane.Insecure)
		ok(t, err)
		d.succeed(d.acrd(".", "repository", "update", "--image", "team/held@"+digest.String(), "--quarantine-state", "Passed"))
		if one := r.wait(t, 2)[1]; one.Action != "push" || one.Target["tag"] != "v1" || one.Target["digest"] != digest.String() {
			t.Errorf("push %s", one.body)
		}
		_, err = crane.Pull(held+":v1", crane.Insecure)
		ok(t, err)
		d.succeed(d.acrd(".", "config", "quarantine", "update", "--status", "disabled"))
	})

	t.Run("Refused", func(t *testing.T) {
		d := d.in(t)
		r := newReceiver(t)
		d.succeed(d.acrd(".", "webhook", "create", "-n", "private", "--uri", r.URL, "--actions", "push"))
		d.succeed(d.acrd(".", "webhook", "ping", "-n", "private"))
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if list := d.acrd(".", "webhook", "list-events", "-n", "private", "-o", "tsv"); strings.Contains(list.stdout, "\tping\t") {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the ping was not tried")
			}
		}
		if got := r.all(); len(got) > 0 {
			t.Errorf("a private address was reached: %v", got)
		}
	})

	t.Run("Debian's webhook", func(t *testing.T) { debianWebhook(t, d.in(t)) })
}

// debianWebhook has adnanh/webhook take a push, with the rule on its payload
// that its documents give for ACR, a header, and a signature.
func debianWebhook(t *testing.T, d *daemon) {
	need(t, "webhook")
	dir := t.TempDir()
	hooks, err := json.Marshal([]any{map[string]any{
		"id": "acr", "execute-command": "/bin/sh", "command-working-directory": dir,
		"pass-arguments-to-command": []any{
			map[string]string{"source": "string", "name": "-c"},
			map[string]string{"source": "string", "name": `printf '%s\n' "$@" > part && mv part done`},
			map[string]string{"source": "string", "name": "sh"},
			map[string]string{"source": "payload", "name": "target.repository"},
			map[string]string{"source": "payload", "name": "target.tag"},
			map[string]string{"source": "payload", "name": "request.host"},
		},
		"trigger-rule": map[string]any{"and": []any{
			map[string]any{"match": map[string]any{"type": "value", "value": "push", "parameter": map[string]string{"source": "payload", "name": "action"}}},
			map[string]any{"match": map[string]any{"type": "payload-hmac-sha256", "secret": "s3cret", "parameter": map[string]string{"source": "header", "name": "X-Hub-Signature-256"}}},
			map[string]any{"match": map[string]any{"type": "value", "value": "k3y", "parameter": map[string]string{"source": "header", "name": "X-Key"}}},
		}},
	}})
	ok(t, err)
	ok(t, os.WriteFile(filepath.Join(dir, "hooks.json"), hooks, 0o600))
	port := freePort(t)
	cmd := exec.Command("webhook", "-hooks", filepath.Join(dir, "hooks.json"), "-ip", "127.0.0.1", "-port", port, "-verbose")
	ok(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	ok(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("s3cret\n"), 0o600))
	d.succeed(d.acrd(dir, "secret", "set", "adnanh-key", "--file", "secret"))
	d.succeed(d.acrd(".", "webhook", "create", "-n", "adnanh", "--sign-hub-secret", "adnanh-key", "--trusted", "--uri", "http://127.0.0.1:"+port+"/hooks/acr", "--actions", "push", "--headers", "X-Key=k3y"))
	ok(t, crane.Push(someImage(t), d.registry+"/team/hooked:v9", crane.Insecure))
	want := "team/hooked\nv9\n" + d.registry + "\n"
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if b, err := os.ReadFile(filepath.Join(dir, "done")); err == nil {
			if string(b) != want {
				t.Errorf("the command was run with %q, want %q", b, want)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the command was not run: %s", d.acrd(".", "webhook", "list-events", "-n", "adnanh"))
		}
	}
}
