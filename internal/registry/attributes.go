package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"acrd/internal/acr"

	"github.com/opencontainers/go-digest"
)

// attributes keeps what is locked: a file for each repository, tag and
// manifest whose attributes are not all true, at
//
//	<repository>/_repository.json
//	<repository>/_tags/<tag>.json
//	<repository>/_manifests/<algorithm>-<hex>.json
//
// The files are as durable as distribution's when set returns.
type attributes struct{ root *os.Root }

func openAttributes(dir string) (*attributes, error) {
	root, err := openFolder(dir, "attributes")
	if err != nil {
		return nil, err
	}
	return &attributes{root}, nil
}

func (x *attributes) close() error { return x.root.Close() }

// A locked thing is a repository, or a tag or manifest in it: where its
// attributes are.
func lockRepository(name string) string { return path.Join(name, "_repository.json") }
func lockTag(name, tag string) string   { return path.Join(name, "_tags", tag+".json") }
func lockManifest(name string, d digest.Digest) string {
	return path.Join(name, "_manifests", entryName(d))
}

// of are the attributes of a thing. One whose file cannot be read counts as
// locked: err says why.
func (x *attributes) of(thing string) (acr.Attributes, error) {
	b, err := x.root.ReadFile(thing)
	if errors.Is(err, fs.ErrNotExist) {
		return acr.Unlocked(), nil
	}
	var a acr.Attributes
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	if err != nil {
		return acr.Attributes{}, fmt.Errorf("read attributes: %w", err)
	}
	return a, nil
}

// set keeps the attributes of a thing.
func (x *attributes) set(thing string, a acr.Attributes) error {
	if a == acr.Unlocked() {
		return x.forget(thing)
	}
	if err := putJSON(x.root, thing, a); err != nil {
		return fmt.Errorf("set attributes: %w", err)
	}
	return nil
}

// forget unlocks a thing.
func (x *attributes) forget(thing string) error {
	if err := x.root.Remove(thing); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget attributes: %w", err)
	}
	return nil
}

// tags are those of a repository that have attributes of their own.
func (x *attributes) tags(name string) ([]string, error) {
	files, err := fs.ReadDir(x.root.FS(), path.Join(name, "_tags"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list attributes: %w", err)
	}
	var tags []string
	for _, f := range files {
		if tag, ok := strings.CutSuffix(f.Name(), ".json"); ok {
			tags = append(tags, tag)
		}
	}
	return tags, nil
}
