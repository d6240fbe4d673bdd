package buildkit

import (
	"errors"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/tonistiigi/fsutil"
)

// openFile opens a file of a folder that steps write to. What is none is
// refused: a pipe would keep us waiting, whatever ends the run.
func openFile(root *os.Root, name string) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(&iofs.PathError{Op: "open", Path: name, Err: errNoFile}, err)
	}
	return f, nil
}

var errNoFile = errors.New("it is not a file")

// A folderFS is such a folder as BuildKit reads it.
type folderFS struct {
	fsutil.FS
	root *os.Root
}

func newFolderFS(root *os.Root) folderFS {
	return folderFS{fsutil.NewRootFS(listedRoot{fsutil.NewRoot(root), root}), root}
}

// Open opens a file.
func (f folderFS) Open(path string) (io.ReadCloser, error) {
	return openFile(f.root, strings.TrimPrefix(filepath.Clean(path), string(filepath.Separator)))
}

// A listedRoot lists its folders without waiting for what they have turned
// into.
type listedRoot struct {
	fsutil.Root
	root *os.Root
}

func (r listedRoot) FS() iofs.FS { return listing{r.root.FS().(linkFS), r.root} } // os says that it is one

type linkFS interface {
	iofs.StatFS
	iofs.ReadLinkFS
}

type listing struct {
	linkFS
	root *os.Root
}

func (l listing) ReadDir(name string) ([]iofs.DirEntry, error) {
	f, err := l.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	slices.SortFunc(entries, func(a, b iofs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}
