package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"acrd/internal/acr"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// contents are the parts of any manifest that name something.
type contents struct {
	MediaType    string          `json:"mediaType"`
	ArtifactType string          `json:"artifactType"`
	Config       *v1.Descriptor  `json:"config"`
	Layers       []v1.Descriptor `json:"layers"`
	Blobs        []v1.Descriptor `json:"blobs"`
	Manifests    []v1.Descriptor `json:"manifests"`
	Subject      *v1.Descriptor  `json:"subject"`
}

// parts are what a manifest cannot do without: its blobs, or the manifests in
// it.
func (c *contents) parts() []v1.Descriptor {
	var all []v1.Descriptor
	if c.Config != nil {
		all = append(all, *c.Config)
	}
	all = append(all, c.Layers...)
	all = append(all, c.Blobs...)
	return append(all, c.Manifests...)
}

// isIndex says that there are manifests in it.
func (c *contents) isIndex() bool { return c.Config == nil && c.Manifests != nil }

// maxConfig is how much of an image's configuration is read for its platform.
const maxConfig = 1 << 20

// created is when the registry has first seen a manifest: the folder of a blob
// changes when the blob is written, and not again.
func (r *Registry) created(m revision) time.Time {
	info, err := os.Stat(filepath.Dir(r.layout.blob(m.digest)))
	if err != nil {
		return m.updated
	}
	return earlier(info.ModTime(), m.updated)
}

// untagged is when a manifest without a tag has lost its last one, or was
// pushed without.
func (r *Registry) untagged(name string, m revision) time.Time {
	info, err := os.Stat(filepath.Dir(r.layout.revision(name, m.digest)))
	if err != nil {
		return m.updated
	}
	return later(info.ModTime(), m.updated)
}

// tellManifest is what lists say of a manifest.
func (r *Registry) tellManifest(name string, v *view, m revision) (acr.Manifest, error) {
	told := acr.Manifest{
		Digest: m.digest.String(), Created: r.created(m).UTC(), Updated: m.updated.UTC(), Tags: v.named[m.digest],
		Attributes: r.attributesOf(lockManifest(name, m.digest)),
	}
	if len(told.Tags) == 0 {
		told.Untagged = r.untagged(name, m).UTC()
	}
	body, c, err := r.layout.contents(m.digest)
	if err != nil {
		return acr.Manifest{}, err
	}
	told.MediaType, told.ArtifactType = mediaTypeOf(c), c.ArtifactType
	if c.isIndex() {
		told.Size = int64(len(body))
		for _, d := range c.Manifests {
			told.References = append(told.References, tellReference(d))
		}
		return told, nil
	}
	for _, d := range c.parts() {
		told.Size += d.Size
	}
	if c.Config != nil {
		told.ConfigMediaType = c.Config.MediaType
		told.OS, told.Architecture = r.layout.platform(*c.Config)
	}
	return told, nil
}

// mediaTypeOf is what a manifest is, if it does not say so itself: OCI allows
// that.
func mediaTypeOf(c *contents) string {
	switch {
	case c.MediaType != "":
		return c.MediaType
	case c.isIndex():
		return v1.MediaTypeImageIndex
	}
	return v1.MediaTypeImageManifest
}

func tellReference(d v1.Descriptor) acr.Reference {
	told := acr.Reference{Digest: d.Digest.String()}
	if d.Platform != nil {
		told.OS, told.Architecture = d.Platform.OS, d.Platform.Architecture
	}
	return told
}

// contents reads a manifest. One that is gone is empty: a list may be older.
func (l layout) contents(d digest.Digest) ([]byte, *contents, error) {
	c := &contents{}
	f, err := os.Open(l.blob(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, c, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read manifest: %w", err)
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, maxManifest))
	if err == nil {
		err = json.Unmarshal(body, c)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read manifest %s: %w", d, err)
	}
	return body, c, nil
}

// platform is what the configuration of an image says; nothing for artifacts.
func (l layout) platform(config v1.Descriptor) (goos, arch string) {
	if config.Size > maxConfig || config.Digest.Validate() != nil {
		return "", ""
	}
	switch config.MediaType {
	case v1.MediaTypeImageConfig, "application/vnd.docker.container.image.v1+json":
	default:
		return "", ""
	}
	b, err := os.ReadFile(l.blob(config.Digest))
	var p v1.Platform
	if err != nil || json.Unmarshal(b, &p) != nil {
		return "", ""
	}
	return p.OS, p.Architecture
}
