package triggers

import (
	"context"
	"strings"

	"acrd/runner"
)

// An Image is what a reference means at a moment.
type Image struct {
	// Digest is that of the tag: an index's, or a single manifest's.
	Digest string
	// Platforms are the manifests of an index by their platforms, such as
	// linux/arm64/v8; nil if it is none. Attestations are not in it.
	Platforms map[string]string
}

// For is the digest of what a platform gets, which is what decides whether an
// image has changed: an index changes with each build, if only for its
// attestations. It is empty if there is nothing for the platform.
func (i *Image) For(platform string) string {
	if i.Platforms == nil {
		return i.Digest
	}
	if d, ok := i.Platforms[platform]; ok {
		return d
	}
	for p, d := range i.Platforms { // linux/arm64 is linux/arm64/v8
		if strings.HasPrefix(p, platform+"/") || strings.HasPrefix(platform, p+"/") {
			return d
		}
	}
	return ""
}

// A Registries looks at images in any registry, without pulling them.
type Registries interface {
	// Head is the digest of a tag, at the least cost.
	Head(ctx context.Context, ref string, as *Login) (digest string, err error)
	// Tags lists the tags of a repository.
	Tags(ctx context.Context, repository string, as *Login) ([]string, error)
	// Image reads what a tag or digest is.
	Image(ctx context.Context, ref string, as *Login) (*Image, error)
}

// A Login opens a registry; nil is nobody in particular.
type Login struct{ User, Password string }

// Canonical is a reference as it is compared: with registry and tag, Docker
// Hub being docker.io. It is empty for one that can never mean anything else,
// for it has a digest, and for scratch.
func Canonical(ref string) string {
	if ref == "" || ref == "scratch" || strings.Contains(ref, "@") {
		return ""
	}
	r := runner.NewReference(ref, "")
	if r.Registry == runner.DockerHub {
		r.Registry = "docker.io"
	}
	return r.Registry + "/" + r.Repository + ":" + r.Tag
}

// familiar is a canonical reference as a person writes it.
func familiar(ref string) string {
	r := runner.NewReference(ref, "")
	return strings.TrimSuffix(r.Reference, ":latest")
}

// split takes the tag off a canonical reference.
func split(ref string) (repository, tag string) {
	i := strings.LastIndexByte(ref, ':')
	return ref[:i], ref[i+1:]
}

// host is the registry of a canonical reference.
func host(ref string) string {
	h, _, _ := strings.Cut(ref, "/")
	return h
}

// short is a digest for people.
func short(digest string) string {
	algorithm, hex, ok := strings.Cut(digest, ":")
	if !ok || len(hex) < 12 {
		return digest
	}
	return algorithm + ":" + hex[:12]
}
