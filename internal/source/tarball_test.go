package source

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// serve answers each path with a handler.
func serve(t *testing.T, paths map[string]http.HandlerFunc) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	for path, h := range paths {
		mux.HandleFunc(path, h)
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func answer(p []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.Write(p) }
}

func TestTarball(t *testing.T) {
	plain := tarOf(t, file("Dockerfile", "FROM scratch\n"), file("sub/x", "1"))
	packed := gz(t, plain)
	s := serve(t, map[string]http.HandlerFunc{
		"/a.tar": answer(plain), "/a.tar.gz": answer(packed),
		"/encoded": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(packed)
		},
	})
	for path, p := range map[string][]byte{"/a.tar": plain, "/a.tar.gz": packed, "/encoded": packed, "/a.tar.gz?sig=x": packed} {
		got := mustFetch(t, &Fetcher{}, s.URL+path)
		got.wantFile(t, "Dockerfile", "FROM scratch\n")
		sum := sha256.Sum256(p)
		if want := "sha256:" + hex.EncodeToString(sum[:]); got.Digest != want {
			t.Errorf("%s: digest %s; want %s", path, got.Digest, want)
		}
		if !strings.Contains(got.out, "Downloading "+s.URL) || !strings.Contains(got.out, "Downloaded ") {
			t.Errorf("%s: said\n%s", path, got.out)
		}
	}
}

func TestTarballTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(answer(tarGz(t, file("a", "1"))))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	fetchInto(t, &Fetcher{Limits: quick}, s.URL+"/a.tgz").wantError(t, "certificate")
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	mustFetch(t, &Fetcher{TLS: &tls.Config{RootCAs: roots}}, s.URL+"/a.tgz").wantFile(t, "a", "1")

	git := startGitServer(t, func(h http.Handler) *httptest.Server {
		s := httptest.NewUnstartedServer(h)
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
		return s
	})
	r := git.repo(t, "app.git")
	r.commit("main", map[string]string{"a": "1"})
	fetchInto(t, &Fetcher{}, r.url).wantError(t, "certificate")
	roots = x509.NewCertPool()
	roots.AddCert(git.Certificate())
	mustFetch(t, &Fetcher{TLS: &tls.Config{RootCAs: roots}}, r.url).wantFile(t, "a", "1")
}

// TestTarballFaults serves what is no archive, or not for long.
func TestTarballFaults(t *testing.T) {
	good := tarGz(t, file("a", noise(64<<10)))
	var attempts atomic.Int64
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			attempts.Add(1)
			http.Error(w, "s3cr3t reply", code)
		}
	}
	cut := func(w http.ResponseWriter) { // the connection breaks in the middle
		w.Header().Set("Content-Length", fmt.Sprint(len(good)))
		w.Write(good[:len(good)/2])
		panic(http.ErrAbortHandler)
	}
	s := serve(t, map[string]http.HandlerFunc{
		"/404": status(404), "/401": status(401), "/500": status(500), "/304": status(304),
		"/html":  func(w http.ResponseWriter, _ *http.Request) { attempts.Add(1); io.WriteString(w, "<html>") },
		"/empty": func(http.ResponseWriter, *http.Request) { attempts.Add(1) },
		"/short": func(w http.ResponseWriter, _ *http.Request) { attempts.Add(1); w.Write(good[:len(good)/2]) },
		"/cut":   func(w http.ResponseWriter, _ *http.Request) { attempts.Add(1); cut(w) },
		"/cut-once": func(w http.ResponseWriter, _ *http.Request) {
			if attempts.Add(1) == 1 {
				cut(w)
			}
			w.Write(good)
		},
		"/500-twice": func(w http.ResponseWriter, _ *http.Request) {
			if attempts.Add(1) <= 2 {
				w.WriteHeader(503)
			}
			w.Write(good)
		},
		"/endless": func(w http.ResponseWriter, _ *http.Request) {
			attempts.Add(1)
			w.Write(tarOf(t, file("a", "1")))
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		},
	})
	f := func() *Fetcher {
		return &Fetcher{Limits: Limits{Idle: 100 * time.Millisecond, Bytes: 8 << 20}}
	}
	for path, want := range map[string]struct {
		attempts int64
		word     string
	}{
		"/404": {1, "404 Not Found"}, "/401": {1, "401 Unauthorized"}, "/500": {3, "500 Internal"}, "/304": {1, "304"},
		"/html": {1, "an HTML page"}, "/empty": {1, "empty"}, "/short": {1, "cut short"}, "/cut": {3, "unexpected EOF"},
		"/endless": {1, "more than 8.0 MiB"},
	} {
		t.Run(path, func(t *testing.T) {
			attempts.Store(0)
			got := fetchInto(t, f(), s.URL+path, "s3cr3t")
			got.wantError(t, want.word)
			if n := attempts.Load(); n != want.attempts {
				t.Errorf("%d attempts; want %d", n, want.attempts)
			}
		})
	}
	for _, path := range []string{"/cut-once", "/500-twice"} {
		attempts.Store(0)
		got := mustFetch(t, f(), s.URL+path)
		got.wantFile(t, "a", noise(64<<10))
		if !strings.Contains(got.out, "WARNING: ") {
			t.Errorf("%s is tried again silently:\n%s", path, got.out)
		}
	}
	fetchInto(t, f(), "http://127.0.0.1:1/x.tgz").wantError(t, "connection refused")
}

// TestTarballCredential follows a credential, and a query that is one, to
// where they must not go.
func TestTarballCredential(t *testing.T) {
	const secret, signature = "c4n4ry", "s1gn4ture"
	archive := tarGz(t, file("a", "1"))
	var leaked []string
	other := serve(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, r *http.Request) {
		for key, values := range r.Header {
			if key == "Authorization" || key == "Cookie" || strings.Contains(fmt.Sprint(values), signature) {
				leaked = append(leaked, fmt.Sprint(key, values))
			}
		}
		w.Write(archive)
	}})
	wanted := "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+secret))
	s := serve(t, map[string]http.HandlerFunc{
		"/a": func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != wanted {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.Write(archive)
		},
		"/here": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/a", http.StatusFound) },
		"/away": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL+"/x", http.StatusFound) },
		"/named": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, strings.Replace(other.URL, "://", "://u:p@", 1)+"/x", http.StatusFound)
		},
		"/loop": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/loop?"+signature, http.StatusFound)
		},
		"/file": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		},
		"/dead": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/?sig="+signature, http.StatusFound)
		},
	})
	address := func(path string) string {
		return strings.Replace(s.URL, "://", "://alice:"+secret+"@", 1) + path + "?sig=" + signature
	}
	given := &Fetcher{Credential: func(_ context.Context, scheme, host string) (string, string, bool) {
		return "alice", secret, scheme+"://"+host == s.URL
	}}
	for _, path := range []string{"/a", "/here", "/away", "/named"} {
		mustFetch(t, &Fetcher{}, address(path), secret, signature).wantFile(t, "a", "1")
		mustFetch(t, given, s.URL+path, secret).wantFile(t, "a", "1")
	}
	if len(leaked) > 0 {
		t.Errorf("the other host saw %q", leaked)
	}
	fetchInto(t, &Fetcher{}, s.URL+"/a?sig="+signature, signature).wantError(t, "401")
	fetchInto(t, &Fetcher{}, address("/loop"), secret, signature).wantError(t, "redirected more than 5 times")
	fetchInto(t, &Fetcher{}, address("/file"), secret, signature).wantError(t, "not http")
	hasty := &Fetcher{Limits: Limits{Idle: 100 * time.Millisecond}}
	fetchInto(t, hasty, address("/dead"), secret, signature).wantError(t, "refused")
	fetchInto(t, &Fetcher{Limits: quick}, strings.Replace(address("/a"), "127.0.0.1", "does-not-exist.invalid", 1), secret, signature).wantError(t, "")
}

func TestTarballNotDowngraded(t *testing.T) {
	archive := tarGz(t, file("a", "1"))
	plain := httptest.NewServer(answer(archive))
	defer plain.Close()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL, http.StatusFound)
	}))
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	fetchInto(t, &Fetcher{TLS: &tls.Config{RootCAs: roots}}, s.URL+"/a").wantError(t, "redirected from https to "+plain.URL)
}

// TestTarballHostile unpacks one that is, from a server; the rest of the cases
// are TestExtractRefuses.
func TestTarballHostile(t *testing.T) {
	s := serve(t, map[string]http.HandlerFunc{
		"/evil": answer(tarGz(t, file("a", "1"), symlink("l", "/etc"), file("l/x", ""))),
		"/good": answer(tarGz(t, file("a", "1"))),
	})
	f := &Fetcher{}
	got := fetchInto(t, f, s.URL+"/evil")
	got.wantError(t, `"l"`, "outside")
	if !errors.Is(got.err, ErrArchive) {
		t.Errorf("%v is not ErrArchive", got.err)
	}
	mustFetch(t, f, s.URL+"/good").wantFile(t, "a", "1")
}

func TestTarballOfGitHub(t *testing.T) {
	s := serve(t, map[string]http.HandlerFunc{"/github/App": answer([]byte("<!DOCTYPE html>"))})
	got := fetchInto(t, &Fetcher{}, s.URL+"/github/App")
	got.wantError(t, "an HTML page")
	if want := "WARNING: " + s.URL + "/github/App might not be valid context."; !strings.Contains(got.out, want) {
		t.Errorf("%q is missing in\n%s", want, got.out)
	}
}
