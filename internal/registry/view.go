package registry

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// A view is what a repository holds, as it was when it was read.
type view struct {
	tags      []tagged   // by name
	manifests []revision // by digest
	named     map[digest.Digest][]string
}

// tagged is a tag and what it names.
type tagged struct {
	name             string
	digest           digest.Digest
	created, updated time.Time
}

// revision is a manifest of a repository. It is updated when it is pushed.
type revision struct {
	digest  digest.Digest
	updated time.Time
}

// read reads a repository; nil when there is none.
func (l layout) read(name string) (*view, error) {
	if _, err := os.Stat(filepath.Join(l.repository(name), "_manifests")); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	v := &view{named: map[digest.Digest][]string{}}
	if err := errors.Join(l.readTags(name, v), l.readManifests(name, v)); err != nil {
		return nil, fmt.Errorf("read repository %s: %w", name, err)
	}
	return v, nil
}

func (l layout) readTags(name string, v *view) error {
	entries, err := readDir(l.tags(name))
	if err != nil {
		return err
	}
	for _, e := range entries {
		t := tagged{name: e.Name()}
		if t.digest, err = l.resolve(name, t.name); err != nil {
			return err
		}
		current, err := os.Stat(l.tag(name, t.name))
		made, e := os.Stat(filepath.Join(l.tags(name), t.name))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(e, fs.ErrNotExist) || t.digest == "" {
			continue // half made, or just removed
		}
		if err := errors.Join(err, e); err != nil {
			return err
		}
		// The folder changes when its two parts are made, and not again.
		t.updated = current.ModTime()
		t.created = earlier(made.ModTime(), t.updated)
		v.tags = append(v.tags, t)
		v.named[t.digest] = append(v.named[t.digest], t.name)
	}
	return nil
}

func (l layout) readManifests(name string, v *view) error {
	err := links(l.revisions(name), func(d digest.Digest, info os.FileInfo) error {
		v.manifests = append(v.manifests, revision{d, info.ModTime()})
		return nil
	})
	slices.SortFunc(v.manifests, func(a, b revision) int { return cmp.Compare(a.digest, b.digest) })
	return err
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// updated is when a repository has changed last.
func (v *view) updated() time.Time {
	var last time.Time
	for _, t := range v.tags {
		last = later(last, t.updated)
	}
	for _, m := range v.manifests {
		last = later(last, m.updated)
	}
	return last
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// manifest finds one by its digest.
func (v *view) manifest(d digest.Digest) (revision, bool) {
	i, ok := slices.BinarySearchFunc(v.manifests, d, func(m revision, d digest.Digest) int { return cmp.Compare(m.digest, d) })
	if !ok {
		return revision{}, false
	}
	return v.manifests[i], true
}

// tag finds one by its name.
func (v *view) tag(name string) (tagged, bool) {
	i, ok := slices.BinarySearchFunc(v.tags, name, func(t tagged, name string) int { return cmp.Compare(t.name, name) })
	if !ok {
		return tagged{}, false
	}
	return v.tags[i], true
}

// views remember what was read until it changes, for lists come in pages. The
// zero value is ready.
type views struct {
	mu      sync.Mutex // guards what follows
	known   map[string]*view
	changes int // so that what was read before a change is not kept after it
}

// maxViews is how many repositories are remembered.
const maxViews = 8

// of is the view of a repository; nil when there is none.
func (x *views) of(l layout, name string) (*view, error) {
	x.mu.Lock()
	v, before := x.known[name], x.changes
	x.mu.Unlock()
	if v != nil {
		return v, nil
	}
	v, err := l.read(name)
	if err != nil || v == nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.changes == before {
		if x.known == nil || len(x.known) >= maxViews {
			x.known = map[string]*view{}
		}
		x.known[name] = v
	}
	return v, nil
}

// changed says that a repository is not what it was.
func (x *views) changed(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.changes++
	delete(x.known, name)
}
