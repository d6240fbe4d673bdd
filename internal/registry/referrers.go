package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// referrers is the index from a subject to those who name it: a file for each
// entry, at
//
//	<repository>/_subjects/<algorithm>/<hex of subject>/<algorithm>-<hex of referrer>.json
//
// No component of a repository starts with an underscore, so repositories
// inside one another do not meet. Entries are as durable as distribution's
// files when add returns. Writers must not run at once for the same entry.
type referrers struct{ root *os.Root }

// entry is one who names a subject.
type entry struct {
	digest       digest.Digest
	artifactType string
	descriptor   json.RawMessage // of OCI, as an index holds it
}

// openReferrers opens the index in dir, which it makes if it is missing.
func openReferrers(dir string) (*referrers, error) {
	root, err := openFolder(dir, "referrers")
	if err != nil {
		return nil, err
	}
	return &referrers{root}, nil
}

func (x *referrers) close() error { return x.root.Close() }

// add says that d names subject. Doing so again changes nothing.
func (x *referrers) add(repo string, subject digest.Digest, d v1.Descriptor) error {
	if err := putJSON(x.root, path.Join(subjectDir(repo, subject), entryName(d.Digest)), d); err != nil {
		return fmt.Errorf("add referrer %s: %w", d.Digest, err)
	}
	return nil
}

// remove takes the entry back. One that is not there is no error.
func (x *referrers) remove(repo string, subject, referrer digest.Digest) error {
	dir := subjectDir(repo, subject)
	err := x.root.Remove(path.Join(dir, entryName(referrer)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove referrer %s: %w", referrer, err)
	}
	_ = x.root.Remove(dir) // goes only when it was the last
	return nil
}

// of yields who names subject, ordered by digest, from the first after last.
// An entry that cannot be read comes as an error, which does not end the sequence.
func (x *referrers) of(repo string, subject, last digest.Digest) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		dir := subjectDir(repo, subject)
		files, err := fs.ReadDir(x.root.FS(), dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			yield(entry{}, fmt.Errorf("list referrers of %s: %w", subject, err))
			return
		}
		for _, f := range files {
			if !strings.HasSuffix(f.Name(), ".json") || last != "" && f.Name() <= entryName(last) {
				continue
			}
			e, err := x.read(path.Join(dir, f.Name()))
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed since we listed
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

func (x *referrers) read(name string) (entry, error) {
	body, err := x.root.ReadFile(name)
	if err != nil {
		return entry{}, fmt.Errorf("read referrer: %w", err)
	}
	var d struct {
		Digest       digest.Digest `json:"digest"`
		ArtifactType string        `json:"artifactType"`
	}
	if err := json.Unmarshal(body, &d); err != nil {
		return entry{}, fmt.Errorf("read referrer %s: %w", name, err)
	}
	return entry{d.Digest, d.ArtifactType, body}, nil
}

func subjectDir(repo string, subject digest.Digest) string {
	return path.Join(repo, "_subjects", subject.Algorithm().String(), subject.Encoded())
}

func entryName(d digest.Digest) string {
	return d.Algorithm().String() + "-" + d.Encoded() + ".json"
}
