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

// A Folder keeps sealed values as files, for Local.
type Folder struct{ Path string }

// SealedSecret reads a value.
func (f Folder) SealedSecret(_ context.Context, name string) ([]byte, error) {
	b, err := os.ReadFile(f.file(name))
	return b, absent(err)
}

// PutSealedSecret writes a value: after a crash it is the old one or the new.
func (f Folder) PutSealedSecret(_ context.Context, name string, sealed []byte) error {
	if err := os.MkdirAll(f.Path, 0o700); err != nil {
		return fmt.Errorf("folder of secrets: %w", err)
	}
	tmp, err := os.CreateTemp(f.Path, ".new-*")
	if err != nil {
		return fmt.Errorf("keep secret: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(sealed)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("keep secret: %w", err)
	}
	if err := os.Rename(tmp.Name(), f.file(name)); err != nil {
		return fmt.Errorf("keep secret: %w", err)
	}
	return syncFolder(f.Path)
}

// DeleteSealedSecret removes a value.
func (f Folder) DeleteSealedSecret(_ context.Context, name string) error {
	return absent(os.Remove(f.file(name)))
}

// SealedSecrets lists them.
func (f Folder) SealedSecrets(context.Context) ([]Info, error) {
	entries, err := os.ReadDir(f.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("folder of secrets: %w", err)
	}
	var all []Info
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !validName.MatchString(e.Name()) {
			continue // gone by now, or half written
		}
		all = append(all, Info{e.Name(), info.ModTime().UTC()})
	}
	return all, nil
}

func (f Folder) file(name string) string { return filepath.Join(f.Path, name) }

func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	return err
}

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
