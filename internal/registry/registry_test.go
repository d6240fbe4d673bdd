package registry_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acrd/internal/registry"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/sirupsen/logrus"
)

func TestOpen_BadFolder(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", file, filepath.Join(file, "below")} {
		if r, err := registry.Open(t.Context(), registry.Options{Dir: dir}); err == nil {
			t.Errorf("Open(%q) took it", dir)
			r.Close()
		}
	}
}

func TestOpen_Restart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	want := s.push("app:v1", ociImage(t)).String()
	s.restart()
	got, err := crane.Digest(s.host()+"/app:v1", s.crane()...)
	if err != nil || got != want {
		t.Errorf("after a restart: %s, %v; want %s", got, err, want)
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for range 2 {
		if err := s.reg.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	s.want(http.StatusServiceUnavailable, "UNAVAILABLE", "GET", "/v2/", nil)
	s.want(http.StatusServiceUnavailable, "UNAVAILABLE", "PUT", "/v2/app/manifests/v1", []byte("{}"))
	s.want(http.StatusServiceUnavailable, "UNAVAILABLE", "GET", "/v2/app/referrers/"+someone.String(), nil)
	if _, err := s.reg.PurgeUploads(t.Context(), time.Now()); err == nil {
		t.Error("PurgeUploads works on a closed registry")
	}
}

// gate is a body that says when it is first read, and then waits.
type gate struct {
	reached, open chan struct{}
}

func (g gate) Read([]byte) (int, error) {
	close(g.reached)
	<-g.open
	return 0, io.EOF
}

func TestClose_WaitsForRequests(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.want(http.StatusAccepted, "", "POST", "/v2/app/blobs/uploads/", nil)
	g := gate{make(chan struct{}), make(chan struct{})}
	req := httptest.NewRequestWithContext(t.Context(), "PATCH", a.header.Get("Location"), g)
	answered, closed := make(chan int, 1), make(chan error, 1)
	go func() {
		w := httptest.NewRecorder()
		s.reg.ServeHTTP(w, req)
		answered <- w.Code
	}()
	<-g.reached
	go func() { closed <- s.reg.Close() }()
	for s.do("GET", "/v2/", nil).status != http.StatusServiceUnavailable {
	}
	select {
	case <-closed:
		t.Error("Close did not wait")
	default:
	}
	close(g.open)
	if code := <-answered; code != http.StatusAccepted {
		t.Errorf("the request that ran got %d, want 202", code)
	}
	if err := <-closed; err != nil {
		t.Errorf("close: %v", err)
	}
}

// cut is a body whose client goes away.
type cut struct{}

func (cut) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

// An internal error is told in full to the log and in general to the client.
// Not parallel: the log of the last Open counts.
func TestLog(t *testing.T) {
	var out bytes.Buffer
	s := &site{t: t, dir: t.TempDir()}
	s.start(slog.New(slog.NewTextHandler(&out, nil)))
	t.Cleanup(s.stop)
	d := s.push("app:v1", ociImage(t))
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/app/manifests/v2", nil)
	if out.Len() > 0 {
		t.Errorf("ordinary requests are logged:\n%s", &out)
	}

	link := filepath.Join(s.dir, "docker/registry/v2/repositories/app/_manifests/revisions/sha256", d.Hex, "link")
	if err := errors.Join(os.Remove(link), os.Mkdir(link, 0o700)); err != nil {
		t.Fatal(err)
	}
	a := s.want(http.StatusInternalServerError, "UNKNOWN", "GET", "/v2/app/manifests/v1", nil)
	if strings.Contains(string(a.body), s.dir) {
		t.Errorf("the client learns our paths: %s", a.body)
	}
	if got := out.String(); !strings.Contains(got, "level=ERROR") || !strings.Contains(got, link) || !strings.Contains(got, "image=app") {
		t.Errorf("the log lacks the cause:\n%s", got)
	}
	if logrus.StandardLogger().Out == os.Stderr {
		t.Error("logrus still writes to stderr")
	}
}

// A client that leaves in mid-upload costs one answer, not two, and no panic.
func TestServeHTTP_ClientGone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.want(http.StatusAccepted, "", "POST", "/v2/app/blobs/uploads/", nil)
	w := httptest.NewRecorder()
	s.reg.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "PATCH", a.header.Get("Location"), cut{}))
	if strings.Contains(w.Body.String(), "connection reset") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	s.want(http.StatusNoContent, "", "GET", path(t, a.header.Get("Location")), nil)
}
