package contexts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Tree is a context laid out as a folder, with the modes and times of its
// manifest. It stays until it is closed.
//
// Nobody may write in it: its files are shared with other trees. Who needs to
// write puts an overlay on top. Its links are as the sender had them, so who
// opens files in it by name uses os.Root.
type Tree struct {
	Dir  string
	Name string // the Manifest.Name last planned for it

	close func()
}

// Close lets Collect remove the tree when its time has come. Calling it again
// does nothing.
func (t *Tree) Close() { t.close() }

// Open lays a planned context out, if it is not yet, and holds it. It returns
// ErrNotFound if it was not planned or has been collected since, and a
// *MissingError if contents did not come or have been collected since; in
// either case the sender has to plan again.
func (s *Store) Open(ctx context.Context, d Digest) (*Tree, error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	for {
		t, busy := s.hold(d)
		if t != nil {
			return t, nil
		}
		if busy != nil {
			select {
			case <-busy:
				continue
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		if err := s.build(ctx, d); err != nil {
			return nil, err
		}
	}
}

// hold returns the tree if it is there, or else a channel that is closed when
// whoever builds it is done, or else neither: then it is for the caller to
// build it.
func (s *Store) hold(d Digest) (*Tree, chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hasTree(d) {
		s.held[d]++
		return &Tree{Dir: s.treePath(d), Name: s.use(d), close: sync.OnceFunc(func() { s.release(d) })}, nil
	}
	if busy, ok := s.building[d]; ok {
		return nil, busy
	}
	s.building[d] = make(chan struct{})
	return nil, nil
}

// use returns the name of the context and notes that it is of use now.
func (s *Store) use(d Digest) string {
	file, now := s.contextPath(d, "name"), time.Now()
	name, err := os.ReadFile(file)
	if err = errors.Join(err, os.Chtimes(file, now, now)); err != nil {
		s.log().Warn("note use of context", "context", d, "err", err)
	}
	return string(name)
}

func (s *Store) release(d Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[d]--; s.held[d] == 0 {
		delete(s.held, d)
	}
}

// build makes the tree in tmp and renames it into place.
func (s *Store) build(ctx context.Context, d Digest) error {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		close(s.building[d])
		delete(s.building, d)
	}()
	s.relied.RLock()
	defer s.relied.RUnlock()
	m, err := s.recall(d)
	if err != nil {
		return err
	}
	missing, err := s.missing(ctx, m)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return &MissingError{Digests: missing}
	}
	tmp, err := os.MkdirTemp(s.path("tmp"), "tree-*")
	if err != nil {
		return fmt.Errorf("lay out context: %w", err)
	}
	err = s.fill(ctx, tmp, m)
	if err == nil {
		s.dropOldTrees(d)
		err = os.Rename(tmp, s.treePath(d))
	}
	if err != nil {
		_, cleanup := removeTree(tmp)
		return fmt.Errorf("lay out context: %w", errors.Join(err, cleanup))
	}
	return nil
}

// fill makes the entries. Folders get their mode and time when nothing is
// added to them any more.
func (s *Store) fill(ctx context.Context, dir string, m *Manifest) error {
	type inode struct {
		sum     Digest
		mode    uint32
		modTime int64
	}
	used := map[inode]int{}
	var folders []*Entry
	for i := range m.Entries {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		e := &m.Entries[i]
		target := filepath.Join(dir, filepath.FromSlash(e.Path))
		var err error
		switch e.Type {
		case Dir:
			folders = append(folders, e)
			err = os.Mkdir(target, 0o700)
		case Symlink:
			err = errors.Join(os.Symlink(e.Target, target), setLinkTime(target, e.ModTime))
		case File:
			key := inode{e.Sum, e.Mode, e.ModTime}
			err = s.linkFile(ctx, e, used[key], target)
			used[key]++
		}
		if err != nil {
			return err
		}
	}
	for _, e := range slices.Backward(folders) {
		target := filepath.Join(dir, filepath.FromSlash(e.Path))
		if err := os.Chmod(target, folderMode(e)); err != nil {
			return err
		}
		if err := os.Chtimes(target, time.Time{}, time.Unix(0, e.ModTime)); err != nil {
			return err
		}
	}
	return os.Chmod(dir, 0o755)
}

// folderMode is e's, but that a daemon which is not root leaves itself a way
// in.
func folderMode(e *Entry) fs.FileMode {
	mode := fs.FileMode(e.Mode)
	if os.Geteuid() != 0 {
		mode |= 0o500
	}
	return mode
}

// dropOldTrees removes the trees of boots before this one.
func (s *Store) dropOldTrees(d Digest) {
	names, _ := os.ReadDir(s.contextPath(d, "")) // what it misses goes with the context
	for _, n := range names {
		if strings.HasPrefix(n.Name(), "tree.") {
			if _, err := removeTree(s.contextPath(d, n.Name())); err != nil {
				s.log().Warn("remove tree of an earlier boot", "context", d, "err", err)
			}
		}
	}
}

// removeTree removes dir and all that is in it, folders without permissions
// too. It returns the size of the files that had one more link elsewhere,
// which is a blob's own: those that nothing but this tree had.
func removeTree(dir string) (unlinked int64, err error) {
	if err := os.Chmod(dir, 0o700); err != nil {
		return 0, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		file := filepath.Join(dir, e.Name())
		if e.IsDir() {
			n, err := removeTree(file)
			unlinked += n
			if err != nil {
				return unlinked, err
			}
			continue
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && linkCount(info) == 2 {
			unlinked += info.Size()
		}
		if err := os.Remove(file); err != nil {
			return unlinked, err
		}
	}
	return unlinked, os.Remove(dir)
}
