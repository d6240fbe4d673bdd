package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// A tree is what a commit holds beside plain files.
type tree struct {
	links      map[string]string // path of a submodule to its commit
	submodules []submodule       // what .gitmodules says of them
	attributes []string          // paths of files that could name a filter
}

// survey reads the tree of commit and holds it to the limits before any of it
// is written: a small pack can hold a tree without end.
func (cl *clone) survey(ctx context.Context, m *mirror, commit string) (*tree, error) {
	t := &tree{links: map[string]string{}}
	modules := false
	err := m.f.git(ctx, gitCommand{
		gitDir: m.dir,
		args:   []string{"ls-tree", "-r", "-l", "-z", "--full-tree", "--end-of-options", commit},
		stdout: &records{each: func(record string) error {
			// <mode> SP <type> SP <hash> SP+ <size> TAB <path>
			about, name, _ := strings.Cut(record, "\t")
			fields := strings.Fields(about)
			if len(fields) != 4 {
				return fmt.Errorf("tree of %s: %w", commit, errors.ErrUnsupported)
			}
			size, _ := strconv.ParseInt(fields[3], 10, 64) // - for a submodule
			if err := cl.count(name, size); err != nil {
				return err
			}
			switch {
			case fields[1] == "commit":
				t.links[name] = fields[2]
			case path.Base(name) == ".gitattributes" && fields[0] != "120000":
				t.attributes = append(t.attributes, name)
			case name == ".gitmodules" && fields[0] != "120000":
				modules = size < 1<<20
			}
			return nil
		}},
	})
	if err != nil || !modules || len(t.links) == 0 {
		return t, err
	}
	t.submodules, err = m.submodules(ctx, commit)
	return t, err
}

func (cl *clone) count(name string, size int64) error {
	limits := cl.meter.limits
	cl.entries++
	cl.bytes += size
	switch {
	case cl.entries > limits.Entries:
		return fmt.Errorf("%w: more than %d files", ErrLimit, limits.Entries)
	case cl.bytes > limits.Bytes:
		return fmt.Errorf("%w: files of more than %s", ErrLimit, byteSize(limits.Bytes))
	case len(name) > limits.Path || strings.Count(name, "/") > limits.Depth:
		return fmt.Errorf("%w: the path %.64q... is too long or too deep", ErrLimit, name)
	}
	return nil
}

// records calls each for every NUL-terminated record written to it, until it
// returns an error.
type records struct {
	each func(record string) error
	part []byte
}

func (r *records) Write(p []byte) (int, error) {
	const longest = 1 << 20
	written := len(p)
	for {
		record, rest, ok := bytes.Cut(p, []byte{0})
		if !ok {
			if r.part = append(r.part, p...); len(r.part) > longest {
				return 0, fmt.Errorf("%w: a path of more than %s", ErrLimit, byteSize(longest))
			}
			return written, nil
		}
		if err := r.each(string(append(r.part, record...))); err != nil {
			return 0, err
		}
		r.part, p = r.part[:0], rest
	}
}
