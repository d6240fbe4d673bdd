package contexts

import (
	"path"
	"strings"
)

// validateLinks refuses, by name, the first link that leads out of the tree.
// The entries are in order and their parents are folders.
func (m *Manifest) validateLinks() error {
	index := indexFolders(m.Entries)
	for i := range m.Entries {
		e := &m.Entries[i]
		if e.Type == Symlink && index.leadsOut(e) {
			return refuse(e.Path, "is a link that leads out of the folder, to %.200q", e.Target)
		}
	}
	return nil
}

// A folderIndex finds folders and links one name at a time, so that judging a
// target costs no more than reading it, however long the paths are.
type folderIndex struct {
	byPath map[string]int // folders only; the root is "."
	parent []int
	below  map[place]int // a folder's number, or linkPlace
}

type place struct {
	folder int
	name   string
}

const linkPlace = -1

func indexFolders(entries []Entry) *folderIndex {
	x := &folderIndex{byPath: map[string]int{".": 0}, parent: []int{0}, below: map[place]int{}}
	for i := range entries {
		e := &entries[i]
		if e.Type == File {
			continue
		}
		at := place{x.byPath[path.Dir(e.Path)], path.Base(e.Path)}
		if e.Type == Symlink {
			x.below[at] = linkPlace
			continue
		}
		n := len(x.parent)
		x.byPath[e.Path], x.below[at] = n, n
		x.parent = append(x.parent, at.folder)
	}
	return x
}

// leadsOut judges one link. The folders that it goes up through first are
// real, and a link that it comes down to is judged itself; so counting is
// enough, but for a ".." behind a link: that starts from wherever the link
// leads, and is taken as leading out.
func (x *folderIndex) leadsOut(e *Entry) bool {
	if path.IsAbs(e.Target) {
		return true
	}
	at := x.byPath[path.Dir(e.Path)]
	missing := 0 // names below at that the context does not have
	throughLink := false
	for name := range strings.SplitSeq(e.Target, "/") {
		switch {
		case name == "" || name == ".":
		case name == "..":
			if throughLink || missing == 0 && at == 0 {
				return true
			}
			if missing > 0 {
				missing--
			} else {
				at = x.parent[at]
			}
		case missing > 0:
			missing++
		default:
			next, ok := x.below[place{at, name}]
			switch {
			case !ok:
				missing = 1
			case next == linkPlace:
				throughLink = true
				missing = 1
			default:
				at = next
			}
		}
	}
	return false
}
