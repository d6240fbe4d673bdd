package contexts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"unicode/utf8"

	"github.com/moby/patternmatcher"
)

// A walker lists a folder. Everything is opened through root, so that a folder
// that turns into a link in the meantime leads nowhere else.
type walker struct {
	root            *os.Root
	required        *required
	cache           *hashCache
	limits          Limits
	defaultExcludes bool

	entries  []Entry
	unhashed []int // the entries that the cache does not know
	bytes    int64
	excluded []string
	skipped  []string

	// pending are the ignored folders above the one being searched. They
	// become entries if something in it is not ignored.
	pending []Entry
}

func (w *walker) walk(ctx context.Context) error {
	if err := w.folder(ctx, ".", patternmatcher.MatchInfo{}); err != nil {
		return err
	}
	for name, file := range w.required.outside {
		if slices.ContainsFunc(w.entries, func(e Entry) bool { return e.Path == name }) {
			return fmt.Errorf("the folder has a file %s already, which is the name that %s would get", name, file)
		}
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		if err := w.file(name, file, info); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) folder(ctx context.Context, dir string, match patternmatcher.MatchInfo) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	children, err := readDir(w.root, dir)
	if err != nil {
		return w.lost(dir, fs.ModeDir, fmt.Errorf("list %s: %w", dir, err))
	}
	for _, child := range children {
		if err := w.child(ctx, path.Join(dir, child.Name()), child, match); err != nil {
			return err
		}
	}
	return nil
}

func readDir(root *os.Root, dir string) ([]fs.DirEntry, error) {
	f, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	children, err := f.ReadDir(-1)
	slices.SortFunc(children, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return children, err
}

func (w *walker) child(ctx context.Context, name string, child fs.DirEntry, parent patternmatcher.MatchInfo) error {
	required := w.required.names[name]
	if w.defaultExcludes && slices.Contains(defaultExcludes, name) && !required {
		w.excluded = append(w.excluded, name)
		return nil
	}
	ignored, match, err := w.required.ignore.ignores(name, parent)
	if err != nil {
		return fmt.Errorf("match %s: %w", name, err)
	}
	if ignored && !required && (!child.IsDir() || !w.required.ignore.mayBringBack(name)) {
		return nil
	}
	info, err := child.Info()
	if err != nil {
		return w.lost(name, child.Type(), err)
	}
	if !info.IsDir() {
		return w.leaf(name, info)
	}
	e := Entry{Path: name, Type: Dir, Mode: permissions(info), ModTime: info.ModTime().UnixNano()}
	if ignored && !required {
		return w.search(ctx, e, match)
	}
	if err := w.add(e); err != nil {
		return err
	}
	return w.folder(ctx, name, match)
}

// search looks for what is not ignored in an ignored folder.
func (w *walker) search(ctx context.Context, folder Entry, match patternmatcher.MatchInfo) error {
	above := len(w.pending)
	w.pending = append(w.pending, folder)
	err := w.folder(ctx, folder.Path, match)
	w.pending = w.pending[:min(above, len(w.pending))]
	return err
}

func (w *walker) leaf(name string, info fs.FileInfo) error {
	switch {
	case info.Mode().IsRegular():
		return w.file(name, filepath.Join(w.root.Name(), filepath.FromSlash(name)), info)
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := w.root.Readlink(name)
		if err != nil {
			return w.lost(name, fs.ModeSymlink, err)
		}
		return w.add(Entry{
			Path: name, Type: Symlink, Mode: 0o777,
			ModTime: info.ModTime().UnixNano(), Target: filepath.ToSlash(target),
		})
	}
	w.skipped = append(w.skipped, name)
	return nil
}

// lost judges an error about name, which was of this type when it was listed.
// If it has gone since, with all that was in it, there is none.
func (w *walker) lost(name string, was fs.FileMode, err error) error {
	if name == "." {
		return err
	}
	now, e := w.root.Lstat(name)
	switch {
	case errors.Is(e, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrNotExist), e != nil, now.Mode().Type() != was.Type():
		return &ChangedError{Path: name}
	}
	return err
}

// file adds what is at hostPath as name, with its sum if that is known.
func (w *walker) file(name, hostPath string, info fs.FileInfo) error {
	e := Entry{Path: name, Type: File}
	describe(&e, info)
	if w.bytes += e.Size; w.bytes > w.limits.Bytes {
		return tooBig(w.limits)
	}
	known := false
	e.Sum, known = w.cache.get(keyOf(hostPath, info))
	if err := w.add(e); err != nil {
		return err
	}
	if !known {
		w.unhashed = append(w.unhashed, len(w.entries)-1)
	}
	return nil
}

func (w *walker) add(e Entry) error {
	if !utf8.ValidString(e.Path) || !utf8.ValidString(e.Target) {
		return fmt.Errorf("%q is not UTF-8, which a build cannot carry; rename it, or name it in .dockerignore", e.Path)
	}
	w.entries = append(append(w.entries, w.pending...), e)
	w.pending = w.pending[:0]
	if len(w.entries) > w.limits.Entries {
		return tooMany(w.limits)
	}
	return nil
}

// describe fills in what lstat says of a file.
func describe(e *Entry, info fs.FileInfo) {
	e.Mode, e.ModTime, e.Size = permissions(info), info.ModTime().UnixNano(), info.Size()
}

// permissions are the bits that travel. Windows has none; there everything is
// executable, as with docker's client, since a script that cannot be run
// breaks a build and one that can does not.
func permissions(info fs.FileInfo) uint32 {
	if runtime.GOOS == "windows" {
		return 0o755
	}
	return uint32(info.Mode().Perm())
}
