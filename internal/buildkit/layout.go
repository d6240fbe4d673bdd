package buildkit

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"acrd/steps"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	ocilayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// A layout is a folder of blobs that a remote BuildKit has filled.
type layout struct{ dir string }

// push sends the image or index with a digest, as it is.
func (l layout) push(ctx context.Context, digest, ref string, credentials []steps.Credential, r *Registries) (*steps.Pushed, error) {
	tag, err := name.ParseReference(ref)
	if err != nil {
		return nil, &steps.RefusedError{Reason: err.Error()}
	}
	hash, err := v1.NewHash(digest)
	if err != nil {
		return nil, fmt.Errorf("digest of %s: %w", ref, err)
	}
	index, err := l.index(hash)
	if err != nil {
		return nil, err
	}
	registry := tag.Context().RegistryStr()
	options := []remote.Option{remote.WithContext(ctx), remote.WithTransport(r.guard(registry)), remote.WithAuth(authFor(registry, credentials))}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("read layout: %w", err)
	}
	d := manifest.Manifests[0]
	if d.MediaType.IsIndex() {
		inner, err := index.ImageIndex(hash)
		if err != nil {
			return nil, fmt.Errorf("read index: %w", err)
		}
		err = remote.WriteIndex(tag, inner, options...)
		return &steps.Pushed{Ref: ref, Digest: digest, MediaType: string(d.MediaType), Size: d.Size}, err
	}
	image, err := index.Image(hash)
	if err != nil {
		return nil, fmt.Errorf("read image: %w", err)
	}
	err = remote.Write(tag, image, options...)
	return &steps.Pushed{Ref: ref, Digest: digest, MediaType: string(d.MediaType), Size: d.Size}, err
}

// index makes the folder a layout that holds one manifest.
func (l layout) index(hash v1.Hash) (v1.ImageIndex, error) {
	b, err := os.ReadFile(filepath.Join(l.dir, "blobs", hash.Algorithm, hash.Hex))
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	path, err := ocilayout.Write(l.dir, empty.Index)
	if err != nil {
		return nil, fmt.Errorf("layout: %w", err)
	}
	if err := path.AppendDescriptor(v1.Descriptor{MediaType: manifest.MediaType, Digest: hash, Size: int64(len(b))}); err != nil {
		return nil, fmt.Errorf("layout: %w", err)
	}
	return path.ImageIndex()
}

func authFor(registry string, credentials []steps.Credential) authn.Authenticator {
	for _, c := range credentials {
		if c.Registry == registry || dockerHub[c.Registry] && dockerHub[registry] {
			return authn.FromConfig(authn.AuthConfig{Username: c.Username, Password: c.Password})
		}
	}
	return authn.Anonymous
}
