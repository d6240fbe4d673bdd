package secrets

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acrd/steps"

	"github.com/google/go-cmp/cmp"
)

func writeCertificate(t *testing.T, file string, c *x509.Certificate) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestParseURL holds the words to acb's.
func TestParseURL(t *testing.T) {
	for _, row := range []struct {
		url  string
		want Ref
		err  string
	}{
		{"https://myvault.vault.azure.net/secrets/db", Ref{Store: "https://myvault.vault.azure.net", Name: "db"}, ""},
		{"HTTPS://MyVault.Vault.Azure.Net/Secrets/DB/", Ref{Store: "https://myvault.vault.azure.net", Name: "db"}, ""},
		{"https://v.vault.azure.net/secrets/db/0Af", Ref{Store: "https://v.vault.azure.net", Name: "db", Version: "0af"}, ""},
		{"https://v.azure.net/secrets/a%2fb", Ref{Store: "https://v.azure.net", Name: "a", Version: "b"}, ""},
		{"", Ref{}, "missing azure keyvault URL"},
		{"https://v.azure.net/secrets/%zz", Ref{}, "failed to parse the azure keyvault secret URL"},
		{"http://v.azure.net/secrets/db", Ref{}, "invalid azure keyvault secret URL scheme. Expected Https"},
		{"db", Ref{}, "invalid azure keyvault secret URL scheme. Expected Https"},
		{"https://v.azure.net", Ref{}, "invalid azure keyvault secret URL. Bad number of URL segments: 1"},
		{"https://v.azure.net/secrets", Ref{}, "invalid azure keyvault secret URL. Bad number of URL segments: 2"},
		{"https://v.azure.net/secrets/db/1/2", Ref{}, "invalid azure keyvault secret URL. Bad number of URL segments: 5"},
		{"https://v.azure.net/keys/db", Ref{}, "invalid azure keyvault secret URL. Expected 'secrets' collection, but found: keys"},
		{"https://vault/secrets/db", Ref{}, "extracted vault resource https://vault from vault URL https://vault is invalid"},
		{"https://v.azure.net/secrets/..", Ref{}, ErrName.Error()},
		{"https://v.azure.net/secrets//1", Ref{}, ErrName.Error()},
	} {
		got, err := ParseURL(row.url)
		switch {
		case row.err == "" && (err != nil || got != row.want):
			t.Errorf("%s: got %+v, %v", row.url, got, err)
		case row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)):
			t.Errorf("%s: got %v, want %q", row.url, err, row.err)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	f.Add("https://myvault.vault.azure.net/secrets/db/1")
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := ParseURL(text)
		if err == nil && (checkName(ref.Name) != nil || !strings.HasPrefix(ref.Store, "https://")) {
			t.Errorf("%q: %+v", text, ref)
		}
	})
}

func TestLocal(t *testing.T) {
	l := &Local{Values: memory{}, Key: openTestKey(t)}
	ctx := t.Context()
	if all, err := l.List(ctx); err != nil || len(all) != 0 {
		t.Errorf("before anything: %v, %v", all, err)
	}
	for _, value := range []string{"first-canary", "second-canary"} {
		if err := l.Set(ctx, "Db-Password", []byte(value)); err != nil {
			t.Fatal(err)
		}
		if got, err := l.Get(ctx, Ref{Name: "db-password"}); err != nil || string(got) != value {
			t.Errorf("got %q, %v", got, err)
		}
	}
	all, err := l.List(ctx)
	if err != nil || len(all) != 1 || all[0].Name != "db-password" || all[0].Updated.IsZero() {
		t.Errorf("list: %v, %v", all, err)
	}
	for _, row := range []struct {
		do   error
		want error
	}{
		{l.Set(ctx, "../escape", nil), ErrName},
		{l.Delete(ctx, "none"), ErrNotFound},
		{l.Delete(ctx, "a/b"), ErrName},
		{second(l.Get(ctx, Ref{Name: "none"})), ErrNotFound},
		{l.Set(ctx, "large", make([]byte, MaxValue+1)), nil},
		{second(l.Get(ctx, Ref{Name: "db-password", Version: "1"})), nil},
	} {
		if row.do == nil || row.want != nil && !errors.Is(row.do, row.want) {
			t.Errorf("got %v, want %v", row.do, row.want)
		}
	}
	if err := l.Delete(ctx, "DB-PASSWORD"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Get(ctx, Ref{Name: "db-password"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("after its end: %v", err)
	}
}

func second(_ []byte, err error) error { return err }

// TestLocalAtRest: what is kept tells nothing, and one secret's is no other's.
func TestLocalAtRest(t *testing.T) {
	kept := memory{}
	l := &Local{Values: kept, Key: openTestKey(t)}
	for _, name := range []string{"a", "b"} {
		if err := l.Set(t.Context(), name, []byte("canary-"+name)); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Contains(string(kept["a"]), "canary") {
		t.Errorf("kept: %q", kept["a"])
	}
	kept["b"] = kept["a"]
	if got, err := l.Get(t.Context(), Ref{Name: "b"}); !errors.Is(err, ErrSealed) {
		t.Errorf("a's value under b's name: %q, %v", got, err)
	}
}

// memory keeps sealed values of one test.
type memory map[string][]byte

func (m memory) SealedSecret(_ context.Context, name string) ([]byte, error) {
	sealed, ok := m[name]
	if !ok {
		return nil, ErrNotFound
	}
	return sealed, nil
}

func (m memory) PutSealedSecret(_ context.Context, name string, sealed []byte) error {
	m[name] = sealed
	return nil
}

func (m memory) DeleteSealedSecret(_ context.Context, name string) error {
	if _, ok := m[name]; !ok {
		return ErrNotFound
	}
	delete(m, name)
	return nil
}

func (m memory) SealedSecrets(context.Context) ([]Info, error) {
	var all []Info
	for name := range m {
		all = append(all, Info{name, time.Now()})
	}
	return all, nil
}

func TestEnv(t *testing.T) {
	e := Env{EnvPrefix, lookup(map[string]string{"ACRD_SECRET_DB_PASSWORD": "x", "HOME": "/root", "ACRD_SECRET_EMPTY": ""})}
	got, err := e.Get(t.Context(), Ref{Store: "https://v.azure.net", Name: "db-password"})
	holds(t, got, err, "x", nil)
	got, err = e.Get(t.Context(), Ref{Store: "https://v.azure.net", Name: "empty"})
	holds(t, got, err, "", nil)
	_, err = e.Get(t.Context(), Ref{Store: "https://v.azure.net", Name: "home"})
	holds(t, nil, err, "variable ACRD_SECRET_HOME of the daemon: no such secret", ErrNotFound)
	got, err = e.Get(t.Context(), Ref{Name: "HOME"}) // the owner's alias
	holds(t, got, err, "/"+"root", nil)
}

func lookup(m map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := m[name]
		return v, ok
	}
}

func TestFiles(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "secrets")
	for name, text := range map[string]string{"outside": "canary", "secrets/plain": "x", "secrets/line": "two\nlines\n", "secrets/dos": "x\r\n", "secrets/.data/real": "linked"} {
		path := filepath.Join(top, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"escape": "../outside", "inside": ".data/real", "dir": ".data"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		name, want string
		is         error
	}{
		{"plain", "x", nil},
		{"line", "two\nlines", nil},
		{"dos", "x", nil},
		{"inside", "linked", nil}, // as Kubernetes mounts secrets
		{filepath.Join(top, "outside"), "canary", nil},
		{"escape", "escapes", errAny},
		{"dir", "not a regular file", errAny},
		{"none", "no such secret", ErrNotFound},
		{"../outside", "letters, digits", ErrName},
	} {
		got, err := Files{dir}.Get(t.Context(), Ref{Name: row.name})
		holds(t, got, err, row.want, row.is)
	}
	_, err := Files{}.Get(t.Context(), Ref{Name: "plain"})
	holds(t, nil, err, "give its whole path", errAny)
}

// named is a provider that says what it was asked for.
type named string

func (n named) Get(_ context.Context, ref Ref) ([]byte, error) {
	return []byte(strings.Join([]string{string(n), ref.Store, ref.Name, ref.Version, ref.Identity}, " ")), nil
}

func TestResolver(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "db"), []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	aliases, err := ReadAliases([]byte("https://v.vault.azure.net/secrets/renamed: local:other\nhttps://v.vault.azure.net/secrets/file: file:" + dir + "/db\n"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Config{
		Local: named("local"), KeyVault: named("azure"), Lookup: lookup(map[string]string{"HOME": "/root"}),
		Aliases: append(aliases,
			"https://V.vault.azure.net/secrets/Env/=env:HOME",
			"https://v.vault.azure.net/secrets/pinned/1=local:one",
			"https://v.vault.azure.net/secrets/elsewhere=keyvault:https://w.vault.azure.net/secrets/x/2"),
	}.Open()
	if err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"https://v.vault.azure.net/secrets/db":         "local https://v.vault.azure.net db  id",
		"https://v.vault.azure.net/secrets/Renamed":    "local  other  ",
		"https://v.vault.azure.net/secrets/renamed/9":  "local  other  ",
		"https://v.vault.azure.net/secrets/env":        "/root",
		"https://v.vault.azure.net/secrets/file":       "from a file",
		"https://v.vault.azure.net/secrets/pinned/1":   "local  one  ",
		"https://v.vault.azure.net/secrets/pinned/2":   "local https://v.vault.azure.net pinned 2 id",
		"https://v.vault.azure.net/secrets/elsewhere/": "azure https://w.vault.azure.net x 2 id",
	} {
		got, err := r.Secret(t.Context(), steps.Secret{ID: "s", KeyVault: url, ClientID: "id"})
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", url, err, diff)
		}
	}
	if _, err := r.Secret(t.Context(), steps.Secret{KeyVault: "x"}); err == nil || !strings.Contains(err.Error(), "Expected Https") {
		t.Errorf("wrong URL: %v", err)
	}
}

func TestResolverValues(t *testing.T) {
	for value, want := range map[string]string{"\xff\xfecanary": "is not text", strings.Repeat("x", MaxValue+1): "larger than"} {
		r := &Resolver{Default: Env{EnvPrefix, func(string) (string, bool) { return value, true }}}
		_, err := r.Secret(t.Context(), steps.Secret{KeyVault: "https://v.azure.net/secrets/x"})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	_, err := new(Resolver).Secret(t.Context(), steps.Secret{KeyVault: "https://v.azure.net/secrets/x"})
	holds(t, nil, err, "nothing stands for https://v.azure.net/secrets/x", errAny)
}

func TestConfig(t *testing.T) {
	none := lookup(nil)
	for _, row := range []struct {
		name   string
		config Config
		want   string // of the error; empty is none
	}{
		{"default", Config{Lookup: none, Local: named("")}, ""},
		{"environment", Config{Default: "env", Lookup: none}, ""},
		{"environment with prefix", Config{Default: "env:CI_", Lookup: none}, ""},
		{"folder", Config{Default: "file:/run/secrets", Lookup: none}, ""},
		{"vault", Config{Default: "vault:https://vault.example:8200/kv?kv=1", Lookup: none}, ""},
		{"vault by variable", Config{Default: "vault:http://v.example", Lookup: lookup(map[string]string{"VAULT_ADDR": "x"}), Aliases: []string{"https://v.azure.net/secrets/x=vault:app#pw"}}, ""},
		{"azure", Config{Default: "keyvault", Lookup: none, KeyVault: named("")}, ""},
		{"unknown", Config{Default: "aws", Lookup: none}, "want local, env"},
		{"relative folder", Config{Default: "file:secrets", Lookup: none}, "want file:DIR with the whole path"},
		{"local with more", Config{Default: "local:x", Lookup: none, Local: named("")}, "takes nothing after it"},
		{"vault with a password", Config{Default: "vault:https://me:canary@vault.example", Lookup: none}, "without user and password"},
		{"vault without address", Config{Default: "vault", Lookup: none}, "want local, env"},
		{"third version", Config{Default: "vault:https://v.example?kv=3", Lookup: none}, "neither 1 nor 2"},
		{"alias to nothing", Config{Lookup: none, Local: named(""), Aliases: []string{"https://v.azure.net/secrets/x"}}, "is not URL=PROVIDER:NAME"},
		{"alias to an unknown provider", Config{Lookup: none, Local: named(""), Aliases: []string{"https://v.azure.net/secrets/x=vault:a"}}, "one of the providers env, file, local"},
		{"alias from no URL", Config{Lookup: none, Local: named(""), Aliases: []string{"x=local:y"}}, "Expected Https"},
	} {
		_, err := row.config.Open()
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "canary")) {
			t.Errorf("%s: got %v, want %q", row.name, err, row.want)
		}
	}
	if _, err := ReadAliases([]byte("- a")); err == nil {
		t.Error("aliases that are a list were read")
	}
}
