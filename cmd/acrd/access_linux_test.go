package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acrd/internal/api"
	"acrd/internal/secrets"
	"acrd/internal/store"
)

// An office is an owner in front of a daemon that knows tokens and secrets.
type office struct {
	*testing.T
	url   string
	local *secrets.Local
}

func newOffice(t *testing.T) *office {
	t.Helper()
	db, key := openRecords(t, t.TempDir())
	o := &office{T: t, local: &secrets.Local{Values: db, Key: key}}
	g := &api.Gate{Owner: deskToken, Tokens: db}
	s := httptest.NewServer(g.Management((&api.Admin{Tokens: g.Tokens, Secrets: o.local, Sources: db}).Handler()))
	t.Cleanup(s.Close)
	o.url = s.URL
	return o
}

func (o *office) acrd(stdin string, args ...string) (code int, stdout, stderr string) {
	o.Helper()
	var out, errs bytes.Buffer
	env := map[string]string{"ACRD_SERVER": o.url, "ACRD_TOKEN": deskToken}
	code = run(o.Context(), &session{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs, getenv: func(k string) string { return env[k] }}, args)
	return code, out.String(), errs.String()
}

func TestTokenCommands(t *testing.T) {
	o := newOffice(t)
	code, token, said := o.acrd("", "token", "create", "ci", "--scope", "read,registry-pull", "--expires", "2d")
	if code != exitOK || !strings.HasPrefix(token, "acrd_") || strings.Count(token, "\n") != 1 || !strings.Contains(said, "allows read,registry-pull, until") {
		t.Errorf("create: %d %q %q", code, token, said)
	}
	code, out, _ := o.acrd("", "token", "create", "ever", "--expires", "never", "-o", "json")
	var fresh api.FreshToken
	if err := json.Unmarshal([]byte(out), &fresh); code != exitOK || err != nil || fresh.Name != "ever" || fresh.Value == "" || !fresh.Expires.IsZero() || fresh.Scopes[0] != api.ScopeSubmit {
		t.Errorf("create in JSON: %d %s %v", code, out, err)
	}
	code, out, _ = o.acrd("", "token", "list")
	if code != exitOK || !strings.Contains(out, "ci") || !strings.Contains(out, "without end") || strings.Contains(out, strings.TrimSpace(token)) {
		t.Errorf("list: %d %s", code, out)
	}
	if code, out, _ := o.acrd("", "__complete", "token", "delete", ""); code != exitOK || out != "ci\never\n" {
		t.Errorf("completion: %d %q", code, out)
	}
	for _, row := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"token", "create", "ci"}, exitFailed, "there is a token of that name"},
		{[]string{"token", "create", "x", "--scope", "root"}, exitUsage, "is no scope"},
		{[]string{"token", "create", "x", "--expires", "soon"}, exitUsage, "want days as 90d"},
		{[]string{"token", "create"}, exitUsage, "an argument is missing"},
		{[]string{"token", "delete", "none"}, exitFailed, "token none: not found"},
		{[]string{"token", "remove"}, exitUsage, "unknown command"},
		{[]string{"token", "delete", "ci"}, exitOK, ""},
		{[]string{"token", "delete", "ci"}, exitFailed, "not found"},
	} {
		if code, _, said := o.acrd("", row.args...); code != row.code || !strings.Contains(said, row.want) {
			t.Errorf("%v: %d %q, want %d %q", row.args, code, said, row.code, row.want)
		}
	}
}

func TestSecretCommands(t *testing.T) {
	o := newOffice(t)
	file := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(file, []byte("of a file\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		stdin, want string
		args        []string
	}{
		{"canary\n", "canary", nil},
		{"two\nlines\n\n", "two\nlines\n", nil},
		{"canary\n", "canary\n", []string{"--exact"}},
		{"", "of a file", []string{"--file", file}},
	} {
		if code, out, said := o.acrd(row.stdin, append([]string{"secret", "set", "Db"}, row.args...)...); code != exitOK || out+said != "" {
			t.Errorf("set: %d %q %q", code, out, said)
		}
		if got, err := o.local.Get(t.Context(), secrets.Ref{Name: "db"}); err != nil || string(got) != row.want {
			t.Errorf("set %q %v: got %q, %v", row.stdin, row.args, got, err)
		}
	}
	if code, _, said := o.acrd("\n", "secret", "set", "Db"); code != exitUsage || !strings.Contains(said, "the value is empty") {
		t.Errorf("an empty value: exit code %d: %s", code, said)
	}
	code, out, said := o.acrd("", "secret", "set", "db", "canary-on-the-line")
	if code != exitUsage || strings.Contains(out+said, "canary") || !strings.Contains(said, "standard input") {
		t.Errorf("value as argument: %d %s %s", code, out, said)
	}
	if code, out, _ := o.acrd("", "secret", "list"); code != exitOK || !strings.Contains(out, "db ") || strings.Contains(out, "of a file") {
		t.Errorf("list: %d %s", code, out)
	}
	if code, _, said := o.acrd("", "secret", "delete", "none"); code != exitFailed || !strings.Contains(said, "no such secret") {
		t.Errorf("delete: %d %s", code, said)
	}
	if code, _, _ := o.acrd("", "secret", "delete", "DB"); code != exitOK {
		t.Errorf("delete: %d", code)
	}
}

// TestOpenTLS: what others can reach is served with TLS, or not at all.
func TestOpenTLS(t *testing.T) {
	for _, row := range []struct {
		address     string
		certificate *api.Certificate
		want        string
	}{
		{"127.0.0.1:0", nil, ""},
		{"[::1]:0", nil, ""},
		{"0.0.0.0:0", nil, "needs TLS for that: give --tls-cert and --tls-key, or listen on 127.0.0.1"},
		{":0", nil, "needs TLS"},
		{"127.0.0.1:0", &api.Certificate{CertFile: "/none", KeyFile: "/none"}, "--tls-cert: certificate /none"},
	} {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", row.address)
		if err != nil {
			t.Skip(err) // no IPv6
		}
		defer l.Close()
		d := &daemon{daemonOptions: daemonOptions{listen: row.address, certificate: row.certificate}, tcp: l}
		err = d.openTLS()
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want) || !errors.Is(err, errUsage)) {
			t.Errorf("%s: got %v, want %q", row.address, err, row.want)
		}
	}
}

func TestServeFlagsOfAccess(t *testing.T) {
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"--tls-cert", "x"}, "belong together"},
		{[]string{"--event-origin", "https://acrd.example"}, "--event-origin: write a DNS name"},
		{[]string{"--secret-aliases", "/none"}, "--secret-aliases: open /none"},
	} {
		var out bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		code := run(ctx, &session{stdin: strings.NewReader(""), stdout: &out, stderr: &out, getenv: func(string) string { return "" }}, append([]string{"serve", "--state", t.TempDir()}, row.args...))
		cancel()
		if code == exitOK || !strings.Contains(out.String(), row.want) {
			t.Errorf("%v: %d %s", row.args, code, &out)
		}
	}
}

// openRecords opens the store of a state folder, and the key that it is sealed
// with.
func openRecords(t *testing.T, dir string) (*store.DB, *secrets.Key) {
	t.Helper()
	key, err := secrets.OpenKeyFile(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), store.Options{URL: filepath.Join(dir, storeFile), Sealer: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db, key
}
