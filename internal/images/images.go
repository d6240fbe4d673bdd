// Package images looks at images in registries without pulling them, for
// triggers. The daemon's own registry is asked in the process, by no network.
package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"acrd/internal/realm"
	"acrd/triggers"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// A Client looks at images. It is a triggers.Registries.
type Client struct {
	// Own is the host of the daemon's own registry, and Handler its /v2/.
	Own     string
	Handler http.Handler
	// PlainHTTP are registries without TLS, by host.
	PlainHTTP []string
	// Transport is for other registries; nil is http.DefaultTransport.
	Transport http.RoundTripper
	// TokenServers are trusted with credentials beside the registries.
	TokenServers realm.Pairs
}

var _ triggers.Registries = (*Client)(nil)

// Head implements triggers.Registries. A registry that does not say the digest
// in its answer is asked for the manifest.
func (c *Client) Head(ctx context.Context, ref string, as *triggers.Login) (string, error) {
	var after time.Duration
	r, options, err := c.open(ctx, ref, as, &after)
	if err != nil {
		return "", err
	}
	d, err := remote.Head(r, options...)
	if err == nil {
		return d.Digest.String(), nil
	}
	if fault := answer(err, after); fault != nil {
		return "", fault
	}
	image, err := c.Image(ctx, ref, as)
	if err != nil {
		return "", err
	}
	return image.Digest, nil
}

// Image implements triggers.Registries.
func (c *Client) Image(ctx context.Context, ref string, as *triggers.Login) (*triggers.Image, error) {
	var after time.Duration
	r, options, err := c.open(ctx, ref, as, &after)
	if err != nil {
		return nil, err
	}
	d, err := remote.Get(r, options...)
	if err != nil {
		if fault := answer(err, after); fault != nil {
			return nil, fault
		}
		return nil, fmt.Errorf("image %s: %w", ref, unquoted(err))
	}
	image := &triggers.Image{Digest: d.Digest.String()}
	if !d.MediaType.IsIndex() {
		return image, nil
	}
	index, err := d.ImageIndex()
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	list, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	image.Platforms = platforms(list)
	return image, nil
}

// Tags implements triggers.Registries.
func (c *Client) Tags(ctx context.Context, repository string, as *triggers.Login) ([]string, error) {
	ctx, cancel := context.WithCancel(ctx) // lets go of what was not read to its end
	defer cancel()
	var after time.Duration
	r, options, err := c.open(ctx, repository+":any", as, &after)
	if err != nil {
		return nil, err
	}
	tags, err := remote.List(r.Context(), options...)
	if err != nil {
		if fault := answer(err, after); fault != nil {
			return nil, fault
		}
		return nil, fmt.Errorf("tags of %s: %w", repository, unquoted(err))
	}
	return tags, nil
}

// attestation marks manifests that are about others.
const attestation = "vnd.docker.reference.type"

// platforms are the images of an index, without attestations.
func platforms(list *v1.IndexManifest) map[string]string {
	all := map[string]string{}
	for _, m := range list.Manifests {
		if m.Annotations[attestation] != "" || m.Platform == nil || m.Platform.OS == "unknown" || !m.MediaType.IsImage() {
			continue
		}
		p := m.Platform.OS + "/" + m.Platform.Architecture
		if m.Platform.Variant != "" {
			p += "/" + m.Platform.Variant
		}
		if _, ok := all[p]; !ok {
			all[p] = m.Digest.String()
		}
	}
	return all
}

// open makes ggcr's view of a reference, and how to ask for it. After gets how
// long the registry wants to be left alone.
func (c *Client) open(ctx context.Context, ref string, as *triggers.Login, after *time.Duration) (name.Reference, []remote.Option, error) {
	host, _, _ := strings.Cut(ref, "/")
	var options []name.Option
	plain := false
	way := c.Transport
	if way == nil {
		way = http.DefaultTransport
	}
	switch {
	case host == c.Own:
		plain, way = true, inside{c.Handler}
	case slices.Contains(c.PlainHTTP, host):
		plain = true
	}
	if plain {
		options = append(options, name.Insecure)
	}
	r, err := name.ParseReference(ref, options...)
	if err != nil {
		return nil, nil, fmt.Errorf("image %s: %w", ref, err)
	}
	if as != nil && r.Context().RegistryStr() != host && !hub[host] { // such a credential is for nobody
		return nil, nil, fmt.Errorf("image %s: %s is no host of a registry, which has a dot or a port", ref, host)
	}
	auth := authn.Anonymous
	if as != nil {
		auth = authn.FromConfig(authn.AuthConfig{Username: as.User, Password: as.Password})
		registry := r.Context().RegistryStr()
		way = realm.Guard{Next: way, Registry: registry, Plain: plain || realm.OnLoopback(registry), Pairs: c.TokenServers}
	}
	// The scheduler of looks is who tries again, not the client.
	once := remote.WithRetryBackoff(remote.Backoff{Steps: 1})
	return r, []remote.Option{remote.WithContext(ctx), remote.WithTransport(&heeding{next: way, after: after}), remote.WithAuth(auth), once}, nil
}

// answer is what a registry said instead of an image; nil if it said nothing.
func answer(err error, after time.Duration) error {
	refused, ok := errors.AsType[*transport.Error](err)
	if !ok {
		return nil
	}
	return &triggers.StatusError{Status: refused.StatusCode, After: after, Err: unquoted(refused)}
}

// unquoted keeps of what a registry says its status and code. The rest could be
// anything, from wherever a redirect led.
func unquoted(err error) error {
	refused, ok := errors.AsType[*transport.Error](err)
	if !ok {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return quietError{first, err}
	}
	said := fmt.Sprintf("the registry answers %d %s", refused.StatusCode, http.StatusText(refused.StatusCode))
	if i := slices.IndexFunc(refused.Errors, hasCode); i >= 0 {
		said += " (" + string(refused.Errors[i].Code) + ")"
	}
	return quietError{said, err}
}

// hasCode says that a registry's error has a code that looks like one.
func hasCode(d transport.Diagnostic) bool {
	code := string(d.Code)
	return code != "" && len(code) <= 40 && strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == ""
}

// A quietError is an error in other words.
type quietError struct {
	said string
	error
}

func (e quietError) Error() string { return e.said }

func (e quietError) Unwrap() error { return e.error }

// inside asks a handler in place of a server.
type inside struct{ handler http.Handler }

func (i inside) RoundTrip(req *http.Request) (*http.Response, error) {
	a := &answered{header: http.Header{}, status: http.StatusOK}
	asked := req.Clone(req.Context())
	if asked.Body == nil { // as a server has it
		asked.Body = http.NoBody
	}
	i.handler.ServeHTTP(a, asked)
	return &http.Response{
		Status: http.StatusText(a.status), StatusCode: a.status, Header: a.header, Request: req,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(&a.body), ContentLength: int64(a.body.Len()),
	}, nil
}

// answered is what a handler has answered.
type answered struct {
	header http.Header
	status int
	sent   bool
	body   bytes.Buffer
}

func (a *answered) Header() http.Header { return a.header }

func (a *answered) WriteHeader(status int) {
	if !a.sent {
		a.status, a.sent = status, true
	}
}

func (a *answered) Write(b []byte) (int, error) {
	a.sent = true
	return a.body.Write(b)
}

// hub are the names that Docker Hub goes by.
var hub = map[string]bool{"docker.io": true, "index.docker.io": true, "registry-1.docker.io": true, "registry.hub.docker.com": true}

// What a registry may answer to one question, in all: lists of tags have pages.
const (
	mostAnswers = 1000
	mostBytes   = 64 << 20
)

// heeding notes how long a registry wants to be left alone, and bounds what it
// answers.
type heeding struct {
	next    http.RoundTripper
	after   *time.Duration
	answers atomic.Int64
	bytes   atomic.Int64
}

var errEndless = errors.New("the registry answers without end")

// limited is a body whose bytes count.
type limited struct {
	io.ReadCloser
	bytes *atomic.Int64
}

func (l limited) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	if l.bytes.Add(int64(n)) > mostBytes {
		_ = l.Close() // whoever reads forgets it after an error
		return n, errEndless
	}
	return n, err
}

func (h *heeding) RoundTrip(req *http.Request) (*http.Response, error) {
	if h.answers.Add(1) > mostAnswers {
		return nil, errEndless
	}
	resp, err := h.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = limited{resp.Body, &h.bytes}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		*h.after = time.Duration(max(0, min(seconds, 1<<20))) * time.Second
	}
	return resp, nil
}
