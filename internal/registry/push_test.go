package registry_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
)

func TestPush_BlobMonolithically(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	body := []byte("one piece")
	d := s.blob("app", body)
	if a := s.want(http.StatusOK, "", "GET", "/v2/app/blobs/"+d.String(), nil); !bytes.Equal(a.body, body) {
		t.Errorf("got %q, want %q", a.body, body)
	}
}

func TestPush_BlobOfNoBytes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.blob("app", nil).String()
	s.want(http.StatusOK, "", "HEAD", "/v2/app/blobs/"+d, nil)
}

func TestPush_BlobInChunks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	body := []byte("0123456789abcdef")

	a := s.want(http.StatusAccepted, "", "POST", "/v2/app/blobs/uploads/", nil)
	a = s.want(http.StatusAccepted, "", "PATCH", a.header.Get("Location"), body[:10], octets, "Content-Range: 0-9")
	if got := a.header.Get("Range"); got != "0-9" {
		t.Errorf("Range %q, want 0-9", got)
	}
	// A chunk that does not join the last one is refused, and nothing is lost.
	s.want(http.StatusRequestedRangeNotSatisfiable, "RANGE_INVALID", "PATCH", a.header.Get("Location"), body[12:], octets, "Content-Range: 12-15")
	s.want(http.StatusRequestedRangeNotSatisfiable, "RANGE_INVALID", "PATCH", a.header.Get("Location"), body[10:], octets, "Content-Range: bytes 10-15/16")
	a = s.want(http.StatusNoContent, "", "GET", a.header.Get("Location"), nil)
	if got := a.header.Get("Range"); got != "0-9" {
		t.Errorf("after a wrong chunk: Range %q, want 0-9", got)
	}
	a = s.want(http.StatusAccepted, "", "PATCH", a.header.Get("Location"), body[10:13], octets, "Content-Range: 10-12")
	d := digest.FromBytes(body)
	s.want(http.StatusCreated, "", "PUT", with(a.header.Get("Location"), "digest="+d.String()), body[13:], octets, "Content-Range: 13-15")
	if a := s.want(http.StatusOK, "", "GET", "/v2/app/blobs/"+d.String(), nil); !bytes.Equal(a.body, body) {
		t.Errorf("got %q, want %q", a.body, body)
	}
}

// The client loses its connection, we are restarted, and the upload goes on
// where it stopped: GET tells where, and signs it with our new secret.
func TestPush_BlobResumed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	body := bytes.Repeat([]byte("resume me "), 1000)

	a := s.want(http.StatusAccepted, "", "POST", "/v2/app/blobs/uploads/", nil)
	a = s.want(http.StatusAccepted, "", "PATCH", a.header.Get("Location"), body[:4000], octets)
	session := path(t, a.header.Get("Location"))
	s.restart()

	s.want(http.StatusNotFound, "BLOB_UPLOAD_INVALID", "PATCH", session, body[4000:], octets)
	a = s.want(http.StatusNoContent, "", "GET", session, nil)
	if got := a.header.Get("Range"); got != "0-3999" {
		t.Fatalf("Range %q, want 0-3999", got)
	}
	a = s.want(http.StatusAccepted, "", "PATCH", a.header.Get("Location"), body[4000:], octets)
	d := digest.FromBytes(body).String()
	s.want(http.StatusCreated, "", "PUT", with(a.header.Get("Location"), "digest="+d), nil)
	if a := s.want(http.StatusOK, "", "GET", "/v2/app/blobs/"+d, nil); !bytes.Equal(a.body, body) {
		t.Errorf("the blob of two halves differs")
	}
}

func TestPush_BlobCancelled(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.want(http.StatusAccepted, "", "POST", "/v2/app/blobs/uploads/", nil)
	a = s.want(http.StatusAccepted, "", "PATCH", a.header.Get("Location"), []byte("never mind"), octets)
	s.want(http.StatusNoContent, "", "DELETE", a.header.Get("Location"), nil)
	s.want(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "GET", path(t, a.header.Get("Location")), nil)
}

func TestPush_BlobMount(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.blob("app", []byte("shared layer")).String()

	a := s.want(http.StatusCreated, "", "POST", "/v2/team/other/blobs/uploads/?mount="+d+"&from=app", nil)
	if got, want := path(t, a.header.Get("Location")), "/v2/team/other/blobs/"+d; got != want {
		t.Errorf("Location %s, want %s", got, want)
	}
	s.want(http.StatusOK, "", "HEAD", "/v2/team/other/blobs/"+d, nil)

	// What cannot be mounted becomes an upload.
	for _, from := range []string{"nobody", "..%2f..%2fapp", "UPPER"} {
		s.want(http.StatusAccepted, "", "POST", "/v2/third/blobs/uploads/?mount="+d+"&from="+from, nil)
	}
	s.want(http.StatusNotFound, "BLOB_UNKNOWN", "GET", "/v2/third/blobs/"+d, nil)
}

// A location has no host, so that it is right whatever name and scheme a
// client or a proxy in front of us uses.
func TestPush_Location(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, headers := range [][]string{
		{"Host: registry.test:1234"},
		{"Host: [::1]:5000"},
		{"Host: localhost:5000", "X-Forwarded-Proto: https", "X-Forwarded-Host: hub.test"},
	} {
		a := s.want(http.StatusAccepted, "", "POST", "/v2/app/blobs/uploads/", nil, headers...)
		if got, want := a.header.Get("Location"), "/v2/app/blobs/uploads/"; !strings.HasPrefix(got, want) {
			t.Errorf("%q: Location %s, want it below %s", headers, got, want)
		}
	}
}

func TestPush_ManifestRetag(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	want := s.push("app:v1", ociImage(t)).String()
	if err := crane.Tag(s.host()+"/app:v1", "v2", s.crane()...); err != nil {
		t.Fatal(err)
	}
	got, err := crane.Digest(s.host()+"/app:v2", s.crane()...)
	if err != nil || got != want {
		t.Errorf("v2 is %s, %v; want %s", got, err, want)
	}
	next := s.push("app:v2", ociImage(t)).String()
	if got, err := crane.Digest(s.host()+"/app:v2", s.crane()...); err != nil || got != next {
		t.Errorf("v2 is %s, %v; want %s", got, err, next)
	}
	if got, err := crane.Digest(s.host()+"/app:v1", s.crane()...); err != nil || got != want {
		t.Errorf("v1 moved to %s, %v; want %s", got, err, want)
	}
}

func TestPush_ManifestWithUnknownBlob(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	config := s.blob("app", []byte("{}"))
	body := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":2},
		"layers":[{"mediaType":"application/octet-stream","digest":"sha256:%064d","size":1}]}`, imageType, config, 0)
	s.want(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "PUT", "/v2/app/manifests/v1", body, "Content-Type: "+imageType)
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/app/manifests/v1", nil)
}

// Layers of Windows bases lie at their vendor's, and the manifest says where.
func TestPush_ManifestWithForeignLayer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	config := s.blob("app", []byte("{}"))
	const foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
	body := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},
		"layers":[{"mediaType":%q,"digest":"sha256:%064d","size":1,"urls":["https://vendor.test/layer"]}]}`, imageType, config, foreign, 0)
	s.want(http.StatusCreated, "", "PUT", "/v2/app/manifests/windows", body, "Content-Type: "+imageType)
}

// A push whose connection breaks before the manifest is complete leaves
// neither a manifest nor a tag.
func TestPush_ManifestCut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	config := s.blob("app", []byte("{}"))
	body := artifact(config, "")

	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.host())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "PUT /v2/app/manifests/v1 HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		s.host(), imageType, len(body)+1, body) // complete, for who does not count
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	conn.Close()
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("got %s, want 400", res.Status)
	}
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/app/manifests/v1", nil)
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/app/manifests/"+digest.FromBytes(body).String(), nil)
	s.want(http.StatusNotFound, "NAME_UNKNOWN", "GET", "/v2/app/tags/list", nil)
}

func TestPush_Concurrently(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	img := ociImage(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := remote.Write(s.ref(fmt.Sprintf("app:v%d", i%2)), img, s.options()...); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, tag := range []string{"v0", "v1"} {
		got, err := crane.Digest(s.host()+"/app:"+tag, s.crane()...)
		if want := hash(t, img).String(); err != nil || got != want {
			t.Errorf("%s is %s, %v; want %s", tag, got, err, want)
		}
	}
}

func TestPurgeUploads(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if n, err := s.reg.PurgeUploads(t.Context(), time.Now()); n != 0 || err != nil {
		t.Errorf("empty registry: purged %d, %v; want none", n, err)
	}
	kept := s.blob("app", []byte("kept")).String()
	a := s.want(http.StatusAccepted, "", "POST", "/v2/app/blobs/uploads/", nil)
	open := path(t, a.header.Get("Location"))
	a = s.want(http.StatusAccepted, "", "POST", "/v2/app/blobs/uploads/", nil)
	s.want(http.StatusBadRequest, "DIGEST_INVALID", "PUT", with(a.header.Get("Location"), "digest="+kept), []byte("not kept"), octets)

	if n, err := s.reg.PurgeUploads(t.Context(), time.Now().Add(-time.Hour)); n != 0 || err != nil {
		t.Errorf("purged %d young uploads, %v; want none", n, err)
	}
	if n, err := s.reg.PurgeUploads(t.Context(), time.Now().Add(time.Minute)); n != 2 || err != nil {
		t.Errorf("purged %d, %v; want 2", n, err)
	}
	s.want(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "GET", open, nil)
	s.want(http.StatusOK, "", "HEAD", "/v2/app/blobs/"+kept, nil)
}

// Uploads that begin and end while others are purged are not in the way.
func TestPurgeUploads_Meanwhile(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for range 30 {
				a := s.want(http.StatusAccepted, "", "POST", "/v2/app/blobs/uploads/", nil)
				a = s.want(http.StatusAccepted, "", "PATCH", a.header.Get("Location"), []byte("some"), octets)
				s.want(http.StatusNoContent, "", "DELETE", a.header.Get("Location"), nil)
			}
		})
	}
	ended := make(chan struct{})
	go func() { clients.Wait(); close(ended) }()
	for {
		if n, err := s.reg.PurgeUploads(t.Context(), time.Now().Add(-time.Hour)); n != 0 || err != nil {
			t.Errorf("purged %d, %v; want none", n, err)
		}
		select {
		case <-ended:
			return
		default:
		}
	}
}
