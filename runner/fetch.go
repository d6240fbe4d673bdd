package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"acrd/steps"
)

// stepSources fetch the remote contexts of steps. Other steps of the run may
// be writing to the workspace meanwhile, and git believes what it finds in the
// repository that it works on. So it works in a folder that no step sees, and
// the result is moved.
type stepSources struct {
	from Sources
	// run is the run's own folder, workspace what steps see of it.
	run, workspace string
}

// Fetch implements steps.Sources.
func (s *stepSources) Fetch(ctx context.Context, c steps.Context, name string, out io.Writer) (_ *steps.Fetched, err error) {
	if !filepath.IsLocal(name) || strings.ContainsRune(name, filepath.Separator) {
		return nil, fmt.Errorf("%q names no folder", name)
	}
	hidden, err := os.MkdirTemp(s.run, "fetched-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, removeAll(hidden)) }()
	dir := filepath.Join(hidden, "context")
	fetched, err := s.from.Fetch(ctx, c, dir, out)
	if err != nil {
		return nil, err
	}
	sub, err := filepath.Rel(dir, fetched.Dir)
	if err != nil {
		return nil, err
	}
	if err := s.move(dir, name); err != nil {
		return nil, fmt.Errorf("move to workspace: %w", err)
	}
	fetched.Dir = filepath.Join(s.workspace, name, sub)
	return fetched, nil
}

// move puts dir into the workspace. It copies where the workspace is a mount.
func (s *stepSources) move(dir, name string) error {
	workspace, err := os.OpenRoot(s.workspace)
	if err != nil {
		return err
	}
	defer workspace.Close()
	if err := workspace.RemoveAll(name); err != nil {
		return err
	}
	run, err := os.OpenRoot(s.run)
	if err != nil {
		return err
	}
	defer run.Close()
	from, err1 := filepath.Rel(s.run, dir)
	to, err2 := filepath.Rel(s.run, filepath.Join(s.workspace, name))
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	err = run.Rename(from, to)
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	source, err := run.OpenRoot(from)
	if err != nil {
		return err
	}
	defer source.Close()
	return copyTree(workspace, name, source)
}

// copyTree copies the folders, files and links of from to the folder name of
// to, and follows no link in either.
func copyTree(to *os.Root, name string, from *os.Root) error {
	return fs.WalkDir(from.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		target := filepath.Join(name, filepath.FromSlash(path))
		switch {
		case d.IsDir():
			return to.Mkdir(target, info.Mode().Perm())
		case d.Type() == fs.ModeSymlink:
			link, err := from.Readlink(path)
			if err != nil {
				return err
			}
			return to.Symlink(link, target)
		case d.Type().IsRegular():
			return copyFile(to, target, from, path, info)
		}
		return nil
	})
}

func copyFile(to *os.Root, target string, from *os.Root, path string, info fs.FileInfo) error {
	r, err := from.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := to.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	err = errors.Join(err, w.Close())
	if err == nil {
		err = to.Chtimes(target, info.ModTime(), info.ModTime())
	}
	return err
}
