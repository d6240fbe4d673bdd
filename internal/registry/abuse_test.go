package registry_test

import (
	"bytes"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestAbuse_ManifestOfFiveMegabytes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	large := bytes.Repeat([]byte(" "), 5<<20)
	s.want(http.StatusRequestEntityTooLarge, "MANIFEST_INVALID", "PUT", "/v2/app/manifests/v1", large, "Content-Type: "+imageType)

	// And without a length to go by.
	req := httptest.NewRequestWithContext(t.Context(), "PUT", "/v2/app/manifests/v1", bytes.NewReader(large))
	req.ContentLength = -1
	w := httptest.NewRecorder()
	s.reg.ServeHTTP(w, req)
	if a := (answer{w.Code, w.Header(), w.Body.Bytes()}); a.status != http.StatusRequestEntityTooLarge || a.code() != "MANIFEST_INVALID" {
		t.Errorf("chunked: got %d %s, want 413 MANIFEST_INVALID", a.status, a.code())
	}

	// The largest that goes is not refused for its size.
	config := s.blob("app", []byte("{}"))
	body := artifact(config, `"annotations":{"a":"`)
	body = append(body[:len(body)-1], strings.Repeat("x", 4<<20-len(body)-2)+`"}}`...)
	s.want(http.StatusCreated, "", "PUT", "/v2/app/manifests/v1", body, "Content-Type: "+imageType)
	s.want(http.StatusRequestEntityTooLarge, "MANIFEST_INVALID", "PUT", "/v2/app/manifests/v1", append(body, ' '), "Content-Type: "+imageType)
}

func TestAbuse_Manifests(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	body := artifact(s.blob("app", []byte("{}")), "")
	for target, want := range map[string]string{
		"/v2/app/manifests/" + digest.FromString("other").String(): "DIGEST_INVALID",
		"/v2/app/manifests/sha256:abc":                             "DIGEST_INVALID",
		"/v2/app/manifests/md5:d41d8cd98f00b204e9800998ecf8427e":   "DIGEST_INVALID",
		"/v2/app/manifests/.tag":                                   "TAG_INVALID",
		"/v2/app/manifests/" + strings.Repeat("t", 129):            "TAG_INVALID",
	} {
		s.want(http.StatusBadRequest, want, "PUT", target, body, "Content-Type: "+imageType)
	}
	for _, garbage := range []string{"", "[]", "{", "\x00", `{"schemaVersion":2}`, strings.Repeat("[", 100_000)} {
		s.want(http.StatusBadRequest, "MANIFEST_INVALID", "PUT", "/v2/app/manifests/v1", []byte(garbage), "Content-Type: text/plain")
	}
	s.want(http.StatusNotFound, "NAME_UNKNOWN", "GET", "/v2/app/tags/list", nil)
}

// What a digest promises is measured, not believed.
func TestAbuse_WrongDigest(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	right := digest.FromString("right").String()
	for param, code := range map[string]string{
		"digest=" + right:       "DIGEST_INVALID",
		"digest=sha256:abc":     "DIGEST_INVALID",
		"digest=..%2f..%2fpath": "DIGEST_INVALID",
		"digest=":               "DIGEST_INVALID",
	} {
		a := s.want(http.StatusAccepted, "", "POST", "/v2/app/blobs/uploads/", nil)
		s.want(http.StatusBadRequest, code, "PUT", with(a.header.Get("Location"), param), []byte("wrong"), octets)
	}
	s.want(http.StatusNotFound, "BLOB_UNKNOWN", "GET", "/v2/app/blobs/"+right, nil)
}

// A session belongs to its repository, and its offset is signed.
func TestAbuse_Session(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.want(http.StatusAccepted, "", "POST", "/v2/app/blobs/uploads/", nil)
	location := a.header.Get("Location")

	other := strings.Replace(location, "/v2/app/", "/v2/other/", 1)
	s.want(http.StatusNotFound, "BLOB_UPLOAD_INVALID", "PATCH", other, []byte("x"), octets)
	s.want(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "GET", other, nil)
	s.want(http.StatusNotFound, "BLOB_UPLOAD_INVALID", "DELETE", other, nil)
	s.want(http.StatusNotFound, "BLOB_UPLOAD_INVALID", "PATCH", path(t, location), []byte("x"), octets)
	s.want(http.StatusNotFound, "BLOB_UPLOAD_INVALID", "PATCH", path(t, location)+"?_state=AAAA", []byte("x"), octets)
	for session, code := range map[string]string{
		"x":                                    "BLOB_UPLOAD_UNKNOWN",
		"01234567-89ab-cdef-0123-456789abcdef": "BLOB_UPLOAD_UNKNOWN",
		"01234567-89ab-cdef-0123-456789abcdeg": "BLOB_UPLOAD_UNKNOWN",
		"%2e%2e%2f_manifests":                  "UNSUPPORTED",
		"..%2f..":                              "UNSUPPORTED",
	} {
		s.want(http.StatusNotFound, code, "GET", "/v2/app/blobs/uploads/"+session, nil)
	}
	s.want(http.StatusUnsupportedMediaType, "BLOB_UPLOAD_INVALID", "PATCH", location, []byte("a=b"), "Content-Type: application/x-www-form-urlencoded")
	s.want(http.StatusAccepted, "", "PATCH", location, []byte("x"), octets)
}

func TestAbuse_Paths(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, target := range []string{
		"/v2/..%2f..%2fetc/manifests/latest",
		"/v2/app%2f..%2f..%2fother/manifests/latest",
		"/v2/%2e%2e/manifests/latest",
		"/v2/app/..%2f../manifests/latest",
		"/v2/%2fetc%2fpasswd/manifests/latest",
		"/v2/app%00/manifests/latest",
		"/v2/app%5c..%5cother/manifests/latest",
		"/v2/App/manifests/latest",
		"/v2/host.test:5000/app/manifests/latest",
		"/v2/_catalog/manifests/latest",
		"/v2/app/_layers/manifests/latest",
		"/v2/a..b/manifests/latest",
		"/v2/-app/manifests/latest",
		"/v2/" + strings.Repeat("a", 256) + "/manifests/latest",
		"/v2/" + strings.Repeat("a/", 200) + "a/manifests/latest",
	} {
		s.want(http.StatusBadRequest, "NAME_INVALID", "GET", target, nil)
		s.want(http.StatusBadRequest, "NAME_INVALID", "POST", strings.Replace(target, "manifests/latest", "blobs/uploads/", 1), nil)
	}
	s.want(http.StatusBadRequest, "DIGEST_INVALID", "GET", "/v2/app/blobs/..%3a"+strings.Repeat("a", 64), nil)

	// Straight into the handler, where no mux has cleaned the path.
	for _, target := range []string{"/v2/../v2/_catalog", "/v2//app/tags/list", "/v2/app//tags/list", "/v2/./tags/list", "/etc/passwd", "/"} {
		w := httptest.NewRecorder()
		s.reg.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", target, nil))
		if w.Code != http.StatusBadRequest && w.Code != http.StatusNotFound {
			t.Errorf("%s: got %d, want 400 or 404", target, w.Code)
		}
	}

	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("a refused request left %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Words of the API are good names.
func TestAbuse_ConfusingNames(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, repo := range []string{"manifests", "blobs/uploads", "a/referrers/b", "tags/list", "v2/v2", "a/manifests/b/blobs", "x__y/z.w-v"} {
		want := s.push(repo+":latest", ociImage(t)).String()
		a := s.want(http.StatusOK, "", "GET", "/v2/"+repo+"/manifests/latest", nil)
		if got := a.header.Get("Docker-Content-Digest"); got != want {
			t.Errorf("%s: got %s, want %s", repo, got, want)
		}
		if tags, _ := s.list("/v2/"+repo+"/tags/list", "tags"); len(tags) != 1 {
			t.Errorf("%s: tags %v, want latest", repo, tags)
		}
	}
}
