package registry_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The tests of this file are named after the sections of the OCI
// distribution-spec 1.1, and say in its words what they want: with nothing but
// the requests that it describes. docs/oci.md has a table of all sections, and
// of the tests that look closer.

// TestSpec_Table holds docs/oci.md to the tests that there are.
func TestSpec_Table(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/oci.md")
	if err != nil {
		t.Fatal(err)
	}
	var tests []string
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		b, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)`).FindAllSubmatch(b, -1) {
			tests = append(tests, string(m[1]))
		}
	}
	named := regexp.MustCompile("`(Test\\w+)`").FindAllSubmatch(page, -1)
	for _, m := range named {
		if !slices.Contains(tests, string(m[1])) {
			t.Errorf("docs/oci.md names %s, which is no test", m[1])
		}
	}
	for _, test := range tests {
		if strings.HasPrefix(test, "TestSpec_") && !bytes.Contains(page, []byte("`"+test+"`")) {
			t.Errorf("docs/oci.md lacks %s", test)
		}
	}
}

// manifest pushes an image of one config by a tag, or by its digest if the tag
// is empty.
func (s *site) manifest(repo, tag string, config digest.Digest, members string) (digest.Digest, []byte) {
	s.t.Helper()
	body := artifact(config, members)
	d := digest.FromBytes(body)
	if tag == "" {
		tag = d.String()
	}
	s.want(http.StatusCreated, "", "PUT", "/v2/"+repo+"/manifests/"+tag, body, "Content-Type: "+imageType)
	return d, body
}

func TestSpec_DeterminingSupport(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.want(http.StatusOK, "", "GET", "/v2/", nil)
}

func TestSpec_PullingManifests(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d, body := s.manifest("app", "v1", s.blob("app", []byte("{}")), "")
	for _, reference := range []string{"v1", d.String()} {
		a := s.want(http.StatusOK, "", "GET", "/v2/app/manifests/"+reference, nil, "Accept: "+imageType)
		if !bytes.Equal(a.body, body) || a.header.Get("Content-Type") != imageType || a.header.Get("Docker-Content-Digest") != d.String() {
			t.Errorf("%s: %s of type %s and digest %s", reference, a.body, a.header.Get("Content-Type"), a.header.Get("Docker-Content-Digest"))
		}
	}
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/app/manifests/none", nil)
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/app/manifests/"+someone.String(), nil)
}

func TestSpec_PullingBlobs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	body := []byte("0123456789")
	d := s.blob("app", body).String()
	a := s.want(http.StatusOK, "", "GET", "/v2/app/blobs/"+d, nil)
	if !bytes.Equal(a.body, body) || a.header.Get("Docker-Content-Digest") != d {
		t.Errorf("got %q with digest %s", a.body, a.header.Get("Docker-Content-Digest"))
	}
	part := s.want(http.StatusPartialContent, "", "GET", "/v2/app/blobs/"+d, nil, "Range: bytes=2-4")
	if string(part.body) != "234" || part.header.Get("Content-Range") != "bytes 2-4/10" {
		t.Errorf("range: %q, %s", part.body, part.header.Get("Content-Range"))
	}
	s.want(http.StatusRequestedRangeNotSatisfiable, "", "GET", "/v2/app/blobs/"+d, nil, "Range: bytes=99-")
	s.want(http.StatusNotFound, "BLOB_UNKNOWN", "GET", "/v2/app/blobs/"+someone.String(), nil)
}

func TestSpec_CheckingIfContentExists(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	config := s.blob("app", []byte("{}"))
	d, body := s.manifest("app", "v1", config, "")
	for target, size := range map[string]int{
		"/v2/app/manifests/v1": len(body), "/v2/app/manifests/" + d.String(): len(body), "/v2/app/blobs/" + config.String(): 2,
	} {
		a := s.want(http.StatusOK, "", "HEAD", target, nil)
		if len(a.body) > 0 || a.header.Get("Content-Length") != strconv.Itoa(size) {
			t.Errorf("HEAD %s: a body of %d bytes, Content-Length %s, want %d", target, len(a.body), a.header.Get("Content-Length"), size)
		}
	}
	for _, target := range []string{"/v2/app/manifests/none", "/v2/app/manifests/" + someone.String(), "/v2/app/blobs/" + someone.String(), "/v2/none/manifests/v1"} {
		s.want(http.StatusNotFound, "", "HEAD", target, nil)
	}
}

// POST then PUT, and a single POST: a registry may take the latter for the
// start of the former, and says so by 202.
func TestSpec_PushingABlobMonolithically(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	body := []byte("in one piece")
	d := digest.FromBytes(body).String()
	a := s.want(http.StatusAccepted, "", "POST", "/v2/app/blobs/uploads/", nil)
	if a.header.Get("Location") == "" {
		t.Fatal("POST: no Location")
	}
	a = s.want(http.StatusCreated, "", "PUT", with(a.header.Get("Location"), "digest="+d), body, octets)
	s.located(a, body)

	body = []byte("in one request")
	d = digest.FromBytes(body).String()
	a = s.do("POST", "/v2/app/blobs/uploads/?digest="+d, body, octets)
	if a.status == http.StatusAccepted {
		a = s.want(http.StatusCreated, "", "PUT", with(a.header.Get("Location"), "digest="+d), body, octets)
	}
	if a.status != http.StatusCreated {
		t.Fatalf("single POST: %d %s", a.status, a.body)
	}
	s.located(a, body)

	a = s.want(http.StatusAccepted, "", "POST", "/v2/app/blobs/uploads/", nil)
	s.want(http.StatusBadRequest, "DIGEST_INVALID", "PUT", with(a.header.Get("Location"), "digest="+someone.String()), body, octets)
}

// located wants what an answer's Location is to be pulled from.
func (s *site) located(a answer, body []byte) {
	s.t.Helper()
	got := s.want(http.StatusOK, "", "GET", a.header.Get("Location"), nil)
	if !bytes.Equal(got.body, body) {
		s.t.Errorf("at %s is %q, want %q", a.header.Get("Location"), got.body, body)
	}
}

func TestSpec_PushingABlobInChunks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	body := []byte("first,second,last")
	a := s.want(http.StatusAccepted, "", "POST", "/v2/app/blobs/uploads/", nil, "Content-Length: 0")
	for _, chunk := range [][2]int{{0, 5}, {6, 12}} {
		from, to := chunk[0], chunk[1]
		a = s.want(http.StatusAccepted, "", "PATCH", a.header.Get("Location"), body[from:to+1], octets, fmt.Sprintf("Content-Range: %d-%d", from, to))
		if want := fmt.Sprintf("0-%d", to); a.header.Get("Range") != want || a.header.Get("Location") == "" {
			t.Errorf("Range %q, want %s; Location %q", a.header.Get("Range"), want, a.header.Get("Location"))
		}
	}
	// Out of order, and the way back: GET tells where the upload is.
	s.want(http.StatusRequestedRangeNotSatisfiable, "RANGE_INVALID", "PATCH", a.header.Get("Location"), body[:6], octets, "Content-Range: 0-5")
	a = s.want(http.StatusNoContent, "", "GET", a.header.Get("Location"), nil)
	if a.header.Get("Range") != "0-12" || a.header.Get("Location") == "" {
		t.Errorf("GET: Range %q, Location %q", a.header.Get("Range"), a.header.Get("Location"))
	}
	a = s.want(http.StatusCreated, "", "PUT", with(a.header.Get("Location"), "digest="+digest.FromBytes(body).String()), body[13:], octets, "Content-Range: 13-16")
	s.located(a, body)
}

func TestSpec_CancelABlobUpload(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.want(http.StatusAccepted, "", "POST", "/v2/app/blobs/uploads/", nil)
	s.want(http.StatusNoContent, "", "DELETE", a.header.Get("Location"), nil)
	s.want(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "GET", a.header.Get("Location"), nil)
	s.want(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "DELETE", a.header.Get("Location"), nil)
}

func TestSpec_MountingABlobFromAnotherRepository(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	body := []byte("shared")
	d := s.blob("from", body).String()
	a := s.want(http.StatusCreated, "", "POST", "/v2/to/blobs/uploads/?mount="+d+"&from=from", nil)
	s.located(a, body)
	// What cannot be mounted becomes an upload.
	for _, query := range []string{"mount=" + someone.String() + "&from=from", "mount=" + d + "&from=none", "mount=" + d} {
		a := s.want(http.StatusAccepted, "", "POST", "/v2/third/blobs/uploads/?"+query, nil)
		s.want(http.StatusNoContent, "", "GET", a.header.Get("Location"), nil)
	}
}

func TestSpec_PushingManifests(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	config := s.blob("app", []byte("{}"))
	body := artifact(config, "")
	d := digest.FromBytes(body)
	for _, reference := range []string{"v1", d.String()} {
		a := s.want(http.StatusCreated, "", "PUT", "/v2/app/manifests/"+reference, body, "Content-Type: "+imageType)
		if got := a.header.Get("Docker-Content-Digest"); got != d.String() {
			t.Errorf("%s: digest %s, want %s", reference, got, d)
		}
		s.located(a, body)
	}
	s.want(http.StatusBadRequest, "DIGEST_INVALID", "PUT", "/v2/app/manifests/"+someone.String(), body, "Content-Type: "+imageType)
	s.want(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "PUT", "/v2/app/manifests/v1", artifact(someone, ""), "Content-Type: "+imageType)
	s.want(http.StatusBadRequest, "MANIFEST_INVALID", "PUT", "/v2/app/manifests/v1", []byte("{"), "Content-Type: "+imageType)
	if a := s.do("PUT", "/v2/app/manifests/v1", bytes.Repeat([]byte(" "), 4<<20+1), "Content-Type: "+imageType); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a manifest above the limit: %d", a.status)
	}
}

func TestSpec_PushingManifestsWithSubject(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	config := s.blob("app", []byte("{}"))
	body := artifact(config, subject(someone)) // it need not exist
	a := s.want(http.StatusCreated, "", "PUT", "/v2/app/manifests/"+digest.FromBytes(body).String(), body, "Content-Type: "+imageType)
	if got := a.header.Get("OCI-Subject"); got != someone.String() {
		t.Errorf("OCI-Subject %q, want %s", got, someone)
	}
	a = s.want(http.StatusCreated, "", "PUT", "/v2/app/manifests/v1", artifact(config, ""), "Content-Type: "+imageType)
	if got := a.header.Get("OCI-Subject"); got != "" {
		t.Errorf("OCI-Subject %q of a manifest without", got)
	}
}

func TestSpec_ListingTags(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	config := s.blob("app", []byte("{}"))
	want := []string{"A", "a", "b", "latest", "v1.0", "v1.10"}
	for _, tag := range slices.Backward(want) {
		s.manifest("app", tag, config, "")
	}
	for _, row := range []struct {
		query string
		want  []string
	}{
		{"", want}, {"?n=2", want[:2]}, {"?n=0", nil}, {"?last=a", want[2:]}, {"?n=2&last=a", want[2:4]}, {"?n=99", want}, {"?last=zzz", nil},
	} {
		a := s.want(http.StatusOK, "", "GET", "/v2/app/tags/list"+row.query, nil)
		var list struct {
			Name string
			Tags []string
		}
		if err := json.Unmarshal(a.body, &list); err != nil || list.Name != "app" || !slices.Equal(list.Tags, row.want) {
			t.Errorf("%s: %s, %v; want %v", row.query, a.body, err, row.want)
		}
	}
	got, _ := s.list("/v2/app/tags/list?n=1", "tags") // by Link
	if !slices.Equal(got, want) {
		t.Errorf("page by page: %v", got)
	}
	s.want(http.StatusNotFound, "NAME_UNKNOWN", "GET", "/v2/none/tags/list", nil)
}

func TestSpec_ListingReferrers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	config := s.blob("app", []byte("{}"))
	subj, _ := s.manifest("app", "v1", config, "")
	typed, _ := s.manifest("app", "", config, `"artifactType":"a/b","annotations":{"k":"v"},`+subject(subj))
	plain, _ := s.manifest("app", "", config, subject(subj))
	referrers := func(of digest.Digest, query string) (map[string]ocispec.Descriptor, answer) {
		t.Helper()
		a := s.want(http.StatusOK, "", "GET", "/v2/app/referrers/"+of.String()+query, nil)
		var list struct {
			SchemaVersion int
			MediaType     string
			Manifests     []ocispec.Descriptor
		}
		if err := json.Unmarshal(a.body, &list); err != nil || list.SchemaVersion != 2 || list.MediaType != ocispec.MediaTypeImageIndex ||
			list.Manifests == nil || a.header.Get("Content-Type") != ocispec.MediaTypeImageIndex {
			t.Fatalf("%s is no index of type %s: %v", a.body, a.header.Get("Content-Type"), err)
		}
		found := map[string]ocispec.Descriptor{}
		for _, d := range list.Manifests {
			found[d.Digest.String()] = d
		}
		return found, a
	}

	all, a := referrers(subj, "")
	if len(all) != 2 || a.header.Get("OCI-Filters-Applied") != "" {
		t.Fatalf("%v, filters %q", all, a.header.Get("OCI-Filters-Applied"))
	}
	if d := all[typed.String()]; d.ArtifactType != "a/b" || d.Annotations["k"] != "v" || d.MediaType != imageType || d.Size == 0 {
		t.Errorf("with an artifactType: %+v", d)
	}
	if d := all[plain.String()]; d.ArtifactType != "application/vnd.test.config" {
		t.Errorf("without: the type of the config, not %q", d.ArtifactType)
	}
	some, a := referrers(subj, "?artifactType=a%2Fb")
	if len(some) != 1 || some[typed.String()].Digest == "" || a.header.Get("OCI-Filters-Applied") != "artifactType" {
		t.Errorf("filtered: %v, filters %q", some, a.header.Get("OCI-Filters-Applied"))
	}
	if none, _ := referrers(someone, ""); len(none) > 0 { // an empty list, and no 404
		t.Errorf("of nothing: %v", none)
	}
	s.want(http.StatusBadRequest, "DIGEST_INVALID", "GET", "/v2/app/referrers/v1", nil)
	s.want(http.StatusAccepted, "", "DELETE", "/v2/app/manifests/"+plain.String(), nil)
	if left, _ := referrers(subj, ""); len(left) != 1 {
		t.Errorf("after a deletion: %v", left)
	}
}

func TestSpec_DeletingTags(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	config := s.blob("app", []byte("{}"))
	d, _ := s.manifest("app", "v1", config, "")
	s.manifest("app", "v2", config, "")
	s.want(http.StatusAccepted, "", "DELETE", "/v2/app/manifests/v1", nil)
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/app/manifests/v1", nil)
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "DELETE", "/v2/app/manifests/v1", nil)
	for _, reference := range []string{"v2", d.String()} {
		s.want(http.StatusOK, "", "GET", "/v2/app/manifests/"+reference, nil)
	}
}

func TestSpec_DeletingManifests(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	config := s.blob("app", []byte("{}"))
	d, _ := s.manifest("app", "v1", config, "")
	s.want(http.StatusAccepted, "", "DELETE", "/v2/app/manifests/"+d.String(), nil)
	for _, reference := range []string{"v1", d.String()} {
		s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/app/manifests/"+reference, nil)
		s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "DELETE", "/v2/app/manifests/"+reference, nil)
	}
}

func TestSpec_DeletingBlobs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.blob("app", []byte("blob")).String()
	s.want(http.StatusAccepted, "", "DELETE", "/v2/app/blobs/"+d, nil)
	s.want(http.StatusNotFound, "BLOB_UNKNOWN", "GET", "/v2/app/blobs/"+d, nil)
	s.want(http.StatusNotFound, "BLOB_UNKNOWN", "DELETE", "/v2/app/blobs/"+d, nil)
}

// Every refusal has a body of one form, and a code that the spec lists.
func TestSpec_ErrorCodes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	codes := []string{
		"BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN", "MANIFEST_INVALID",
		"MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "UNAUTHORIZED", "DENIED", "UNSUPPORTED", "TOOMANYREQUESTS",
	}
	for _, request := range []string{
		"GET /v2/app/blobs/" + someone.String(), "GET /v2/app/manifests/v1", "GET /v2/none/tags/list", "GET /v2/UPPER/tags/list",
		"PUT /v2/app/manifests/v1", "DELETE /v2/app/manifests/v1", "GET /v2/app/blobs/sha256:x", "GET /v2/nothing",
		"GET /v2/app/blobs/uploads/00000000-0000-0000-0000-000000000000",
	} {
		method, target, _ := strings.Cut(request, " ")
		a := s.do(method, target, nil)
		var body struct {
			Errors []struct{ Code, Message string }
		}
		if err := json.Unmarshal(a.body, &body); err != nil || len(body.Errors) == 0 || !slices.Contains(codes, body.Errors[0].Code) ||
			a.status < 400 || a.status >= 500 || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
			t.Errorf("%s: %d %s %s", request, a.status, a.header.Get("Content-Type"), a.body)
		}
	}
}

// A client that has met a registry without referrers keeps them in an index
// under a tag, which is left alone here.
func TestSpec_ReferrersTagSchema(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	config := s.blob("app", []byte("{}"))
	subj, _ := s.manifest("app", "v1", config, "")
	tag := "sha256-" + subj.Encoded()
	index := []byte(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]}`)
	s.want(http.StatusCreated, "", "PUT", "/v2/app/manifests/"+tag, index, "Content-Type: "+ocispec.MediaTypeImageIndex)
	if a := s.want(http.StatusOK, "", "GET", "/v2/app/manifests/"+tag, nil); !bytes.Equal(a.body, index) {
		t.Errorf("got %s", a.body)
	}
	s.want(http.StatusOK, "", "GET", "/v2/app/referrers/"+subj.String(), nil)
}
