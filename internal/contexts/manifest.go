package contexts

import (
	"cmp"
	"crypto/sha256"
	"slices"
)

// A Manifest lists what a context holds. Pack makes one and ReadManifest reads
// one; a Store takes neither on trust.
type Manifest struct {
	// Name is the folder's stable identity: the same for each pack of the
	// same folder, so that an engine that keeps a copy of the last context of
	// that name has only the difference to read. It is no secret and no part
	// of the digest.
	Name string

	// Entries are in walk order: a folder, then what is in it, each level
	// sorted by the bytes of the name. Every folder but the root is listed.
	Entries []Entry
}

// An Entry is one file, folder or symbolic link. Owners are not kept: the
// files of a context belong to root, as in docker.
type Entry struct {
	Path    string // relative, clean, slashes, UTF-8
	Type    Type
	Mode    uint32 // permission bits; links have 0777
	ModTime int64  // nanoseconds since 1970
	Size    int64  // files only
	Sum     Digest // files only
	Target  string // links only: the text of the link, never followed
}

// A Type says what an Entry is.
type Type byte

// The types of an Entry; the letters are the wire's.
const (
	File    Type = 'f'
	Dir     Type = 'd'
	Symlink Type = 'l'
)

// Digest names the context: two manifests have the same one exactly if their
// entries are equal.
func (m *Manifest) Digest() Digest {
	nameless := Manifest{Entries: m.Entries}
	return sha256.Sum256(nameless.AppendBinary(nil))
}

func (m *Manifest) sort() {
	slices.SortFunc(m.Entries, func(a, b Entry) int { return comparePaths(a.Path, b.Path) })
}

// comparePaths orders paths as a walk meets them: the slash comes before every
// other byte, so that what is in "a" stands before "a-b".
func comparePaths(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			continue
		}
		if a[i] == '/' {
			return -1
		}
		if b[i] == '/' {
			return 1
		}
		return cmp.Compare(a[i], b[i])
	}
	return cmp.Compare(len(a), len(b))
}
