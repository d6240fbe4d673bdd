package registry_test

import (
	"net/http"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func TestPull_ManifestByTag(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	want := s.push("team/app:v1", ociImage(t))

	got, err := remote.Image(s.ref("team/app:v1"), s.options()...)
	if err != nil {
		t.Fatal(err)
	}
	if h := hash(t, got); h != want {
		t.Errorf("pulled %s, want %s", h, want)
	}
	if err := validate.Image(got); err != nil {
		t.Errorf("pulled image: %v", err)
	}
}

func TestPull_ManifestByDigest(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	want := s.push("app:v1", ociImage(t))
	a := s.want(http.StatusOK, "", "GET", "/v2/app/manifests/"+want.String(), nil)
	if got := a.header.Get("Docker-Content-Digest"); got != want.String() {
		t.Errorf("Docker-Content-Digest %s, want %s", got, want)
	}
}

func TestPull_Index(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	index, err := random.Index(256, 1, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(s.ref("app:multi"), index, s.options()...); err != nil {
		t.Fatal(err)
	}
	got, err := remote.Index(s.ref("app:multi"), s.options()...)
	if err != nil {
		t.Fatal(err)
	}
	if g, w := hash(t, got), hash(t, index); g != w {
		t.Errorf("pulled %s, want %s", g, w)
	}
	if err := validate.Index(got); err != nil {
		t.Errorf("pulled index: %v", err)
	}
}

// A client that takes any type gets what there is; one that names types it
// takes does not get another.
func TestPull_ManifestAccept(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.push("app:v1", ociImage(t))
	for _, accept := range []string{"*/*", "application/json, */*;q=0.1", string(types.OCIManifestSchema1)} {
		a := s.want(http.StatusOK, "", "GET", "/v2/app/manifests/v1", nil, "Accept: "+accept)
		if got := a.header.Get("Content-Type"); got != string(types.OCIManifestSchema1) {
			t.Errorf("Accept %q: got %s, want %s", accept, got, types.OCIManifestSchema1)
		}
	}
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/app/manifests/v1", nil,
		"Accept: "+string(types.DockerManifestSchema2))
}

func TestPull_HeadManifest(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	want := s.push("app:v1", ociImage(t))

	head := s.want(http.StatusOK, "", "HEAD", "/v2/app/manifests/v1", nil)
	get := s.want(http.StatusOK, "", "GET", "/v2/app/manifests/v1", nil)
	if len(head.body) != 0 {
		t.Errorf("HEAD has a body of %d bytes", len(head.body))
	}
	for _, key := range []string{"Content-Type", "Content-Length", "Docker-Content-Digest", "Etag"} {
		if h, g := head.header.Get(key), get.header.Get(key); h == "" || h != g {
			t.Errorf("%s: HEAD says %q, GET %q", key, h, g)
		}
	}
	s.want(http.StatusNotModified, "", "GET", "/v2/app/manifests/v1", nil, "If-None-Match: \""+want.String()+"\"")
	s.want(http.StatusNotFound, "", "HEAD", "/v2/app/manifests/v2", nil)
}

func TestPull_Blob(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	page := []byte("<html><script>alert(1)</script></html>")
	d := s.blob("app", page).String()

	get := s.want(http.StatusOK, "", "GET", "/v2/app/blobs/"+d, nil)
	if string(get.body) != string(page) {
		t.Errorf("got %q, want %q", get.body, page)
	}
	if ct := get.header.Get("Content-Type"); ct != "application/octet-stream" || get.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("a browser may take a blob for %s", ct)
	}
	head := s.want(http.StatusOK, "", "HEAD", "/v2/app/blobs/"+d, nil)
	if got := head.header.Get("Content-Length"); got != "38" {
		t.Errorf("HEAD: Content-Length %s, want 38", got)
	}
	part := s.want(http.StatusPartialContent, "", "GET", "/v2/app/blobs/"+d, nil, "Range: bytes=1-4")
	if string(part.body) != "html" {
		t.Errorf("range: got %q, want %q", part.body, "html")
	}
}

func TestPull_NotFound(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.push("app:v1", ociImage(t))
	const none = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/app/manifests/v2", nil)
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/app/manifests/"+none, nil)
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/app/manifests/.not-a-tag", nil)
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/nobody/manifests/v1", nil)
	s.want(http.StatusNotFound, "BLOB_UNKNOWN", "GET", "/v2/app/blobs/"+none, nil)
	s.want(http.StatusNotFound, "NAME_UNKNOWN", "GET", "/v2/nobody/tags/list", nil)
	s.want(http.StatusNotFound, "UNSUPPORTED", "GET", "/v2/app/nothing/here", nil)
	s.want(http.StatusNotFound, "UNSUPPORTED", "GET", "/v2/app", nil)
}

// A blob is visible only in repositories that got it.
func TestPull_BlobOfOtherRepository(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.blob("app", []byte("private")).String()
	s.want(http.StatusNotFound, "BLOB_UNKNOWN", "GET", "/v2/other/blobs/"+d, nil)
}

func TestPull_BesideOtherHandlers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.want(http.StatusOK, "", "GET", "/v2/", nil)
	if got := a.header.Get("Docker-Distribution-API-Version"); got != "registry/2.0" {
		t.Errorf("API version %q, want registry/2.0", got)
	}
	if a := s.do("GET", "/ui", nil); string(a.body) != "beside" {
		t.Errorf("GET /ui went to the registry: %q", a.body)
	}
}

func TestPull_Crane(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	want := s.push("app:v1", ociImage(t)).String()
	if err := crane.Copy(s.host()+"/app:v1", s.host()+"/mirror/app:v1", s.crane()...); err != nil {
		t.Fatal(err)
	}
	got, err := crane.Digest(s.host()+"/mirror/app:v1", s.crane()...)
	if err != nil || got != want {
		t.Errorf("digest of the copy: %s, %v; want %s", got, err, want)
	}
}
