package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
)

// openFolder opens the folder of something that is kept beside distribution's
// files, and makes it if it is missing.
func openFolder(dir, what string) (*os.Root, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open %s: %w", what, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", what, err)
	}
	return root, nil
}

// putJSON makes a file of v, in folders that it makes, too. It is as durable as
// distribution's files when it returns.
func putJSON(root *os.Root, file string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := root.MkdirAll(path.Dir(file), 0o700); err != nil {
		return err
	}
	return replaceFile(root, file, b)
}

// replaceFile writes a file as a whole or not at all.
func replaceFile(root *os.Root, name string, body []byte) error {
	tmp := name + ".tmp"
	f, err := root.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := root.Rename(tmp, name); err != nil {
		return err
	}
	dir, err := root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
