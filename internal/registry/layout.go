package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// layout is where distribution has its files, below dir. Of a repository:
//
//	<name>/_manifests/revisions/<algorithm>/<hex>/link
//	<name>/_manifests/tags/<tag>/current/link
//	<name>/_layers/<algorithm>/<hex>/link
//	<name>/_uploads/...
//
// and of all together, blobs and manifests alike:
//
//	blobs/<algorithm>/<hh>/<hex>/data
//
// A link holds a digest. No component of a name starts with an underscore.
type layout struct{ dir string }

func newLayout(dir string) layout { return layout{filepath.Join(dir, "docker/registry/v2")} }

func (l layout) repositories() string { return filepath.Join(l.dir, "repositories") }
func (l layout) repository(name string) string {
	return filepath.Join(l.repositories(), filepath.FromSlash(name))
}

func (l layout) tags(name string) string {
	return filepath.Join(l.repository(name), "_manifests/tags")
}

func (l layout) tag(name, tag string) string {
	return filepath.Join(l.tags(name), tag, "current/link")
}

func (l layout) revisions(name string) string {
	return filepath.Join(l.repository(name), "_manifests/revisions")
}

func (l layout) revision(name string, d digest.Digest) string {
	return filepath.Join(l.revisions(name), d.Algorithm().String(), d.Encoded(), "link")
}
func (l layout) layers(name string) string { return filepath.Join(l.repository(name), "_layers") }
func (l layout) layer(name string, d digest.Digest) string {
	return filepath.Join(l.layers(name), d.Algorithm().String(), d.Encoded(), "link")
}
func (l layout) blobs() string { return filepath.Join(l.dir, "blobs") }
func (l layout) blob(d digest.Digest) string {
	return filepath.Join(l.blobs(), d.Algorithm().String(), d.Encoded()[:2], d.Encoded(), "data")
}

// canonical is the digest that a blob of a repository is kept under: others
// than sha256 are only links to it.
func (l layout) canonical(name string, d digest.Digest) digest.Digest {
	if d.Algorithm() == digest.Canonical {
		return d
	}
	b, err := os.ReadFile(l.layer(name, d))
	if err != nil {
		return d
	}
	if kept, err := digest.Parse(string(b)); err == nil {
		return kept
	}
	return d
}

// resolve says what a tag names; "" is nothing.
func (l layout) resolve(name, tag string) (digest.Digest, error) {
	b, err := os.ReadFile(l.tag(name, tag))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read tag %s:%s: %w", name, tag, err)
	}
	d, err := digest.Parse(string(b))
	if err != nil {
		return "", fmt.Errorf("read tag %s:%s: %w", name, tag, err)
	}
	return d, nil
}

// dropHalf removes what is left of a tag that was half made or half removed: a
// folder that names nothing, and that distribution lists. The caller has the lane
// of the repository.
func (l layout) dropHalf(name, tag string) error {
	if _, err := os.Stat(l.tag(name, tag)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(filepath.Join(l.tags(name), tag))
}

// names calls yield with each repository that has manifests or layers, ordered
// by name, until it returns false.
func (l layout) names(yield func(name string) bool) error {
	_, err := l.walk("", yield)
	return err
}

// walk is names below one of them, and reports whether to go on.
func (l layout) walk(name string, yield func(string) bool) (bool, error) {
	entries, err := os.ReadDir(l.repository(name))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("list repositories: %w", err)
	}
	own := func(e os.DirEntry) bool { return e.Name() == "_manifests" || e.Name() == "_layers" }
	if name != "" && slices.ContainsFunc(entries, own) && !yield(name) {
		return false, nil
	}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), "_") {
			continue
		}
		if more, err := l.walk(path.Join(name, e.Name()), yield); !more || err != nil {
			return false, err
		}
	}
	return true, nil
}

// links calls yield with each digest that has a link below dir, a folder of
// algorithms, and with the link's file. Distribution removes links, and leaves
// their folders.
func links(dir string, yield func(d digest.Digest, link os.FileInfo) error) error {
	return digests(dir, func(d digest.Digest, file string) error {
		if d.Validate() != nil {
			return nil // nothing of ours
		}
		info, err := os.Stat(filepath.Join(file, "link"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return yield(d, info)
	})
}

// digests calls yield with the name and the path of each file or folder in a
// folder of algorithms. Not every name need be a digest.
func digests(dir string, yield func(d digest.Digest, file string) error) error {
	algorithms, err := readDir(dir)
	if err != nil {
		return err
	}
	for _, a := range algorithms {
		all, err := readDir(filepath.Join(dir, a.Name()))
		if err != nil {
			return err
		}
		for _, e := range all {
			d := digest.NewDigestFromEncoded(digest.Algorithm(a.Name()), e.Name())
			if err := yield(d, filepath.Join(dir, a.Name(), e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// readDir is os.ReadDir of a folder that need not be there.
func readDir(dir string) ([]os.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return entries, nil
}
