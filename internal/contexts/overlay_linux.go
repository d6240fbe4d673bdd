package contexts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"acrd/internal/mounts"

	"golang.org/x/sys/unix"
)

// A Workspace is a tree that may be written in: what is written stays in a
// folder beside it, and the tree is as it was.
type Workspace struct {
	Dir string

	tree    *Tree
	scratch string
}

// Overlay mounts the tree at dir, writable for everybody, with what is written
// in dir.scratch. It owns the tree from then on: Close closes it. Mounting
// needs root.
func (t *Tree) Overlay(dir string) (*Workspace, error) {
	w := &Workspace{Dir: dir, tree: t, scratch: dir + ".scratch"}
	upper, work := filepath.Join(w.scratch, "upper"), filepath.Join(w.scratch, "work")
	for _, d := range []string{dir, upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("workspace: %w", err)
		}
	}
	// The upper folder's mode is what the mount's root has.
	if err := os.Chmod(upper, 0o777); err != nil {
		return nil, fmt.Errorf("workspace: %w", err)
	}
	for _, p := range []string{t.Dir, w.scratch} {
		if strings.ContainsAny(p, ",:\\") {
			return nil, fmt.Errorf("workspace: the path %s has a character that a mount cannot take: choose another --state", p)
		}
	}
	options := "lowerdir=" + t.Dir + ",upperdir=" + upper + ",workdir=" + work
	if err := unix.Mount("overlay", dir, "overlay", unix.MS_NODEV|unix.MS_NOSUID, options); err != nil {
		return nil, fmt.Errorf("mount workspace: %w", err)
	}
	return w, nil
}

// Close unmounts the workspace and deletes what was written.
func (w *Workspace) Close() error {
	defer w.tree.Close()
	return errors.Join(mounts.Detach(w.Dir), os.RemoveAll(w.scratch))
}
