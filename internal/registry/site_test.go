package registry_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"acrd/internal/registry"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a registry on a port, mounted as the daemon mounts it.
type site struct {
	t      testing.TB
	dir    string
	with   registry.Options // beside Dir and Log
	reg    *registry.Registry
	server *httptest.Server
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	s.start(nil)
	t.Cleanup(s.stop)
	return s
}

func (s *site) start(log *slog.Logger) {
	s.t.Helper()
	s.with.Dir, s.with.Log = s.dir, log
	reg, err := registry.Open(s.t.Context(), s.with)
	if err != nil {
		s.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/v2/", reg)
	mux.Handle("/acr/v1/", reg.Data())
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "beside") })
	s.reg, s.server = reg, httptest.NewServer(mux)
}

func (s *site) stop() {
	s.server.Close()
	if err := s.reg.Close(); err != nil {
		s.t.Errorf("close: %v", err)
	}
}

func (s *site) restart() {
	s.t.Helper()
	s.stop()
	s.start(nil)
}

func (s *site) host() string { return strings.TrimPrefix(s.server.URL, "http://") }

func (s *site) ref(image string) name.Reference {
	s.t.Helper()
	ref, err := name.ParseReference(s.host() + "/" + image)
	if err != nil {
		s.t.Fatal(err)
	}
	return ref
}

func (s *site) repo(image string) name.Repository { return s.ref(image).Context() }

// options are for remote, crane those for crane.
func (s *site) options() []remote.Option {
	return []remote.Option{remote.WithContext(s.t.Context()), remote.WithTransport(s.server.Client().Transport)}
}

func (s *site) crane() []crane.Option {
	return []crane.Option{crane.WithContext(s.t.Context()), crane.WithTransport(s.server.Client().Transport)}
}

func (s *site) push(ref string, img v1.Image) v1.Hash {
	s.t.Helper()
	if err := remote.Write(s.ref(ref), img, s.options()...); err != nil {
		s.t.Fatalf("push %s: %v", ref, err)
	}
	return hash(s.t, img)
}

// answer is a response that was read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// code is the first error code of the distribution-spec in the body.
func (a answer) code() string {
	var body struct{ Errors []struct{ Code string } }
	if json.Unmarshal(a.body, &body) != nil || len(body.Errors) == 0 {
		return ""
	}
	return body.Errors[0].Code
}

// do sends a request below the root of the site, or to an absolute URL.
// Headers come as "Key: value".
func (s *site) do(method, target string, body []byte, headers ...string) answer {
	s.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = s.server.URL + target
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, target, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		req.Header.Set(k, v)
		if k == "Host" {
			req.Host = v
		}
	}
	client := *s.server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := client.Do(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, target, err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, target, err)
	}
	return answer{res.StatusCode, res.Header, got}
}

// want is do for an expected status and error code ("" for none).
func (s *site) want(status int, code, method, target string, body []byte, headers ...string) answer {
	s.t.Helper()
	a := s.do(method, target, body, headers...)
	if a.status != status || a.code() != code {
		s.t.Errorf("%s %s: got %d %s, want %d %s\n%.300s", method, target, a.status, a.code(), status, code, a.body)
	}
	return a
}

// blob uploads in one PUT and returns the digest.
func (s *site) blob(repo string, body []byte) digest.Digest {
	s.t.Helper()
	a := s.want(http.StatusAccepted, "", "POST", "/v2/"+repo+"/blobs/uploads/", nil)
	d := digest.FromBytes(body)
	s.want(http.StatusCreated, "", "PUT", with(a.header.Get("Location"), "digest="+d.String()), body, octets)
	return d
}

const octets = "Content-Type: application/octet-stream"

// with adds a parameter to a location.
func with(location, param string) string {
	if strings.Contains(location, "?") {
		return location + "&" + param
	}
	return location + "?" + param
}

// ociImage is a small random image of OCI's media types.
func ociImage(t testing.TB) v1.Image {
	t.Helper()
	img, err := random.Image(512, 2)
	if err != nil {
		t.Fatal(err)
	}
	return mutate.ConfigMediaType(mutate.MediaType(img, types.OCIManifestSchema1), types.OCIConfigJSON)
}

func hash(t testing.TB, img interface{ Digest() (v1.Hash, error) }) v1.Hash {
	t.Helper()
	h, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h
}
