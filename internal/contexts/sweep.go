package contexts

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// sweep removes the contents that nothing needs: those with one name, since
// each tree that has a file adds one.
func (s *Store) sweep(ctx context.Context) (freed, kept int64, err error) {
	s.relied.Lock()
	defer s.relied.Unlock()
	awaited, err := s.awaited()
	if err != nil {
		return 0, 0, err
	}
	w := &sweeper{store: s, awaited: awaited, copies: map[Digest]string{}}
	err = walkFiles(ctx, s.path("copies"), w.copy)
	if err == nil {
		err = walkFiles(ctx, s.path("blobs"), w.blob)
	}
	s.removeEmpty(s.path("copies"))
	s.removeEmpty(s.path("blobs"))
	return w.freed, w.kept, err
}

type sweeper struct {
	store       *Store
	awaited     map[Digest]bool
	copies      map[Digest]string // that stay, one for each content
	freed, kept int64
}

func (w *sweeper) copy(file string, info fs.FileInfo) error {
	if linkCount(info) == 1 {
		w.freed += info.Size()
		return os.Remove(file)
	}
	w.kept += info.Size()
	name, _, _ := strings.Cut(info.Name(), ".")
	sum, err := ParseDigest(digestPrefix + name)
	if err == nil && filepath.Dir(filepath.Dir(file)) == w.store.path("copies", w.store.boot) {
		w.copies[sum] = file
	}
	return nil
}

// blob removes a blob. If a copy stays, that becomes the blob, so that the
// content is still found.
func (w *sweeper) blob(file string, info fs.FileInfo) error {
	sum, err := ParseDigest(digestPrefix + info.Name())
	if linkCount(info) != 1 || err == nil && w.awaited[sum] {
		w.kept += info.Size()
		return nil
	}
	w.freed += info.Size()
	if copied := w.copies[sum]; copied != "" && file == w.store.blobPath(sum) {
		return os.Rename(copied, file)
	}
	return os.Remove(file)
}

func walkFiles(ctx context.Context, dir string, visit func(string, fs.FileInfo) error) error {
	return filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return errors.Join(err, context.Cause(ctx))
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		return visit(file, info)
	})
}

// awaited are the contents of the contexts that have no tree yet.
func (s *Store) awaited() (map[Digest]bool, error) {
	uses, err := s.uses()
	if err != nil {
		return nil, err
	}
	awaited := map[Digest]bool{}
	for _, u := range uses {
		if s.hasTree(u.context) {
			continue
		}
		m, err := s.recall(u.context)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for i := range m.Entries {
			awaited[m.Entries[i].Sum] = true
		}
	}
	return awaited, nil
}

// removeEmpty removes what is left of earlier boots. A folder with something
// in it resists.
func (s *Store) removeEmpty(dir string) {
	boots, _ := os.ReadDir(dir)
	for _, boot := range boots {
		if boot.Name() == s.boot {
			continue
		}
		shards, _ := os.ReadDir(filepath.Join(dir, boot.Name()))
		for _, shard := range shards {
			os.Remove(filepath.Join(dir, boot.Name(), shard.Name()))
		}
		os.Remove(filepath.Join(dir, boot.Name()))
	}
}
