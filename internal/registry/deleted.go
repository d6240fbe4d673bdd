package registry

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"acrd/internal/acr"

	"github.com/opencontainers/go-digest"
)

// trash remembers what was deleted and can be restored: a file for each
// manifest, and for each tag of each manifest, at
//
//	<repository>/_manifests/<algorithm>-<hex>.json
//	<repository>/_tags/<tag>/<algorithm>-<hex>.json
//
// The blobs stay where they are: Collect takes them for needed. An entry is
// written before its deletion, so it may be of what is there still, or again;
// such entries are not told.
type trash struct{ root *os.Root }

func openTrash(dir string) (*trash, error) {
	root, err := openFolder(dir, "deleted")
	if err != nil {
		return nil, err
	}
	return &trash{root}, nil
}

func (x *trash) close() error { return x.root.Close() }

func trashedManifest(name string, d digest.Digest) string {
	return path.Join(name, "_manifests", entryName(d))
}

func trashedTag(name, tag string, d digest.Digest) string {
	return path.Join(name, "_tags", tag, entryName(d))
}

// put remembers a manifest, or a tag of one.
func (x *trash) put(file string, entry any) error {
	err := putJSON(x.root, file, entry)
	if errors.Is(err, fs.ErrNotExist) { // the last of another repository has taken the folder with it
		err = putJSON(x.root, file, entry)
	}
	if err != nil {
		return fmt.Errorf("remember deleted: %w", err)
	}
	return nil
}

// remove forgets an entry. One that is not there is no error.
func (x *trash) remove(file string) error {
	if err := x.root.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget deleted: %w", err)
	}
	for dir := path.Dir(file); dir != "."; dir = path.Dir(dir) {
		if x.root.Remove(dir) != nil {
			break // others are in it
		}
	}
	return nil
}

// manifests are those of a repository, by digest.
func (x *trash) manifests(name string) ([]acr.DeletedManifest, error) {
	return readEntries[acr.DeletedManifest](x.root, path.Join(name, "_manifests"))
}

// tags are those of a repository, the last deleted last; of one tag, if it is
// not empty.
func (x *trash) tags(name, tag string) ([]acr.DeletedTag, error) {
	names := []string{tag}
	if tag == "" {
		dirs, err := fs.ReadDir(x.root.FS(), path.Join(name, "_tags"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("list deleted: %w", err)
		}
		names = nil
		for _, d := range dirs {
			names = append(names, d.Name())
		}
	}
	var all []acr.DeletedTag
	for _, tag := range names {
		found, err := readEntries[acr.DeletedTag](x.root, path.Join(name, "_tags", tag))
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	slices.SortStableFunc(all, func(a, b acr.DeletedTag) int {
		return cmp.Or(a.Deleted.Compare(b.Deleted), cmp.Compare(a.Name, b.Name))
	})
	return all, nil
}

func readEntries[T any](root *os.Root, dir string) ([]T, error) {
	files, err := fs.ReadDir(root.FS(), dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list deleted: %w", err)
	}
	var all []T
	for _, f := range files {
		if path.Ext(f.Name()) != ".json" {
			continue
		}
		b, err := root.ReadFile(path.Join(dir, f.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var entry T
		if err == nil {
			err = json.Unmarshal(b, &entry)
		}
		if err != nil {
			return nil, fmt.Errorf("read deleted %s: %w", f.Name(), err)
		}
		all = append(all, entry)
	}
	return all, nil
}

// names are the repositories that something was deleted from, by name.
func (x *trash) names() ([]string, error) {
	var names []string
	err := fs.WalkDir(x.root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // its last entry was removed just now
		}
		if err != nil || !d.IsDir() {
			return err
		}
		if base := path.Base(p); base == "_manifests" || base == "_tags" {
			names = append(names, path.Dir(p))
			return fs.SkipDir
		}
		return nil
	})
	slices.Sort(names)
	return slices.Compact(names), err
}

// keeping has do delete a manifest or a tag, and remembers it, if that is the
// policy.
func (r *Registry) keeping(rt route, do func()) *fault {
	if !r.Policies().SoftDelete.Enabled() {
		do()
		return nil
	}
	files, err := r.remember(rt)
	if err != nil {
		r.log.Error("remember deleted", "image", rt.name, "err", err)
		return faultInternal
	}
	do()
	if r.there(rt) { // after all
		for _, f := range files {
			if err := r.trash.remove(f); err != nil {
				r.log.Warn("forget deleted", "image", rt.name, "err", err)
			}
		}
	}
	return nil
}

// remember writes down what is to be deleted, and says where.
func (r *Registry) remember(rt route) (files []string, err error) {
	now := time.Now().UTC()
	put := func(file string, entry any) {
		if err == nil {
			err = r.trash.put(file, entry)
			files = append(files, file)
		}
	}
	d, notDigest := digest.Parse(rt.ref)
	if notDigest != nil {
		d, err = r.layout.resolve(rt.name, rt.ref)
		if err == nil && d != "" {
			put(trashedTag(rt.name, rt.ref, d), acr.DeletedTag{Name: rt.ref, Digest: d.String(), Deleted: now})
		}
		return files, err
	}
	if !r.there(rt) {
		return nil, nil
	}
	v, err := r.views.of(r.layout, rt.name)
	if err != nil || v == nil {
		return nil, err
	}
	_, c, err := r.layout.contents(d)
	if err != nil {
		return nil, nil //nolint:nilerr // what cannot be read cannot be restored, but it can be deleted
	}
	put(trashedManifest(rt.name, d), acr.DeletedManifest{Digest: d.String(), MediaType: mediaTypeOf(c), Tags: v.named[d], Deleted: now})
	for _, tag := range v.named[d] {
		put(trashedTag(rt.name, tag, d), acr.DeletedTag{Name: tag, Digest: d.String(), Deleted: now})
	}
	return files, err
}

// there says that a tag or a manifest exists.
func (r *Registry) there(rt route) bool {
	d, err := digest.Parse(rt.ref)
	if err != nil {
		d, err := r.layout.resolve(rt.name, rt.ref)
		return err == nil && d != ""
	}
	_, err = os.Stat(r.layout.revision(rt.name, d))
	return err == nil
}

// ExpireDeleted forgets what was deleted before a time, and what is there
// again. Then Collect gives its space back.
func (r *Registry) ExpireDeleted(before time.Time) error {
	if !r.enter() {
		return errors.New("expire deleted: the registry is closed")
	}
	defer r.requests.Done()
	names, err := r.trash.names()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, r.expireDeleted(name, before))
	}
	return errors.Join(errs...)
}

func (r *Registry) expireDeleted(name string, before time.Time) error {
	leave := r.lanes.enter(name) // what is deleted just now is not what it was
	defer leave()
	manifests, err := r.trash.manifests(name)
	tags, e := r.trash.tags(name, "")
	errs := []error{err, e}
	for _, t := range tags {
		if t.Deleted.Before(before) {
			errs = append(errs, r.trash.remove(trashedTag(name, t.Name, digest.Digest(t.Digest))))
		}
	}
	for _, m := range manifests {
		if m.Deleted.Before(before) || r.there(route{name: name, ref: m.Digest}) {
			errs = append(errs, r.trash.remove(trashedManifest(name, digest.Digest(m.Digest))))
		}
	}
	return errors.Join(errs...)
}
