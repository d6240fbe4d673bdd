package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// A cursor stands in a folder of the tree that is unpacked. It goes from one
// to the next through the open folders above them, one step at a time, so that
// a link can never be a step, whatever the archive puts where.
type cursor struct {
	root  *os.Root
	stack []level // the folders from below root to here
}

type level struct {
	name string
	dir  *os.Root

	// What the archive says of the folder. It is applied when the folder is
	// left, because until then it is written to.
	known bool
	mode  fs.FileMode
	time  time.Time
}

// folder goes to the folder name, makes it if it is not there, and returns it.
// It stays open until the cursor goes elsewhere.
func (c *cursor) folder(name string) (*os.Root, error) {
	var parts []string
	if name != "." {
		parts = strings.Split(name, "/")
	}
	same := 0
	for same < len(parts) && same < len(c.stack) && c.stack[same].name == parts[same] {
		same++
	}
	if err := c.leave(same); err != nil {
		return nil, err
	}
	for _, part := range parts[same:] {
		dir, err := step(c.here(), part)
		if err != nil {
			return nil, err
		}
		c.stack = append(c.stack, level{name: part, dir: dir})
	}
	return c.here(), nil
}

func (c *cursor) here() *os.Root {
	if len(c.stack) == 0 {
		return c.root
	}
	return c.stack[len(c.stack)-1].dir
}

// step opens the folder name of dir, which it makes if it is not there.
func step(dir *os.Root, name string) (*os.Root, error) {
	info, err := dir.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = dir.Mkdir(name, 0o755)
	case err == nil && info.Mode()&fs.ModeSymlink != 0:
		err = fmt.Errorf("%w: %s in its path is a link", ErrArchive, quoted(name))
	case err == nil && !info.IsDir():
		err = fmt.Errorf("%w: %s in its path is not a folder", ErrArchive, quoted(name))
	}
	if err != nil {
		return nil, cause(err)
	}
	return dir.OpenRoot(name)
}

// mkdir makes the folder name, or gives the one that is there new attributes.
func (c *cursor) mkdir(name string, mode fs.FileMode, at time.Time) error {
	if _, err := c.folder(name); err != nil {
		return err
	}
	if len(c.stack) > 0 {
		l := &c.stack[len(c.stack)-1]
		l.known, l.mode, l.time = true, mode|0o700, at
	}
	return nil
}

// leave goes up until no more than depth folders are open.
func (c *cursor) leave(depth int) error {
	var err error
	for _, l := range slices.Backward(c.stack[depth:]) {
		if l.known {
			err = errors.Join(err, l.dir.Chmod(".", l.mode), l.dir.Chtimes(".", l.time, l.time))
		}
		err = errors.Join(err, l.dir.Close())
	}
	c.stack = c.stack[:depth]
	return err
}

func (c *cursor) close() error { return c.leave(0) }
