package contexts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// A Store keeps contexts in a folder of its own. It is safe for concurrent
// use; no other process may use the folder meanwhile, which is for the caller
// to see to.
//
//	contexts/<digest>/manifest       what was planned, without its name
//	contexts/<digest>/name           Manifest.Name; its time is the last use
//	contexts/<digest>/tree.<boot>/   the tree, renamed to here when complete
//	blobs/<boot>/ab/<sum>            a content, as the inode of its first sender
//	copies/<boot>/ab/<sum>.<mode>.<mtime>.<n>   the same content, other inodes
//	tmp/                             emptied when the Store opens
//
// A tree's files are hard links to blobs and copies, so a tree costs no bytes.
// An inode has one mode and one time, hence the copies; and no inode is twice
// in one tree, for a build would see two files that are one (n counts them).
//
// Nothing is flushed to disk. As long as the machine runs, what the daemon
// wrote is what it reads, even if it was killed. After the machine went down
// that is not so: then the boot's identity is another, old trees are not used
// any more, and old blobs are used when their sum has been verified.
type Store struct {
	// Dir is made if need be. It should be on the file system where trees
	// are used, and readable by nobody else.
	Dir string

	// Limits bound each context.
	Limits Limits

	// Log gets what no caller is told. If nil, nobody is.
	Log *slog.Logger

	once    sync.Once
	opened  error
	boot    string
	older   []string // boots that left blobs
	pathMax int

	// relied is held for reading by those who rely on blobs to stay, and for
	// writing by Collect when it removes some.
	relied sync.RWMutex

	mu       sync.Mutex               // guards the two below, and trees from vanishing between look and hold
	held     map[Digest]int           // open trees, and what is kept
	building map[Digest]chan struct{} // closed when the build is over
}

// A MissingError says which contents have to be sent (again).
type MissingError struct{ Digests []Digest }

func (e *MissingError) Error() string {
	return fmt.Sprintf("%d files of the context are missing here; send them", len(e.Digests))
}

// ready prepares Dir, once.
func (s *Store) ready() error {
	s.once.Do(func() { s.opened = s.prepare() })
	return s.opened
}

func (s *Store) prepare() error {
	if s.boot == "" {
		s.boot = bootID()
	}
	dir, err := filepath.Abs(s.Dir)
	if err != nil {
		return fmt.Errorf("open context store: %w", err)
	}
	s.Dir = dir
	s.held, s.building = map[Digest]int{}, map[Digest]chan struct{}{}
	// A tree is read by plain paths, so they must fit the system's limit.
	s.pathMax = 4095 - len(s.treePath(Digest{})) - 1
	if _, err := removeTree(s.path("tmp")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open context store: %w", err)
	}
	for _, sub := range []string{"tmp", "contexts", "blobs", "copies"} {
		if err := os.MkdirAll(s.path(sub), 0o700); err != nil {
			return fmt.Errorf("open context store: %w", err)
		}
	}
	boots, err := os.ReadDir(s.path("blobs"))
	if err != nil {
		return fmt.Errorf("open context store: %w", err)
	}
	for _, b := range boots {
		s.older = append(s.older, b.Name())
	}
	s.older = slices.DeleteFunc(s.older, func(b string) bool { return b == s.boot })
	return nil
}

func (s *Store) path(names ...string) string {
	return filepath.Join(append([]string{s.Dir}, names...)...)
}

func (s *Store) contextPath(d Digest, name string) string { return s.path("contexts", d.hex(), name) }

func (s *Store) treePath(d Digest) string { return s.contextPath(d, "tree."+s.boot) }

func (s *Store) hasTree(d Digest) bool {
	_, err := os.Lstat(s.treePath(d))
	return err == nil
}

// Plan refuses a manifest that is not a sane tree within the limits, and
// remembers one that is. It returns the contents that are not here; Receive
// wants them before Open can lay the tree out.
func (s *Store) Plan(ctx context.Context, m *Manifest) (missing []Digest, err error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	limits := s.Limits.withDefaults()
	limits.Path = min(limits.Path, s.pathMax)
	if err := m.validate(limits); err != nil {
		return nil, err
	}
	s.relied.RLock()
	defer s.relied.RUnlock()
	d := m.Digest()
	if !s.hasTree(d) {
		if missing, err = s.missing(ctx, m); err != nil {
			return nil, err
		}
		if err := s.remember(d, m); err != nil {
			return nil, err
		}
	}
	if err := s.write(s.contextPath(d, "name"), []byte(m.Name)); err != nil {
		return nil, fmt.Errorf("note use of context: %w", err)
	}
	return missing, nil
}

func (s *Store) remember(d Digest, m *Manifest) error {
	if err := os.MkdirAll(s.contextPath(d, ""), 0o700); err != nil {
		return fmt.Errorf("remember context: %w", err)
	}
	nameless := Manifest{Entries: m.Entries}
	if err := s.write(s.contextPath(d, "manifest"), nameless.AppendBinary(nil)); err != nil {
		return fmt.Errorf("remember context: %w", err)
	}
	return nil
}

// write replaces a file by way of tmp, where a crash leaves nothing.
func (s *Store) write(file string, content []byte) error {
	f, err := os.CreateTemp(s.path("tmp"), "file-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// recall reads a remembered manifest; it has no name. One that does not hash
// to d any more is as good as none.
func (s *Store) recall(d Digest) (*Manifest, error) {
	b, err := os.ReadFile(s.contextPath(d, "manifest"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, d)
	}
	if err != nil {
		return nil, fmt.Errorf("recall context: %w", err)
	}
	m, err := ReadManifest(bytes.NewReader(b), s.Limits)
	if err != nil || m.Digest() != d {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, d)
	}
	return m, nil
}

// missing lists the contents of m that are not here, each once. It refuses
// sizes that are not their content's.
func (s *Store) missing(ctx context.Context, m *Manifest) ([]Digest, error) {
	var missing []Digest
	sizes := make(map[Digest]int64, len(m.Entries))
	for i := range m.Entries {
		e := &m.Entries[i]
		if e.Type != File || e.Size == 0 {
			continue
		}
		if size, seen := sizes[e.Sum]; seen {
			if size != e.Size {
				return nil, refuse(e.Path, "has another size than a file of the same content")
			}
			continue
		}
		sizes[e.Sum] = e.Size
		info, err := s.findBlob(ctx, e.Sum)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, e.Sum)
		case err != nil:
			return nil, err
		case info.Size() != e.Size:
			return nil, refuse(e.Path, "has another size than its content here")
		}
	}
	return missing, nil
}

func (s *Store) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}
