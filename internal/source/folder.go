package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// emptyDir makes dir if it is absent, and refuses one that has something in it.
func emptyDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return errors.New("the folder to fetch into is not empty")
	}
	return nil
}

// clearDir removes what is in dir.
func clearDir(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return clearRoot(root)
}

func clearRoot(root *os.Root) error {
	names, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, entry := range names {
		if e := root.RemoveAll(entry.Name()); e != nil {
			err = errors.Join(err, e)
		}
	}
	return err
}

// resolveDir returns the folder sub of dir with its links resolved. It is an
// error if that is not a folder inside dir.
func resolveDir(dir, sub string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	if sub == "" {
		sub = "."
	}
	inside, err := root.OpenRoot(sub)
	if err != nil {
		// The error of os.Root names only what is relative to dir.
		return "", fmt.Errorf("folder %q of the context: %w", sub, cause(err))
	}
	inside.Close()
	top, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	resolved, err := filepath.EvalSymlinks(filepath.Join(top, sub))
	if err != nil {
		return "", err
	}
	if resolved != top && !strings.HasPrefix(resolved, top+string(filepath.Separator)) {
		return "", fmt.Errorf("folder %q of the context leads out of it", sub)
	}
	rel, err := filepath.Rel(top, resolved)
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, rel), nil
}

// cause is what went wrong, without the path that a *fs.PathError repeats.
func cause(err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err
	}
	return err
}
