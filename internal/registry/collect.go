package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"acrd/internal/acr"

	"github.com/opencontainers/go-digest"
)

// Collect removes the blobs that no manifest needs, and that no request was
// about since before. It may run while clients push: how, is in
// docs/decisions/0023.
//
// It reads every manifest, so call it rarely, and in no haste: one that runs
// already makes it fail.
func (r *Registry) Collect(ctx context.Context, before time.Time, dry bool) (acr.Garbage, error) {
	if !r.enter() {
		return acr.Garbage{}, errors.New("collect garbage: the registry is closed")
	}
	defer r.requests.Done()
	if !r.collecting.TryLock() {
		return acr.Garbage{}, errors.New("collect garbage: it is being collected already")
	}
	defer r.collecting.Unlock()
	c := &collection{Registry: r, before: earlier(before, time.Now()), dry: dry, needed: map[digest.Digest]bool{}}
	if err := c.run(ctx); err != nil {
		return c.garbage, fmt.Errorf("collect garbage: %w", err)
	}
	return c.garbage, nil
}

// A collection is one Collect. It marks first, all of it; what it cannot read
// may need anything, so then it ends, and nothing was removed.
type collection struct {
	*Registry
	before  time.Time
	dry     bool
	names   []string
	needed  map[digest.Digest]bool
	garbage acr.Garbage
}

func (c *collection) run(ctx context.Context) error {
	err := c.layout.names(func(name string) bool {
		c.names = append(c.names, name)
		return ctx.Err() == nil
	})
	if err != nil {
		return err
	}
	// What a repository needs of its own layers is marked twice rather than
	// kept: there may be more links than blobs.
	for _, name := range c.names {
		if err := c.mark(ctx, name, c.needed); err != nil {
			return err
		}
	}
	for _, name := range c.names {
		if err := c.sweepLinks(ctx, name); err != nil {
			return err
		}
	}
	return c.sweepBlobs(ctx)
}

// mark notes what the manifests of a repository need, and then those that can
// be restored to it: one that is deleted meanwhile is seen here or there, and
// one that is restored makes its blobs young.
func (c *collection) mark(ctx context.Context, name string, needed map[digest.Digest]bool) error {
	err := links(c.layout.revisions(name), func(d digest.Digest, _ os.FileInfo) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		return c.markManifest(name, d, needed)
	})
	if err != nil {
		return err
	}
	deleted, err := c.trash.manifests(name)
	if err != nil {
		return err
	}
	for _, m := range deleted {
		if err := c.markManifest(name, digest.Digest(m.Digest), needed); err != nil {
			return err
		}
	}
	return nil
}

func (c *collection) markManifest(name string, d digest.Digest, needed map[digest.Digest]bool) error {
	needed[d] = true
	_, m, err := c.layout.contents(d)
	if err != nil {
		return err
	}
	for _, part := range m.parts() {
		needed[part.Digest] = true
		needed[c.layout.canonical(name, part.Digest)] = true
	}
	return nil
}

// sweepLinks takes from a repository the blobs that none of its manifests
// needs. A client that was told of one within the time has made it young.
func (c *collection) sweepLinks(ctx context.Context, name string) error {
	needed := map[digest.Digest]bool{}
	if err := c.mark(ctx, name, needed); err != nil {
		return err
	}
	err := links(c.layout.layers(name), func(d digest.Digest, link os.FileInfo) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if needed[d] || !link.ModTime().Before(c.before) {
			return nil
		}
		return c.pins.unheld(d, func() error {
			_, removed, err := c.remove(c.layout.layer(name, d))
			if removed {
				c.garbage.Links++
			}
			return err
		})
	})
	if err != nil || c.dry {
		return err
	}
	return errors.Join(c.sweepFolders(c.layout.layers(name)), c.sweepFolders(c.layout.revisions(name)))
}

// sweepFolders removes those that links were removed from by distribution.
func (c *collection) sweepFolders(dir string) error {
	return digests(dir, func(d digest.Digest, folder string) error {
		_ = c.pins.unheld(d, func() error {
			return os.Remove(folder) // only if nothing is in it
		})
		return nil
	})
}

// sweepBlobs removes the blobs that no repository needs.
func (c *collection) sweepBlobs(ctx context.Context) error {
	algorithms, err := readDir(c.layout.blobs())
	if err != nil {
		return err
	}
	for _, a := range algorithms {
		prefixes, err := readDir(filepath.Join(c.layout.blobs(), a.Name()))
		if err != nil {
			return err
		}
		for _, p := range prefixes {
			all, err := readDir(filepath.Join(c.layout.blobs(), a.Name(), p.Name()))
			if err != nil {
				return err
			}
			for _, e := range all {
				if err := ctx.Err(); err != nil {
					return context.Cause(ctx)
				}
				d := digest.NewDigestFromEncoded(digest.Algorithm(a.Name()), e.Name())
				if d.Validate() != nil || c.needed[d] {
					continue
				}
				if err := c.sweepBlob(d); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (c *collection) sweepBlob(d digest.Digest) error {
	return c.pins.unheld(d, func() error {
		size, removed, err := c.remove(c.layout.blob(d))
		if removed {
			c.garbage.Blobs++
			c.garbage.Bytes += size
		}
		return err
	})
}

// remove removes a file that is old, and its folder. It looks at the file's
// time again, for only now does nobody hold the blob.
func (c *collection) remove(file string) (size int64, removed bool, err error) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		_ = os.Remove(filepath.Dir(file)) // only if nothing is in it
		return 0, false, nil
	}
	if err != nil || !info.ModTime().Before(c.before) {
		return 0, false, err
	}
	if c.dry {
		return info.Size(), true, nil
	}
	if err := os.Remove(file); err != nil {
		return 0, false, err
	}
	_ = os.Remove(filepath.Dir(file)) // somebody may write there just now
	return info.Size(), true, nil
}
