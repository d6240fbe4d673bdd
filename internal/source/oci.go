package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"

	"acrd/internal/pattern"
	"acrd/internal/realm"
	"acrd/steps"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// What oras says of a layer.
const (
	layerTitle  = "org.opencontainers.image.title"
	layerUnpack = "io.deis.oras.content.unpack"
)

// fetchOCI pulls an artifact as oras would: a layer with a title becomes the
// file of that name, or what is in it if it says so. A layer without one is
// unpacked if it is a tar, as those of images are.
func (f *Fetcher) fetchOCI(ctx context.Context, c steps.Context, dir string, m *meter, out io.Writer) (*Fetched, error) {
	ref, err := name.ParseReference(c.Image)
	if err != nil {
		return nil, errors.New("not a reference: write oci://registry/repository:tag")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	t := f.newTransport(m)
	defer t.close()
	registry := ref.Context().Registry
	guard := &registryTransport{base: realm.Guard{
		Next: t, Registry: registry.RegistryStr(), Plain: registry.Scheme() == "http", Pairs: f.TokenServers,
	}}
	options := []remote.Option{remote.WithTransport(guard), remote.WithUserAgent("acrd"), remote.WithContext(ctx)}
	if cred := f.credential(ctx, c, registry.Scheme(), registry.RegistryStr()); cred != (credential{}) {
		options = append(options, remote.WithAuth(&authn.Basic{Username: cred.user, Password: cred.password}))
	}
	fmt.Fprintf(out, "Pulling %s\n", c)
	desc, err := remote.Get(ref, options...)
	if errors.Is(err, http.ErrSchemeMismatch) && guard.fault() != nil {
		err = guard.fault()
	}
	if err != nil {
		return nil, registryError(err)
	}
	image, err := desc.Image()
	if err != nil {
		return nil, registryError(err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		return nil, registryError(err)
	}
	x := Extractor{Limits: m.limits, Out: out}.begin(ctx, root)
	if err := x.end(x.layers(ref, manifest.Layers, options)); err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "Pulled %s, %s\n", byteSize(m.received.Load()), desc.Digest)
	return &Fetched{Digest: desc.Digest.String()}, nil
}

func (e *extraction) layers(ref name.Reference, layers []v1.Descriptor, options []remote.Option) error {
	found := false
	for _, d := range layers {
		title := d.Annotations[layerTitle]
		packed := title == "" && isTarType(string(d.MediaType)) || d.Annotations[layerUnpack] == "true"
		if title == "" && !packed {
			continue
		}
		found = true
		if err := e.layer(ref.Context().Digest(d.Digest.String()), title, packed, options); err != nil {
			return fmt.Errorf("layer %s: %w", d.Digest, err)
		}
	}
	if !found {
		return errors.New("the artifact has no files: none of its layers has a title or is a tar")
	}
	return nil
}

// layer writes one layer. Its digest is checked as it is read, to its end.
func (e *extraction) layer(blob name.Digest, title string, packed bool, options []remote.Option) error {
	l, err := remote.Layer(blob, options...)
	if err != nil {
		return registryError(err)
	}
	r, err := l.Compressed()
	if err != nil {
		return registryError(err)
	}
	defer r.Close()
	src := &faultReader{r: r}
	if packed {
		err = e.archive(src)
	} else {
		err = e.titled(title, src)
	}
	if src.fault != nil {
		return src.fault
	}
	return err
}

func (e *extraction) titled(title string, r io.Reader) error {
	file, err := inside(title)
	if err == nil && file == "." {
		err = fmt.Errorf("%w: it is no name of a file", ErrArchive)
	}
	if err == nil {
		if e.entries++; e.entries > e.limits.Entries {
			err = fmt.Errorf("%w: more than %d entries", ErrLimit, e.limits.Entries)
		} else {
			err = e.create(file, 0o644, r, nil)
		}
	}
	if err != nil {
		return fmt.Errorf("title %s: %w", quoted(title), err)
	}
	return nil
}

// isTarType tells the media types of image layers, and of the artifacts that
// follow their example.
func isTarType(mediaType string) bool {
	mediaType, _, _ = strings.Cut(mediaType, ";")
	return slices.ContainsFunc([]string{".tar", "+tar", ".tar+gzip", ".tar.gzip", "+gzip", ".tar+zstd"}, func(end string) bool {
		return strings.HasSuffix(mediaType, end) && strings.Contains(mediaType, "tar")
	})
}

// A registryTransport keeps small what is read into memory of a registry.
type registryTransport struct {
	base realm.Guard

	mu       sync.Mutex // guards plainErr
	plainErr error
}

// fault is why plain http did not work either. A registry on loopback is tried
// with https first, and that it does not speak that is all that is reported.
func (t *registryTransport) fault() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.plainErr
}

func (t *registryTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(req)
	if err != nil && req.URL.Scheme == "http" {
		t.mu.Lock()
		t.plainErr = err
		t.mu.Unlock()
	}
	if err == nil && !strings.Contains(req.URL.Path, "/blobs/") && req.Response == nil {
		const most = 4 << 20 // of a manifest, by the specification
		resp.Body = &short{ReadCloser: resp.Body, left: most}
	}
	return resp, err
}

// short is a body that fails when it is longer than it has any reason to be.
type short struct {
	io.ReadCloser
	left int64
}

func (s *short) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if s.left -= int64(n); s.left < 0 {
		return n, fmt.Errorf("%w: a manifest or token without end", ErrLimit)
	}
	return n, err
}

// registryError keeps of what a registry says its status and code. The rest
// could be anything, from wherever a redirect led.
func registryError(err error) error {
	refused := (*transport.Error)(nil)
	if !errors.As(err, &refused) {
		return plain(err)
	}
	said := statusError(refused.StatusCode)
	for _, d := range refused.Errors {
		if code := string(d.Code); errorCode().MatchString(code) {
			return fmt.Errorf("%w (%s)", said, code)
		}
	}
	return said
}

var errorCode = pattern.New(`^[A-Z_]{1,40}$`)
