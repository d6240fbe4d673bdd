package source

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// silent is a server that accepts connections and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var held []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			held = append(held, c)
		}
		for _, c := range held {
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// drip answers with head at once, and then a byte now and then.
func drip(head string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		flush := http.NewResponseController(w)
		fmt.Fprint(w, head)
		for flush.Flush() == nil {
			select {
			case <-r.Context().Done():
				return
			case <-time.After(50 * time.Millisecond):
				fmt.Fprint(w, "0")
			}
		}
	}
}

// TestNoProgress goes to servers that hang and servers that dribble.
func TestNoProgress(t *testing.T) {
	slow := httptest.NewServer(drip(""))
	t.Cleanup(slow.Close)
	middle := httptest.NewServer(drip("001e# service=git-upload-pack\n0000" + strings.Repeat("0", 4<<10)))
	t.Cleanup(middle.Close)
	half := httptest.NewServer(drip(string(tarGz(t, file("a", noise(2<<10))))[:1<<10]))
	t.Cleanup(half.Close)
	addr := silent(t)
	for name, address := range map[string]string{
		"git that hangs":     "http://" + addr + "/x.git",
		"https that hangs":   "https://" + addr + "/x.git",
		"git:// that hangs":  "git://" + addr + "/x.git",
		"ssh that hangs":     "ssh://" + addr + "/x.git",
		"git that dribbles":  slow.URL + "/x.git",
		"git that stalls":    middle.URL + "/x.git",
		"file that hangs":    "http://" + addr + "/x.tar.gz",
		"file that dribbles": slow.URL + "/x.tar.gz",
		"file that stalls":   half.URL + "/x.tar.gz",
		"oci that hangs":     "oci://" + addr + "/x:1",
		"oci that dribbles":  "oci://" + strings.TrimPrefix(slow.URL, "http://") + "/x:1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			got := fetchInto(t, &Fetcher{Limits: quick}, address)
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
			if !errors.Is(got.err, ErrNoProgress) {
				t.Errorf("%v; want %v", got.err, ErrNoProgress)
			}
			got.wantError(t, "no progress")
		})
	}
}

func TestTotal(t *testing.T) {
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 1<<10)); err != nil {
				return
			}
			time.Sleep(100 * time.Microsecond)
		}
	}))
	defer endless.Close()
	for _, name := range []string{"/x.tar", "/x.git"} {
		limits := Limits{Total: 500 * time.Millisecond}
		fetchInto(t, &Fetcher{Limits: limits}, endless.URL+name).wantError(t, "not done within 500ms")
	}
}

// TestReceived holds what comes over the wire to the limit, and what it left
// on the disk to nothing.
func TestReceived(t *testing.T) {
	s := newGitServer(t)
	r := s.repo(t, "app.git")
	r.commit("main", map[string]string{"a": "1"})
	r.commit("big", map[string]string{"a": noise(4 << 20)})
	f := &Fetcher{Limits: Limits{Bytes: 1 << 20}}
	got := fetchInto(t, f, r.url+"#big")
	got.wantError(t, "more than 1.0 MiB received")
	if !errors.Is(got.err, ErrLimit) {
		t.Errorf("%v is not ErrLimit", got.err)
	}
	m := &mirror{dir: f.Dir}
	if size := m.size(); size > 64<<10 {
		t.Errorf("%d bytes are left of what was too much", size)
	}
	mustFetch(t, f, r.url).wantFile(t, "a", "1")
}
