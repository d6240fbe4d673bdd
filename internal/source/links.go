package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// symlink makes a link, unless it can be seen to lead out of the tree. One
// that leads out by way of other links is found in the end, by checkLinks.
func (e *extraction) symlink(name, target string) error {
	to := path.Join(path.Dir(name), target)
	if target == "" || strings.HasPrefix(target, "/") || to == ".." || strings.HasPrefix(to, "../") {
		return fmt.Errorf("%w: it links to %s, outside of the archive", ErrArchive, quoted(target))
	}
	dir, err := e.at.folder(path.Dir(name))
	if err != nil {
		return err
	}
	if err := replace(dir, path.Base(name)); err != nil {
		return err
	}
	return dir.Symlink(target, path.Base(name))
}

// link makes a second name of a file that the archive had before.
func (e *extraction) link(name, target string) error {
	old, err := inside(target)
	if err != nil {
		return fmt.Errorf("%w: it links to %s, outside of the archive", ErrArchive, quoted(target))
	}
	if old == name {
		return nil
	}
	info, err := e.root.Lstat(old)
	if err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("%w: it links to %s, which is no file of the archive", ErrArchive, quoted(target))
	}
	dir, err := e.at.folder(path.Dir(name))
	if err != nil {
		return err
	}
	if err := replace(dir, path.Base(name)); err != nil {
		return err
	}
	return e.root.Link(old, name)
}

// checkLinks refuses a tree that has a link out of it. A link to nothing, or in
// a circle, is harmless.
func checkLinks(root *os.Root) error {
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink == 0 {
			return err
		}
		_, err = root.Stat(name)
		if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP) {
			return nil
		}
		return fmt.Errorf("entry %s: %w: it links out of the archive", quoted(name), ErrArchive)
	})
}
