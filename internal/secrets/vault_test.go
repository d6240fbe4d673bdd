package secrets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// An exchange is one that a real server had: what it was asked, and answered.
type exchange struct {
	Name, Method, Path, Args string
	Status                   int
	Body                     json.RawMessage
}

// token and data are what the request held.
func (e exchange) token() string {
	_, rest, _ := strings.Cut(e.Args, "X-Vault-Token: ")
	token, _, _ := strings.Cut(rest, " ")
	return token
}

func (e exchange) data() string {
	_, data, _ := strings.Cut(e.Args, "-d ")
	return data
}

// A player answers as the real server did, one exchange after another, and
// holds each request to the recorded one.
type player struct {
	*httptest.Server
	all map[string]exchange

	mu   sync.Mutex // guards what follows
	next []string
}

func newPlayer(t *testing.T) *player {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "vault-contract.json"))
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct{ Exchanges []exchange }
	if err := json.Unmarshal(b, &recorded); err != nil {
		t.Fatal(err)
	}
	p := &player{all: map[string]exchange{}}
	for _, e := range recorded.Exchanges {
		p.all[e.Name] = e
	}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.next) == 0 {
			t.Errorf("asked once too often: %s %s", r.Method, r.URL)
			w.WriteHeader(http.StatusTeapot)
			return
		}
		e := p.all[p.next[0]]
		p.next = p.next[1:]
		body, _ := io.ReadAll(r.Body)
		if r.Method != e.Method || r.URL.RequestURI() != "/v1"+e.Path || r.Header.Get("X-Vault-Token") != e.token() || string(body) != e.data() {
			t.Errorf("%s: got %s %s with token %q and %s", e.Name, r.Method, r.URL, r.Header.Get("X-Vault-Token"), body)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(e.Status)
		_, _ = w.Write(e.Body)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *player) play(names ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = names
}

const roleID, secretID = "7e56cde6-d32e-49ac-ff0b-c68f7591be5a", "d6df33d4-ae46-a822-687f-bb01f1c72c5c"

func TestVault(t *testing.T) {
	p := newPlayer(t)
	for _, row := range []struct {
		play, token   string
		name, version string
		want          string // a value, or words of an error
		is            error
	}{
		{"kv-get", "root", "app#pw", "", "s3cr3t-value", nil},
		{"kv-get", "root", "secret/app#pw", "", "s3cr3t-value", nil}, // as vault kv get writes it
		{"kv-get", "root", "app#n", "", "1", nil},
		{"kv-get-v1", "root", "app#pw", "1", "s3cr3t-value", nil},
		{"kv-get", "root", "app#nothing", "", `no such secret: it has no field "nothing"`, ErrNotFound},
		{"kv-get", "root", "app", "", "it has 2 fields and none is called value", errAny},
		{"kv-missing", "root", "none#pw", "", "vault none: no such secret", ErrNotFound},
		{"kv-get-deleted", "root", "app#pw", "", "no such secret: it was deleted", ErrNotFound},
		{"bad-token", "nope", "app#pw", "", "access denied", ErrDenied},
		{"sealed", "root", "app#pw", "", "Vault is sealed", errAny},
		{"", "", "app#pw", "", "no way in: set VAULT_TOKEN", errAny},
		{"", "root", "../sys/health", "", "is not one of a secret", errAny},
		{"", "root", "", "", "is not one of a secret", errAny},
	} {
		t.Run(row.play+" "+row.name, func(t *testing.T) {
			v := &Vault{Address: p.URL, Mount: "secret", Token: row.token}
			p.play(row.play)
			got, err := v.Get(t.Context(), Ref{Name: row.name, Version: row.version})
			holds(t, got, err, row.want, row.is)
		})
	}
	t.Run("wrong-mount", func(t *testing.T) {
		p.play("wrong-mount")
		_, err := (&Vault{Address: p.URL, Mount: "kvx", Token: "root"}).Get(t.Context(), Ref{Name: "app"})
		holds(t, nil, err, `no handler for route "kvx/data/app"`, ErrNotFound)
	})
	t.Run("single field", func(t *testing.T) {
		p.play("ro-read")
		got, err := (&Vault{Address: p.URL, Mount: "secret", Token: p.all["ro-read"].token()}).Get(t.Context(), Ref{Name: "app"})
		holds(t, got, err, "v2", nil)
	})
}

// errAny stands for an error that has no name.
var errAny = errors.New("any")

func holds(t *testing.T, got []byte, err error, want string, is error) {
	t.Helper()
	switch {
	case is == nil && (err != nil || string(got) != want):
		t.Errorf("got %q, %v; want %q", got, err, want)
	case is != nil && (err == nil || !strings.Contains(err.Error(), want) || !errors.Is(is, errAny) && !errors.Is(err, is)):
		t.Errorf("got %q, error %v; want %q", got, err, want)
	case err != nil && (strings.Contains(err.Error(), "s3cr3t") || strings.Contains(err.Error(), "root") || strings.Contains(err.Error(), "nope")):
		t.Errorf("the error tells a secret: %v", err)
	}
}

// TestVaultLogin: the token that a role gets is used until it ages, renewed
// while it can be, and replaced when it has run out.
func TestVaultLogin(t *testing.T) {
	p := newPlayer(t)
	v := &Vault{Address: p.URL, Mount: "secret", RoleID: roleID, SecretID: secretID}
	get := func(want string, play ...string) {
		t.Helper()
		p.play(play...)
		got, err := v.Get(t.Context(), Ref{Name: "app#pw"})
		holds(t, got, err, want, nil)
		if len(p.next) != 0 {
			t.Errorf("not asked: %v", p.next)
		}
	}
	get("v2", "login", "ro-read")
	get("v2", "ro-read")
	v.issued = time.Now().Add(-4 * time.Second) // of 5
	get("v2", "renew", "ro-read")
	v.issued = time.Now().Add(-6 * time.Second)
	get("v2", "login", "ro-read")
	get("v2", "expired", "login", "ro-read") // a clock that differs
	p.play("ro-denied", "login", "ro-denied")
	_, err := v.Get(t.Context(), Ref{Name: "other#pw"})
	holds(t, nil, err, "access denied", ErrDenied)
}

func TestVaultLoginRefused(t *testing.T) {
	p := newPlayer(t)
	p.play("login-bad")
	_, err := (&Vault{Address: p.URL, Mount: "secret", RoleID: roleID, SecretID: "bad"}).Get(t.Context(), Ref{Name: "app#pw"})
	holds(t, nil, err, "log in: invalid role or secret ID", errAny)
}

// TestVaultFirstVersion: the older engine has no word in the path and one
// level less in the answer. Its answers are those of its documentation.
func TestVaultFirstVersion(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/kv/team/app" || r.Header.Get("X-Vault-Namespace") != "ns" {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"errors":[]}`)
			return
		}
		fmt.Fprint(w, `{"lease_duration":2764800,"data":{"value":"old"}}`)
	}))
	defer s.Close()
	v := &Vault{Address: s.URL, Mount: "kv", FirstVersion: true, Token: "t", Namespace: "ns"}
	got, err := v.Get(t.Context(), Ref{Name: "team/app"})
	holds(t, got, err, "old", nil)
	_, err = v.Get(t.Context(), Ref{Name: "team/none"})
	holds(t, nil, err, "no such secret", ErrNotFound)
	_, err = v.Get(t.Context(), Ref{Name: "team/app", Version: "2"})
	holds(t, nil, err, "keeps no versions", errAny)
	v.FirstVersion = false
	_, err = v.Get(t.Context(), Ref{Name: "team/app"})
	holds(t, nil, err, "no such secret", ErrNotFound)
}

// TestVaultTrouble: what passes is tried again, a token goes nowhere else, and
// nothing that a server says back is a leak.
func TestVaultTrouble(t *testing.T) {
	const token, value = "canary-token-1", "canary-value-1"
	var elsewhere, asked int
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer other.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		switch r.URL.Path {
		case "/v1/secret/data/shaky":
			if asked < 3 {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			fmt.Fprintf(w, `{"data":{"data":{"value":%q}}}`, value)
		case "/v1/secret/data/moved":
			http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
		case "/v1/secret/data/echo":
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"errors":["bad header %s"]}`, r.Header.Get("X-Vault-Token"))
		case "/v1/secret/data/html":
			fmt.Fprintf(w, `<html>%s</html>`, value)
		case "/v1/secret/data/list":
			fmt.Fprintf(w, `{"data":{"data":[%q]}}`, value)
		default:
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer s.Close()
	for _, row := range []struct {
		name, want string
		asked      int
		is         error
	}{
		{"shaky", value, 3, nil},
		{"moved", "it says to go to " + other.URL, 1, errAny},
		{"echo", "bad header ***", 1, errAny},
		{"html", "the answer is not Vault's", 1, errAny},
		{"list", "the answer is not Vault's", 1, errAny},
		{"broken", "500 Internal Server Error", 3, errAny},
	} {
		asked = 0
		v := &Vault{Address: s.URL, Mount: "secret", Token: token}
		got, err := v.Get(t.Context(), Ref{Name: row.name})
		holds(t, got, err, row.want, row.is)
		if asked != row.asked {
			t.Errorf("%s: asked %d times, want %d", row.name, asked, row.asked)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error tells a secret: %v", row.name, err)
		}
	}
	if elsewhere != 0 {
		t.Error("the token went to another server")
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errTooSlow)
	defer cancel()
	if _, err := (&Vault{Address: s.URL, Mount: "secret", Token: token}).Get(ctx, Ref{Name: "broken"}); err == nil {
		t.Error("no error at the end of the context")
	}
}

var errTooSlow = errors.New("too slow")

// TestVaultTLS: a server is believed if the owner says so.
func TestVaultTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"data":{"data":{"value":"x"}}}`)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	writeCertificate(t, file, s.Certificate())
	v := &Vault{Address: s.URL, Mount: "secret", Token: "t", CACert: file}
	got, err := v.Get(t.Context(), Ref{Name: "app"})
	holds(t, got, err, "x", nil)
	_, err = (&Vault{Address: s.URL, Mount: "secret", Token: "t"}).Get(t.Context(), Ref{Name: "app"})
	holds(t, nil, err, "certificate", errAny)
	_, err = (&Vault{Address: s.URL, Mount: "secret", Token: "t", CACert: "/none"}).Get(t.Context(), Ref{Name: "app"})
	holds(t, nil, err, "certificates: open /none", errAny)
}
