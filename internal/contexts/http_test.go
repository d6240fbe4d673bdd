package contexts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// A counter counts what PUT requests carry.
type counter struct {
	mu    sync.Mutex
	puts  int
	bytes int64
}

func (c *counter) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			c.mu.Lock()
			c.puts++
			c.mu.Unlock()
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.TeeReader(r.Body, c), r.Body}
		}
		next.ServeHTTP(w, r)
	})
}

func (c *counter) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes += int64(len(b))
	return len(b), nil
}

func (c *counter) take() (int, int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	puts, n := c.puts, c.bytes
	c.puts, c.bytes = 0, 0
	return puts, n
}

// serve starts a daemon below a prefix, on TCP or on a unix socket.
func serve(t testing.TB, network string, h http.Handler) *Client {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.StripPrefix("/api/v1", h))
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.Close)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &Client{HTTP: &http.Client{Transport: transport}, URL: "http://acrd/api/v1"}
}

func upload(t testing.TB, c *Client, p *Packed) Digest {
	t.Helper()
	d, err := c.Upload(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestUpload(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		for _, compress := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, zstd %v", network, compress), func(t *testing.T) {
				s, dir := newStore(t), varied(t)
				fill(t, dir, map[string]string{"text": strings.Repeat("compress me ", 100_000)})
				var sent counter
				c := serve(t, network, sent.wrap(Handler(s)))
				c.Compress = compress
				var last, total int64 = -1, -1
				c.Progress = func(n, of int64) {
					if n < last || n > of {
						t.Errorf("progress %d of %d after %d", n, of, last)
					}
					last, total = n, of
				}
				p := pack(t, dir)
				if d := upload(t, c, p); d != p.Manifest.Digest() {
					t.Errorf("digest %v, want %v", d, p.Manifest.Digest())
				}
				sameTree(t, open(t, s, p.Manifest), p.Manifest)
				if last != total || total < 1_200_000 {
					t.Errorf("progress ended at %d of %d", last, total)
				}
				if _, n := sent.take(); (n < 200_000) != compress {
					t.Errorf("%d bytes on the wire", n)
				}

				upload(t, c, pack(t, dir))
				if puts, _ := sent.take(); puts > 0 {
					t.Errorf("unchanged: %d streams", puts)
				}
				age(t, dir, time.Unix(1_500_000_000, 0))
				upload(t, c, pack(t, dir))
				if puts, _ := sent.take(); puts > 0 {
					t.Errorf("fresh checkout: %d streams", puts)
				}
				fill(t, dir, map[string]string{"private": "q"})
				last = -1
				upload(t, c, pack(t, dir))
				if puts, n := sent.take(); puts != 1 || n > 100 || total != 1 {
					t.Errorf("one byte changed: %d streams, %d bytes, progress to %d", puts, n, total)
				}
			})
		}
	}
}

// between calls f once, before the first PUT is served.
func between(h http.Handler, f func()) http.Handler {
	var once sync.Once
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			once.Do(f)
		}
		h.ServeHTTP(w, r)
	})
}

func TestUploadCollected(t *testing.T) {
	for name, collect := range map[string]func(*Store){
		"the context": func(s *Store) {
			if _, err := s.Collect(context.Background(), 0, 0); err != nil {
				t.Error(err)
			}
		},
		"a content": func(s *Store) { os.Remove(s.blobPath(digestOf("one"))) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			add(t, s, pack(t, folder(t, map[string]string{"a": "one"})))
			c := serve(t, "tcp", between(Handler(s), func() { collect(s) }))
			p := pack(t, folder(t, map[string]string{"a": "one", "b": "two"}))
			upload(t, c, p)
			sameTree(t, open(t, s, p.Manifest), p.Manifest)
		})
	}
}

// TestUploadChanged changes the folder between packing and sending.
func TestUploadChanged(t *testing.T) {
	write := func(dir string, content string) { fill(t, dir, map[string]string{"b": content}) }
	for name, change := range map[string]func(dir string){
		"longer":  func(dir string) { write(dir, "longer") },
		"shorter": func(dir string) { write(dir, "") },
		"touched": func(dir string) { age(t, dir, time.Unix(1, 0)) },
		"not by its stat": func(dir string) {
			info, err := os.Stat(filepath.Join(dir, "b"))
			if err != nil {
				t.Fatal(err)
			}
			write(dir, "TWO")
			os.Chtimes(filepath.Join(dir, "b"), time.Time{}, info.ModTime())
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := newStore(t), folder(t, map[string]string{"a": "one", "b": "two", "c": "three"})
			c := serve(t, "tcp", Handler(s))
			p := pack(t, dir)
			change(dir)
			d := upload(t, c, p)
			if d != p.Manifest.Digest() {
				t.Errorf("digest %v, want that of what was sent, %v", d, p.Manifest.Digest())
			}
			tree := open(t, s, p.Manifest)
			for _, file := range []string{"a", "b", "c"} {
				want, err := os.ReadFile(filepath.Join(dir, file))
				if err != nil {
					t.Fatal(err)
				}
				if got, err := os.ReadFile(filepath.Join(tree.Dir, file)); string(got) != string(want) || err != nil {
					t.Errorf("%s is %q, %v; want %q", file, got, err, want)
				}
			}
		})
	}
}

func TestUploadRestless(t *testing.T) {
	s, dir := newStore(t), folder(t, map[string]string{"a": "one", "b": "two"})
	n := 0
	c := serve(t, "tcp", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			n++
			fill(t, dir, map[string]string{"b": strings.Repeat("x", n)})
		}
		Handler(s).ServeHTTP(w, r)
	}))
	var changed *ChangedError
	if _, err := c.Upload(t.Context(), pack(t, dir)); !errors.As(err, &changed) || changed.Path != "b" {
		t.Errorf("changed all the time: %v, want a ChangedError for b", err)
	}
	p := pack(t, dir)
	if err := os.Remove(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	if _, err := serve(t, "tcp", Handler(newStore(t))).Upload(t.Context(), p); !errors.As(err, &changed) || changed.Path != "a" {
		t.Errorf("gone: %v, want a ChangedError for a", err)
	}
}

// TestUploadRefused: the reason arrives, however much was still to be sent.
func TestUploadRefused(t *testing.T) {
	dir := folder(t, map[string]string{"big": strings.Repeat("x", 64<<20)})
	for _, network := range []string{"tcp", "unix"} {
		s := newStore(t)
		c := serve(t, network, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				WriteError(w, fmt.Errorf("write: %w", syscall.ENOSPC))
				return
			}
			Handler(s).ServeHTTP(w, r)
		}))
		var refused *ResponseError
		_, err := c.Upload(t.Context(), pack(t, dir))
		if !errors.As(err, &refused) || refused.Status != http.StatusInsufficientStorage || refused.Code != codeNoSpace {
			t.Errorf("%s: %v, want 507", network, err)
		}
	}
}

func TestUploadCanceled(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	c := serve(t, "tcp", between(Handler(s), cancel))
	p := pack(t, folder(t, map[string]string{"big": strings.Repeat("x", 64<<20)}))
	if _, err := c.Upload(ctx, p); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want canceled", err)
	}
	c.HTTP.CloseIdleConnections()
	upload(t, c, p)
}

func TestUploadForeignAnswer(t *testing.T) {
	p := pack(t, folder(t, map[string]string{"a": "x"}))
	for name, h := range map[string]http.HandlerFunc{
		"HTML":    func(w http.ResponseWriter, r *http.Request) { http.Error(w, "<h1>no</h1>", http.StatusBadGateway) },
		"no JSON": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") },
		"other contents": func(w http.ResponseWriter, r *http.Request) {
			json.NewEncoder(w).Encode(planAnswer{Missing: []Digest{digestOf("/etc/shadow")}})
		},
	} {
		if _, err := serve(t, "tcp", h).Upload(t.Context(), p); err == nil {
			t.Errorf("%s was taken for an answer", name)
		} else if name == "HTML" && !strings.Contains(err.Error(), "502 Bad Gateway") {
			t.Errorf("error %v; want one with the status", err)
		}
	}
}

func TestHandlerErrors(t *testing.T) {
	s := newStore(t)
	m := &Manifest{Entries: []Entry{fileEntry("a", "xx"), fileEntry("b", "yy")}}
	if _, err := s.Plan(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	x := blob(digestOf("xx"), 2, "xx")
	planned, unknown := "/contexts/"+m.Digest().String(), "/contexts/"+digestOf("?").String()
	hostile := (&Manifest{Entries: []Entry{fileEntry("../a", "x")}}).AppendBinary(nil)
	many := (&Manifest{Entries: make([]Entry, 100_001)}).AppendBinary(nil)
	zeros := packZstd(t, []byte(x+string(make([]byte, 32<<20))))
	tests := []struct {
		name, method, path, encoding string
		body                         []byte
		status                       int
		code                         string
	}{
		{"no manifest", "POST", "/contexts", "", nil, 400, codeInvalid},
		{"hostile manifest", "POST", "/contexts", "", hostile, 400, codeInvalid},
		{"many entries", "POST", "/contexts", "", many, 413, codeTooLarge},
		{"bad digest", "PUT", "/contexts/latest", "", nil, 400, codeInvalid},
		{"path for a digest", "PUT", "/contexts/..%2f..%2fx", "", nil, 400, codeInvalid},
		{"not planned", "PUT", unknown, "", nil, 404, codeNotFound},
		{"nothing sent", "PUT", planned, "", nil, 409, codeMissing},
		{"half sent", "PUT", planned, "", []byte(x), 409, codeMissing},
		{"not asked for", "PUT", planned, "", []byte(blob(digestOf("zz"), 2, "zz")), 400, codeInvalid},
		{"wrong content", "PUT", planned, "", []byte(blob(digestOf("yy"), 2, "zz")), 400, codeMismatch},
		{"gzip", "PUT", planned, "gzip", []byte(x), 400, codeInvalid},
		{"no zstd", "PUT", planned, "zstd", []byte(x), 400, codeInvalid},
		{"torn zstd", "PUT", planned, "zstd", packZstd(t, []byte(x))[:12], 400, codeInvalid},
		{"zstd bomb", "PUT", planned, "zstd", zeros, 400, codeInvalid},
		{"method", "GET", planned, "", nil, 405, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, tt.path, bytes.NewReader(tt.body))
			r.Header.Set("Content-Encoding", tt.encoding)
			w := httptest.NewRecorder()
			Handler(s).ServeHTTP(w, r)
			var answer errorAnswer
			if tt.code != "" {
				if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
					t.Fatal(err)
				}
			}
			if w.Code != tt.status || answer.Error.Code != tt.code || strings.Contains(w.Body.String(), s.Dir) {
				t.Errorf("answer %d %s; want %d %s", w.Code, w.Body, tt.status, tt.code)
			}
			if tt.status == 409 && len(answer.Missing) == 0 {
				t.Error("the list of what is missing is empty")
			}
		})
	}
}

func packZstd(t testing.TB, b []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return z.EncodeAll(b, nil)
}

// TestHandlerInternal: what goes wrong on the host is for its log only.
func TestHandlerInternal(t *testing.T) {
	s := &Store{Dir: filepath.Join(folder(t, map[string]string{"file": ""}), "file", "sub")}
	w := httptest.NewRecorder()
	body := bytes.NewReader((&Manifest{}).AppendBinary(nil))
	Handler(s).ServeHTTP(w, httptest.NewRequest("POST", "/contexts", body))
	if w.Code != 500 || strings.Contains(w.Body.String(), "file") {
		t.Errorf("answer %d %s; want 500 without a path", w.Code, w.Body)
	}
}

// TestHandlerStream sends a request that ends in its middle.
func TestHandlerStream(t *testing.T) {
	s := newStore(t)
	p := pack(t, folder(t, map[string]string{"a": "one", "b": "two"}))
	if _, err := s.Plan(t.Context(), p.Manifest); err != nil {
		t.Fatal(err)
	}
	body := io.MultiReader(strings.NewReader(blob(digestOf("one"), 3, "one")+"half"), failing{})
	r := httptest.NewRequest("PUT", "/contexts/"+p.Manifest.Digest().String(), body)
	w := httptest.NewRecorder()
	Handler(s).ServeHTTP(w, r)
	if w.Code != 400 {
		t.Errorf("answer %d %s, want 400", w.Code, w.Body)
	}
	missing, err := s.Plan(t.Context(), p.Manifest)
	if diff := cmp.Diff([]Digest{digestOf("two")}, missing); diff != "" || err != nil {
		t.Errorf("missing afterwards, %v (-want +got):\n%s", err, diff)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, &net.OpError{Op: "read", Err: syscall.ECONNRESET} }

// TestBodyDeadline: each read gives the sender another minute, and work after
// the last one is not cut off.
func TestBodyDeadline(t *testing.T) {
	w := &deadlines{ResponseWriter: httptest.NewRecorder()}
	b := body(w, httptest.NewRequest("PUT", "/", strings.NewReader("x")))
	if _, err := io.ReadAll(b); err != nil {
		t.Fatal(err)
	}
	if len(w.set) != 2 || time.Until(w.set[0]) < idleLimit/2 || !w.set[1].IsZero() {
		t.Errorf("deadlines %v; want one in a minute, then none", w.set)
	}
}

type deadlines struct {
	http.ResponseWriter
	set []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}
