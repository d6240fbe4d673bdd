package contexts

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
	"unicode/utf8"
)

// Limits bound one context. The zero value has the defaults.
type Limits struct {
	Entries int   // 0: 100,000
	Bytes   int64 // of all files together; 0: 2 GiB
	Path    int   // bytes of a path; 0: 4096
	Depth   int   // names in a path; 0: 255

	// LinksOut lets a context hold links that lead out of its folder, as
	// /usr/bin/python in a virtual environment does. They are harmless to
	// whoever reads the tree with os.Root and inside a container.
	LinksOut bool
}

func (l Limits) withDefaults() Limits {
	if l.Entries == 0 {
		l.Entries = 100_000
	}
	if l.Bytes == 0 {
		l.Bytes = 2 << 30
	}
	if l.Path == 0 {
		l.Path = 4096
	}
	if l.Depth == 0 {
		l.Depth = 255
	}
	return l
}

func tooMany(l Limits) error {
	return fmt.Errorf("%w: more than %d files and folders; name what the build does not need in .dockerignore", ErrTooLarge, l.Entries)
}

func tooBig(l Limits) error {
	return fmt.Errorf("%w: more than %d MiB of files; name what the build does not need in .dockerignore", ErrTooLarge, l.Bytes>>20)
}

// refuse says what is wrong with one entry. The path comes from a stranger.
func refuse(name, format string, args ...any) error {
	return fmt.Errorf("%w: %.200q %s", ErrInvalid, name, fmt.Sprintf(format, args...))
}

// validate holds m to l and to what a tree on disk can be: after it, making
// the entries in order, below any folder, touches nothing outside of it.
func (m *Manifest) validate(l Limits) error {
	l = l.withDefaults()
	if len(m.Name) > maxName || !utf8.ValidString(m.Name) {
		return refuse(m.Name, "is no name for a context")
	}
	if len(m.Entries) > l.Entries {
		return tooMany(l)
	}
	var total int64
	var parents []string // the folders that the next entry may be in
	links := 0
	for i := range m.Entries {
		e := &m.Entries[i]
		if err := e.validate(l); err != nil {
			return err
		}
		if i > 0 && comparePaths(m.Entries[i-1].Path, e.Path) >= 0 {
			return refuse(e.Path, "is there twice or out of order")
		}
		for len(parents) > 0 && !strings.HasPrefix(e.Path, parents[len(parents)-1]+"/") {
			parents = parents[:len(parents)-1]
		}
		if dir := path.Dir(e.Path); dir != "." && (len(parents) == 0 || parents[len(parents)-1] != dir) {
			return refuse(e.Path, "is in something that is not a folder of the context")
		}
		switch e.Type {
		case Dir:
			parents = append(parents, e.Path)
		case Symlink:
			links++
		case File:
			if total += e.Size; total > l.Bytes {
				return tooBig(l)
			}
		}
	}
	if links == 0 || l.LinksOut {
		return nil
	}
	return m.validateLinks()
}

func (e *Entry) validate(l Limits) error {
	switch {
	case len(e.Path) > l.Path:
		return refuse(e.Path, "is longer than %d bytes", l.Path)
	case !fs.ValidPath(e.Path) || e.Path == "." || strings.Contains(e.Path, "\x00"):
		return refuse(e.Path, "is not a clean relative path in UTF-8")
	case strings.Count(e.Path, "/") >= l.Depth:
		return refuse(e.Path, "is more than %d folders deep", l.Depth)
	case longName(e.Path):
		return refuse(e.Path, "has a name of more than 255 bytes")
	case e.Mode&^0o777 != 0:
		return refuse(e.Path, "has mode %#o; only permissions travel", e.Mode)
	}
	switch e.Type {
	case File:
		if e.Size < 0 || (e.Size == 0) != (e.Sum == emptyDigest) || e.Target != "" {
			return refuse(e.Path, "has a size that is not its content's")
		}
		return nil
	case Dir:
		if e.Size != 0 || e.Sum != (Digest{}) || e.Target != "" {
			return refuse(e.Path, "is a folder with content")
		}
		return nil
	case Symlink:
		return e.validateLink()
	}
	return refuse(e.Path, "has type %q", rune(e.Type))
}

func (e *Entry) validateLink() error {
	switch {
	case e.Size != 0 || e.Sum != (Digest{}) || e.Mode != 0o777:
		return refuse(e.Path, "is a link with content or a mode")
	case e.Target == "" || len(e.Target) > maxTarget || strings.Contains(e.Target, "\x00") || !utf8.ValidString(e.Target):
		return refuse(e.Path, "has a link target that is empty, too long or not UTF-8")
	}
	return nil
}

// longName reports a name that no file system takes.
func longName(p string) bool {
	for name := range strings.SplitSeq(p, "/") {
		if len(name) > 255 {
			return true
		}
	}
	return false
}
