package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"acrd/eventing"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// The media types that helm gives to a chart.
const (
	helmConfig = "application/vnd.cncf.helm.config.v1+json"
	helmChart  = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	// maxHelmConfig is more than helm lets a Chart.yaml have.
	maxHelmConfig = 1 << 20
	// maxWord is more than a name or version of a chart has, and maxTags more
	// tags than anybody wants to be told: events have an end.
	maxWord = 256
	maxTags = 1000
)

// target describes a manifest as events do, and says whether it is a chart.
func (b *backend) target(ctx context.Context, name, tag, mediaType string, body []byte) (t eventing.Target, chart bool) {
	t = eventing.Target{MediaType: mediaType, Size: int64(len(body)), Digest: digest.FromBytes(body).String(), Repository: name, Tag: tag}
	var m struct {
		Config v1.Descriptor   `json:"config"`
		Layers []v1.Descriptor `json:"layers"`
	}
	if json.Unmarshal(body, &m) != nil || m.Config.MediaType != helmConfig {
		return t, false
	}
	for _, l := range m.Layers {
		if l.MediaType == helmChart {
			t.Size, t.Digest = l.Size, l.Digest.String()
		}
	}
	t.Name, t.Version = b.chart(ctx, name, m.Config)
	t.Name = cmp.Or(t.Name, path.Base(name))
	t.Version = cmp.Or(t.Version, strings.ReplaceAll(tag, "_", "+"))
	return t, true
}

// chart reads what a chart says of itself; nothing if it cannot be read. The
// tag does not say it: there helm writes _ for +.
func (b *backend) chart(ctx context.Context, repository string, config v1.Descriptor) (name, version string) {
	var c struct{ Name, Version string }
	body, err := b.blob(ctx, repository, config.Digest, maxHelmConfig)
	if err != nil || json.Unmarshal(body, &c) != nil || len(c.Name) > maxWord || len(c.Version) > maxWord {
		return "", ""
	}
	return c.Name, c.Version
}

// blob reads a blob of at most that size.
func (b *backend) blob(ctx context.Context, name string, d digest.Digest, most int64) ([]byte, error) {
	repo, err := b.repository(ctx, name)
	if err != nil {
		return nil, err
	}
	blobs := repo.Blobs(ctx)
	info, err := blobs.Stat(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("read %s@%s: %w", name, d, err)
	}
	if info.Size > most {
		return nil, fmt.Errorf("read %s@%s: it has %d bytes", name, d, info.Size)
	}
	return blobs.Get(ctx, d)
}

// tagged is the digest that a tag is put to, empty if there is no such tag.
func (b *backend) tagged(ctx context.Context, name, tag string) (digest.Digest, error) {
	repo, err := b.repository(ctx, name)
	if err != nil {
		return "", err
	}
	d, err := repo.Tags(ctx).Get(ctx, tag)
	if _, none := errors.AsType[distribution.ErrTagUnknown](err); none {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look up %s:%s: %w", name, tag, err)
	}
	return d.Digest, nil
}

// tagsOf are those that are put to a manifest.
func (b *backend) tagsOf(ctx context.Context, name string, d digest.Digest) ([]string, error) {
	repo, err := b.repository(ctx, name)
	if err != nil {
		return nil, err
	}
	return repo.Tags(ctx).Lookup(ctx, v1.Descriptor{Digest: d})
}

// untagAll removes the tags of a manifest.
func (b *backend) untagAll(ctx context.Context, name string, d digest.Digest) error {
	tags, err := b.tagsOf(ctx, name, d)
	if err != nil || len(tags) == 0 {
		return err
	}
	repo, err := b.repository(ctx, name)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if err := repo.Tags(ctx).Untag(ctx, tag); err != nil {
			return fmt.Errorf("remove %s:%s: %w", name, tag, err)
		}
	}
	return nil
}

func (b *backend) repository(ctx context.Context, name string) (distribution.Repository, error) {
	named, err := reference.WithName(name)
	if err != nil {
		return nil, fmt.Errorf("open repository %s: %w", name, err)
	}
	repo, err := b.store.Repository(ctx, named)
	if err != nil {
		return nil, fmt.Errorf("open repository %s: %w", name, err)
	}
	return repo, nil
}
