package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"acrd/internal/secrets"
)

// newAdmin is an Admin behind a gate, and its owner's client.
func newAdmin(t *testing.T) (*memoryTokens, *Client, *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	key, err := secrets.OpenKeyFile(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	m, log := &memoryTokens{}, &bytes.Buffer{}
	a := &Admin{
		Tokens: m, Secrets: &secrets.Local{Values: memorySecrets{}, Key: key},
		Log: slog.New(slog.NewTextHandler(log, nil)),
	}
	s := httptest.NewServer((&Gate{Owner: "owners", Tokens: m}).Management(a.Handler()))
	t.Cleanup(s.Close)
	c, err := NewClient(s.URL, "owners")
	if err != nil {
		t.Fatal(err)
	}
	return m, c, log
}

func TestTokensByAPI(t *testing.T) {
	m, c, _ := newAdmin(t)
	ctx := t.Context()
	soon := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	fresh, err := c.CreateToken(ctx, &NewToken{Name: "ci", Scopes: []Scope{ScopeSubmit, ScopePush}, Expires: soon})
	if err != nil {
		t.Fatal(err)
	}
	// 52 characters of base 32 are 260 bits.
	if !regexp.MustCompile(`^acrd_[A-Z2-7]{52}$`).MatchString(fresh.Value) || !fresh.Expires.Equal(soon) {
		t.Errorf("token %+v", fresh)
	}
	if kept, err := m.TokenByHash(ctx, HashToken(fresh.Value)); err != nil || kept.Name != "ci" {
		t.Errorf("kept: %+v, %v", kept, err)
	}
	list, err := c.Tokens(ctx)
	if err != nil || len(list) != 1 || list[0].Name != "ci" || list[0].Hash != "" || !list[0].Expires.Equal(soon) {
		t.Errorf("list %+v, %v", list, err)
	}
	if b, _ := json.Marshal(list); strings.Contains(string(b), fresh.Value) {
		t.Errorf("the list shows the token: %s", b)
	}
	for _, row := range []struct {
		ask    NewToken
		status int
		want   string
	}{
		{NewToken{Name: "ci", Scopes: []Scope{ScopeRead}}, 409, "there is a token of that name"},
		{NewToken{Name: "a b", Scopes: []Scope{ScopeRead}}, 400, "the name"},
		{NewToken{Name: "x"}, 400, "needs a scope: there are owner, submit, read, registry-push, registry-pull"},
		{NewToken{Name: "x", Scopes: []Scope{"root"}}, 400, `"root" is no scope`},
		{NewToken{Name: "x", Scopes: []Scope{ScopeRead}, Expires: time.Now().Add(-time.Hour)}, 400, "expired already"},
	} {
		_, err := c.CreateToken(ctx, &row.ask)
		problemIs(t, err, row.status, row.want)
	}
	if err := c.DeleteToken(ctx, "ci"); err != nil {
		t.Error(err)
	}
	problemIs(t, c.DeleteToken(ctx, "ci"), 404, "not found")
}

func problemIs(t *testing.T, err error, status int, want string) {
	t.Helper()
	var p *Problem
	if !errors.As(err, &p) || p.Status != status || !strings.Contains(p.Message, want) {
		t.Errorf("got %v (%+v), want %d %q", err, p, status, want)
	}
}

func TestSecretsByAPI(t *testing.T) {
	_, c, log := newAdmin(t)
	ctx := t.Context()
	if err := c.SetSecret(ctx, "Db", strings.NewReader("canary")); err != nil {
		t.Fatal(err)
	}
	list, err := c.Secrets(ctx)
	if err != nil || len(list) != 1 || list[0].Name != "db" {
		t.Errorf("list %+v, %v", list, err)
	}
	problemIs(t, c.SetSecret(ctx, "a_b", strings.NewReader("canary")), 400, "letters, digits and dashes")
	problemIs(t, c.SetSecret(ctx, "large", bytes.NewReader(make([]byte, secrets.MaxValue+1))), 413, "too large")
	if err := c.DeleteSecret(ctx, "DB"); err != nil {
		t.Error(err)
	}
	problemIs(t, c.DeleteSecret(ctx, "db"), 404, "secret db: no such secret")
	resp, err := c.HTTP().Get(c.base + adminRoot + "/secrets/db")
	if err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a value is asked for: %v, %v", resp.Status, err)
	}
	resp.Body.Close()
	if strings.Contains(log.String(), "canary") {
		t.Errorf("the log has the secret: %s", log)
	}
}
