package source

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"acrd/internal/realm"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// A testRegistry is a real one in memory. Its guard, if there is one, comes
// before it; pushes go past the guard.
type testRegistry struct {
	*httptest.Server
	open *httptest.Server
}

func newTestRegistry(t *testing.T, guard func(w http.ResponseWriter, r *http.Request, next http.Handler)) *testRegistry {
	t.Helper()
	h := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := &testRegistry{open: httptest.NewServer(h)}
	s.Server = s.open
	if guard != nil {
		s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { guard(w, r, h) }))
		t.Cleanup(s.Close)
	}
	t.Cleanup(s.open.Close)
	return s
}

// layer is one of an artifact, with its annotations in turn.
func layer(content, mediaType string, annotations ...string) mutate.Addendum {
	a := mutate.Addendum{Layer: static.NewLayer([]byte(content), types.MediaType(mediaType)), MediaType: types.MediaType(mediaType), Annotations: map[string]string{}}
	for i := 0; i < len(annotations); i += 2 {
		a.Annotations[annotations[i]] = annotations[i+1]
	}
	return a
}

// push puts an artifact there and returns its context and digest.
func (s *testRegistry) push(t *testing.T, repo string, layers ...mutate.Addendum) (address, digest string) {
	t.Helper()
	image, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layers...)
	if err != nil {
		t.Fatal(err)
	}
	host := func(s *httptest.Server) string { return strings.TrimPrefix(s.URL, "http://") }
	ref, err := name.ParseReference(host(s.open) + "/" + repo)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	hash, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return "oci://" + host(s.Server) + "/" + repo, hash.String()
}

const (
	plainType = "application/octet-stream"
	tarType   = string(types.OCILayer)
)

func TestOCI(t *testing.T) {
	s := newTestRegistry(t, nil)
	address, digest := s.push(t, "app:v1",
		layer("FROM scratch\n", plainType, layerTitle, "Dockerfile"),
		layer("deep", plainType, layerTitle, "a/b/file"),
		layer(string(tarGz(t, file("dir/x", "unpacked"))), tarType, layerTitle, "dir", layerUnpack, "true"),
		layer(string(tarGz(t, file("y", "image"))), tarType),
		layer(string(tarOf(t, file("z", "flux"))), "application/vnd.example.content.v1.tar"),
		layer(string(tarGz(t, file("n", "not"))), tarType, layerTitle, "kept.tgz"),
		layer("ignored", plainType),
	)
	got := mustFetch(t, &Fetcher{}, address)
	if got.Digest != digest {
		t.Errorf("digest %s; want %s", got.Digest, digest)
	}
	for name, content := range map[string]string{
		"Dockerfile": "FROM scratch\n", "a/b/file": "deep", "dir/x": "unpacked", "y": "image", "z": "flux",
		"kept.tgz": string(tarGz(t, file("n", "not"))),
	} {
		got.wantFile(t, name, content)
	}
	at, _, _ := strings.Cut(address, ":v1")
	mustFetch(t, &Fetcher{}, at+"@"+digest).wantFile(t, "y", "image")

	fetchInto(t, &Fetcher{}, at+":nope").wantError(t, "404", "MANIFEST_UNKNOWN")
	fetchInto(t, &Fetcher{}, strings.Replace(address, "app", "nope", 1)).wantError(t, "404")
	fetchInto(t, &Fetcher{}, at+":"+strings.Repeat("x", 300)).wantError(t, "not a reference")
	empty, _ := s.push(t, "empty:v1", layer("x", plainType))
	fetchInto(t, &Fetcher{}, empty).wantError(t, "has no files")
}

func TestOCIHostile(t *testing.T) {
	s := newTestRegistry(t, nil)
	good, _ := s.push(t, "good:v1", layer("1", plainType, layerTitle, "a"))
	evil := string(tarGz(t, file("../x", "")))
	for want, layers := range map[string][]mutate.Addendum{
		`title "../x"`:        {layer("x", plainType, layerTitle, "../x")},
		`title "/etc/x"`:      {layer("x", plainType, layerTitle, "/etc/x")},
		`title "."`:           {layer("x", plainType, layerTitle, ".")},
		`title "l/x"`:         {layer(string(tarGz(t, symlink("l", "d"), folder("d"))), tarType), layer("x", plainType, layerTitle, "l/x")},
		`entry "../x"`:        {layer(evil, tarType)},
		"not a tar":           {layer("x", plainType, layerTitle, "x", layerUnpack, "true")},
		"more than 5 entries": {layer(string(tarGz(t, file("1", ""), file("2", ""), file("3", ""))), tarType), layer(string(tarGz(t, file("4", ""), file("5", ""), file("6", ""))), tarType)},
		"files of more than":  {layer(string(tarGz(t, file("a", strings.Repeat("x", 700<<10)))), tarType), layer(string(tarGz(t, file("b", strings.Repeat("x", 400<<10)))), tarType)},
		"received":            {layer(noise(2<<20), plainType, layerTitle, "a")},
	} {
		t.Run(want, func(t *testing.T) {
			f := &Fetcher{Limits: Limits{Entries: 5, Bytes: 1 << 20}}
			address, _ := s.push(t, "evil:v1", layers...)
			fetchInto(t, f, address).wantError(t, want)
			mustFetch(t, f, good).wantFile(t, "a", "1")
		})
	}
}

// TestOCIDigest changes a blob and a manifest on their way.
func TestOCIDigest(t *testing.T) {
	change := ""
	s := newTestRegistry(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method != http.MethodGet || change == "" || !strings.Contains(r.URL.Path, change) {
			next.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		maps.Copy(w.Header(), rec.Header())
		w.Write([]byte(strings.ReplaceAll(rec.Body.String(), "genuine", "changed")))
	})
	address, digest := s.push(t, "app:v1", layer("genuine", plainType, layerTitle, "a", "note", "genuine"))
	byDigest := strings.Replace(address, ":v1", "@"+digest, 1)
	mustFetch(t, &Fetcher{}, byDigest).wantFile(t, "a", "genuine")
	change = "/blobs/"
	fetchInto(t, &Fetcher{}, byDigest).wantError(t, "layer sha256:")
	change = "/manifests/"
	fetchInto(t, &Fetcher{}, byDigest).wantError(t, "digest")
}

// TestOCICredential has a registry behind tokens, whose token server is in
// turn where it may be and where it may not.
func TestOCICredential(t *testing.T) {
	const secret = "c4n4ry"
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+secret))
	var mu sync.Mutex
	var seen []string // by the token server elsewhere
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r.Header.Get("Authorization"))
		json.NewEncoder(w).Encode(map[string]string{"token": "t0ken"})
	}))
	defer elsewhere.Close()
	elsewhere.URL = strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1)
	at := ""
	s := newTestRegistry(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		switch {
		case r.URL.Path == "/token" && r.Header.Get("Authorization") == basic:
			json.NewEncoder(w).Encode(map[string]string{"token": "t0ken"})
		case at == "" && r.Header.Get("Authorization") != basic:
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			http.Error(w, "s3cr3t reply", http.StatusUnauthorized)
		case at != "" && r.Header.Get("Authorization") != "Bearer t0ken":
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="x"`, at))
			http.Error(w, "s3cr3t reply", http.StatusUnauthorized)
		default:
			next.ServeHTTP(w, r)
		}
	})
	address, _ := s.push(t, "app:v1", layer("1", plainType, layerTitle, "a"))
	host := strings.TrimPrefix(s.URL, "http://")
	f := &Fetcher{Credential: func(_ context.Context, scheme, h string) (string, string, bool) {
		return "alice", secret, scheme == "http" && h == host
	}}
	fetchInto(t, &Fetcher{}, address, "s3cr3t").wantError(t, "401")
	mustFetch(t, f, address, secret).wantFile(t, "a", "1")
	at = s.URL
	mustFetch(t, f, address, secret, "t0ken").wantFile(t, "a", "1")

	at = elsewhere.URL
	fetchInto(t, f, address, secret).wantError(t, "wants its credential sent to http://localhost")
	if len(seen) > 0 {
		t.Errorf("the token server elsewhere saw %q", seen)
	}
	f.TokenServers = realm.Pairs{host: {strings.TrimPrefix(elsewhere.URL, "http://")}}
	mustFetch(t, f, address, secret).wantFile(t, "a", "1")
	if len(seen) == 0 || seen[0] != basic {
		t.Errorf("the trusted token server saw %q; want the credential", seen)
	}
}

// TestOCIRedirect sends blobs elsewhere, as registries with a storage do.
func TestOCIRedirect(t *testing.T) {
	var seen []string
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		io.WriteString(w, "genuine")
	}))
	defer storage.Close()
	storage.URL = strings.Replace(storage.URL, "127.0.0.1", "localhost", 1)
	s := newTestRegistry(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if _, _, ok := r.BasicAuth(); !ok {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		} else if strings.Contains(r.URL.Path, "/blobs/") {
			http.Redirect(w, r, storage.URL+"/x?sig=s1gn4ture", http.StatusTemporaryRedirect)
		} else {
			next.ServeHTTP(w, r)
		}
	})
	address, _ := s.push(t, "app:v1", layer("genuine", plainType, layerTitle, "a"))
	f := &Fetcher{Credential: func(context.Context, string, string) (string, string, bool) { return "alice", "c4n4ry", true }}
	mustFetch(t, f, address, "c4n4ry").wantFile(t, "a", "genuine")
	if len(seen) == 0 || strings.Join(seen, "") != "" {
		t.Errorf("the storage saw %q", seen)
	}
	storage.Close()
	fetchInto(t, f, address, "c4n4ry", "s1gn4ture").wantError(t, "refused")
}

func TestOCIManifestWithoutEnd(t *testing.T) {
	s := newTestRegistry(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
		for {
			if _, err := w.Write([]byte(strings.Repeat(" ", 64<<10))); err != nil {
				return
			}
		}
	})
	fetchInto(t, &Fetcher{}, "oci://"+strings.TrimPrefix(s.URL, "http://")+"/app:v1").wantError(t, "without end")
}
