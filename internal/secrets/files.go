package secrets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Files have secrets as files of one folder that somebody else writes, such as
// /run/secrets. One line ending at the end of a file is not of the value.
type Files struct{ Dir string }

// Get reads a file. A link that leads out of the folder is refused.
func (f Files) Get(_ context.Context, ref Ref) ([]byte, error) {
	if err := ref.unversioned("a folder"); err != nil {
		return nil, err
	}
	if filepath.IsAbs(ref.Name) { // an alias's
		return readValue(filepath.Split(ref.Name))
	}
	if f.Dir == "" {
		return nil, fmt.Errorf("file %s: give its whole path in the alias, or a folder with --secrets file:DIR", ref.Name)
	}
	if err := checkName(ref.Name); err != nil {
		return nil, err
	}
	return readValue(f.Dir, ref.Name)
}

func readValue(dir, name string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("folder of secrets: %w", err)
	}
	defer root.Close()
	info, err := root.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("file %s in %s: %w", name, dir, absent(err))
	}
	if !info.Mode().IsRegular() { // a pipe would keep us waiting
		return nil, fmt.Errorf("file %s in %s is not a regular file", name, dir)
	}
	file, err := root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("file %s in %s: %w", name, dir, absent(err))
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, MaxValue+2))
	if err != nil {
		return nil, fmt.Errorf("file %s in %s: %w", name, dir, err)
	}
	return TrimLine(b), nil
}

func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	return err
}

// TrimLine takes one line ending off the end of a value that was typed or
// edited.
func TrimLine(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == '\n' {
		b = b[:n-1]
		if n := len(b); n > 0 && b[n-1] == '\r' {
			b = b[:n-1]
		}
	}
	return b
}
