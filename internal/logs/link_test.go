package logs

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acrd/runner"
)

func get(t *testing.T, d *Dir, method, target string, header ...string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	d.Handler().ServeHTTP(w, r)
	res := w.Result()
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

// TestLinkIsText: a browser takes a log for nothing but text.
func TestLinkIsText(t *testing.T) {
	d := newDir(t)
	d.Key = []byte(strings.Repeat("k", keySize))
	const hostile = "<script>alert(1)</script>\n"
	write(t, create(t, d, "ca1"), "a", hostile)
	res, body := get(t, d, "GET", d.Link("ca1", time.Now().Add(time.Hour)))
	h := res.Header
	if body != hostile || h.Get("Content-Type") != "text/plain; charset=utf-8" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%q %v", body, h)
	}
}

// TestLink reads a log as az acr does: ask how long it is and whether it is
// complete, then get what is new.
func TestLink(t *testing.T) {
	d := newDir(t)
	d.Key = []byte(strings.Repeat("k", keySize))
	ended := runner.Running
	d.Outcome = func(context.Context, string) (runner.Status, error) { return ended, nil }
	l := create(t, d, "ca1")
	link := d.Link("ca1", time.Now().Add(time.Hour))

	res, _ := get(t, d, "HEAD", link)
	if res.StatusCode != 200 || res.ContentLength != 0 || res.Header.Get("X-Ms-Meta-Complete") != "" || res.Header.Get("X-Ms-Blob-Type") != "AppendBlob" {
		t.Errorf("empty: %d %v", res.StatusCode, res.Header)
	}
	if res, _ := get(t, d, "GET", link, "X-Ms-Range", "bytes=0-4095"); res.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("a range of nothing: %d", res.StatusCode)
	}
	write(t, l, "a", "0123456789")
	if res, body := get(t, d, "GET", link, "X-Ms-Range", "bytes=4-5"); res.StatusCode != 206 || body != "45" || res.Header.Get("Content-Range") != "bytes 4-5/10" {
		t.Errorf("range: %d %q %v", res.StatusCode, body, res.Header)
	}
	if res, body := get(t, d, "GET", link, "Range", "bytes=7-"); res.StatusCode != 206 || body != "789" || res.Header.Get("X-Ms-Meta-Complete") != "" {
		t.Errorf("range: %d %q %v", res.StatusCode, body, res.Header)
	}
	l.Close()
	for status, word := range map[runner.Status]string{
		runner.Succeeded: "successful", runner.Failed: "failed", runner.Canceled: "canceled", runner.Timeout: "timedout", runner.Error: "internalerror",
	} {
		ended = status
		if res, body := get(t, d, "GET", link); res.StatusCode != 200 || body != "0123456789" || res.Header.Get("X-Ms-Meta-Complete") != word {
			t.Errorf("%s: %d %q %v", status, res.StatusCode, body, res.Header)
		}
	}
	if err := d.Archive(t.Context(), "ca1"); err != nil {
		t.Fatal(err)
	}
	if res, body := get(t, d, "GET", link, "Range", "bytes=2-3"); res.StatusCode != 206 || body != "23" || res.Header.Get("X-Ms-Meta-Complete") == "" {
		t.Errorf("archived: %d %q %v", res.StatusCode, body, res.Header)
	}
	d.Outcome = func(context.Context, string) (runner.Status, error) { return "", runner.ErrNotFound }
	if res, _ := get(t, d, "HEAD", link); res.Header.Get("X-Ms-Meta-Complete") != "successful" {
		t.Errorf("forgotten run: %v", res.Header)
	}
}

func TestLinkRefuses(t *testing.T) {
	d := newDir(t)
	create(t, d, "ca1")
	create(t, d, "ca2")
	if res, _ := get(t, d, "GET", d.Link("ca1", time.Now().Add(time.Hour))); res.StatusCode != http.StatusForbidden {
		t.Errorf("without a key: %d", res.StatusCode)
	}
	d.Key = []byte(strings.Repeat("k", keySize))
	good := d.Link("ca1", time.Now().Add(time.Hour))
	other := &Dir{Key: []byte(strings.Repeat("x", keySize))}
	for name, link := range map[string]string{
		"expired":       d.Link("ca1", time.Now().Add(-time.Second)),
		"another run":   strings.Replace(good, "ca1", "ca2", 1),
		"another key":   other.Link("ca1", time.Now().Add(time.Hour)),
		"later":         strings.Replace(good, "se=2", "se=3", 1),
		"no signature":  strings.Split(good, "&sig=")[0],
		"no query":      strings.Split(good, "?")[0],
		"longer":        strings.Replace(good, "&sp=", "x&sp=", 1),
		"another place": strings.Replace(good, "ca1", "..%2f..%2fca1", 1),
	} {
		res, body := get(t, d, "GET", link)
		if res.StatusCode != http.StatusForbidden || strings.Contains(body, "ca1") {
			t.Errorf("%s: %d %q", name, res.StatusCode, body)
		}
	}
	if res, _ := get(t, d, "GET", d.Link("ca9", time.Now().Add(time.Hour))); res.StatusCode != http.StatusNotFound {
		t.Errorf("no such log: %d", res.StatusCode)
	}
	if res, _ := get(t, d, "PUT", good); res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("PUT: %d", res.StatusCode)
	}
}

func TestLinkKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	first, err := LinkKey(file)
	if err != nil || len(first) != keySize {
		t.Fatal(first, err)
	}
	again, err := LinkKey(file)
	if err != nil || string(again) != string(first) {
		t.Errorf("the key has changed: %v", err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others can read the key: %v", err)
	}
}
