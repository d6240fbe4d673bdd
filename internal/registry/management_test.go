package registry_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestDelete_Tag(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.push("app:v1", ociImage(t)).String()
	if err := crane.Tag(s.host()+"/app:v1", "v2", s.crane()...); err != nil {
		t.Fatal(err)
	}
	s.want(http.StatusAccepted, "", "DELETE", "/v2/app/manifests/v1", nil)

	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/app/manifests/v1", nil)
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "DELETE", "/v2/app/manifests/v1", nil)
	s.want(http.StatusOK, "", "HEAD", "/v2/app/manifests/v2", nil)
	s.want(http.StatusOK, "", "HEAD", "/v2/app/manifests/"+d, nil)
}

func TestDelete_Manifest(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	img := ociImage(t)
	gone := s.push("app:v1", img).String()
	s.push("app:v2", img)
	s.push("app:keep", ociImage(t))
	if err := remote.Delete(s.ref("app@"+gone), s.options()...); err != nil {
		t.Fatal(err)
	}

	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/app/manifests/"+gone, nil)
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "DELETE", "/v2/app/manifests/"+gone, nil)
	tags, err := crane.ListTags(s.host()+"/app", s.crane()...)
	if diff := cmp.Diff([]string{"keep"}, tags); diff != "" || err != nil {
		t.Errorf("tags (-want +got), %v:\n%s", err, diff)
	}
	if back := s.push("app:v1", img).String(); back != gone {
		t.Errorf("pushed again as %s, want %s", back, gone)
	}
	s.want(http.StatusOK, "", "HEAD", "/v2/app/manifests/v1", nil)
}

func TestDelete_Blob(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.blob("app", []byte("layer")).String()
	s.want(http.StatusCreated, "", "POST", "/v2/other/blobs/uploads/?from=app&mount="+d, nil)
	s.want(http.StatusAccepted, "", "DELETE", "/v2/app/blobs/"+d, nil)

	s.want(http.StatusNotFound, "BLOB_UNKNOWN", "GET", "/v2/app/blobs/"+d, nil)
	s.want(http.StatusNotFound, "BLOB_UNKNOWN", "DELETE", "/v2/app/blobs/"+d, nil)
	s.want(http.StatusOK, "", "HEAD", "/v2/other/blobs/"+d, nil)
	s.blob("app", []byte("layer"))
	s.want(http.StatusOK, "", "HEAD", "/v2/app/blobs/"+d, nil)
}
