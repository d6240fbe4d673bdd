package source

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acrd/steps"
)

// quick are limits for peers that are broken on purpose.
var quick = Limits{Connect: time.Second, FirstByte: time.Second, Idle: time.Second}

// A fetch is what came of one Fetch.
type fetch struct {
	*Fetched
	err error
	dir string // what was fetched into
	out string // and what was told: lines and log records
}

// fetchInto fetches address with f, which needs no Dir. It fails the test if
// an error leaves anything behind, or a secret shows anywhere.
func fetchInto(t *testing.T, f *Fetcher, address string, secrets ...string) fetch {
	t.Helper()
	c, err := steps.ParseContext(address)
	if err != nil {
		t.Fatal(err)
	}
	if f.Dir == "" {
		f.Dir = t.TempDir()
	}
	var out, log bytes.Buffer
	if f.Log == nil {
		f.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		defer func() { f.Log = nil }()
	}
	dir := filepath.Join(t.TempDir(), "context")
	fetched, err := f.Fetch(t.Context(), c, dir, &out)
	got := fetch{fetched, err, dir, out.String() + log.String()}
	if err != nil {
		if left, e := os.ReadDir(dir); e != nil && !errors.Is(e, fs.ErrNotExist) || len(left) > 0 {
			t.Errorf("a failed fetch leaves %v behind (%v)", left, e)
		}
		got.out += err.Error()
	}
	for _, secret := range secrets {
		if strings.Contains(got.out, secret) {
			t.Errorf("the secret %q is shown:\n%s", secret, got.out)
		}
		for _, top := range []string{dir, f.Dir} {
			if found := filesWith(t, top, secret); len(found) > 0 {
				t.Errorf("the secret %q is in files: %q", secret, found)
			}
		}
	}
	return got
}

func mustFetch(t *testing.T, f *Fetcher, address string, secrets ...string) fetch {
	t.Helper()
	got := fetchInto(t, f, address, secrets...)
	if got.err != nil {
		t.Fatalf("fetch %s: %v\n%s", address, got.err, got.out)
	}
	return got
}

// wantError fails unless the fetch failed with each of words in its error.
func (got fetch) wantError(t *testing.T, words ...string) {
	t.Helper()
	if got.err == nil {
		t.Fatalf("fetched into %s; want an error with %q", got.dir, words)
	}
	for _, word := range words {
		if !strings.Contains(got.err.Error(), word) {
			t.Errorf("error %q; want %q in it", got.err, word)
		}
	}
}

// wantFile fails unless the file name of the context has this content. Links
// are followed only inside the context.
func (got fetch) wantFile(t *testing.T, name, content string) {
	t.Helper()
	root, err := os.OpenRoot(got.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	text, err := root.ReadFile(name)
	if err != nil || string(text) != content {
		t.Errorf("%s = %q, %v; want %q", name, text, err, content)
	}
}

func filesWith(t *testing.T, dir, needle string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(needle)) || strings.Contains(filepath.Base(path), needle) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func mustParse(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
