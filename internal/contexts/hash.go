package contexts

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// A ChangedError says that a file did not keep still while it was read or
// sent. Packing again later may well work.
type ChangedError struct{ Path string }

func (e *ChangedError) Error() string {
	return fmt.Sprintf("file %s changes while it is read; run again when nothing writes to the folder, or name the file in .dockerignore", e.Path)
}

// hash reads the entries of the given numbers, fills in their sums and tells
// the cache.
func (p *Packed) hash(ctx context.Context, root *os.Root, numbers []int, cache *hashCache) error {
	reads := make([]reading, len(numbers))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, n := range numbers {
		g.Go(func() error {
			var err error
			reads[i], err = p.read(ctx, root, p.Manifest.Entries[n].Path)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, n := range numbers {
		e, r := &p.Manifest.Entries[n], reads[i]
		describe(e, r.info)
		e.Sum = r.sum
		cache.put(keyOf(p.hostPath(e.Path), r.info), r.info, r.sum, r.began)
	}
	return nil
}

// A reading is a file as it was, all of it at one moment.
type reading struct {
	info  fs.FileInfo
	sum   Digest
	began time.Time
}

// read hashes one file, a second time if its state changed in the first. A
// file that gets another name somewhere, or loses one, changes its state too:
// what reads alike twice did not change.
func (p *Packed) read(ctx context.Context, root *os.Root, name string) (reading, error) {
	first, still, err := p.readOnce(ctx, root, name)
	if still || err != nil && !errors.As(err, new(*ChangedError)) {
		return first, err
	}
	second, still, err := p.readOnce(ctx, root, name)
	if err != nil {
		return reading{}, err
	}
	if !still && !first.like(second) {
		return reading{}, &ChangedError{Path: name}
	}
	return second, nil
}

// like reports whether two readings found the same file with the same content.
func (r reading) like(other reading) bool {
	return r.info != nil && os.SameFile(r.info, other.info) && r.info.ModTime().Equal(other.info.ModTime()) &&
		r.info.Size() == other.info.Size() && r.sum == other.sum
}

// readOnce hashes one file, and reports whether it kept still meanwhile.
func (p *Packed) readOnce(ctx context.Context, root *os.Root, name string) (r reading, still bool, err error) {
	if err := context.Cause(ctx); err != nil {
		return reading{}, false, err
	}
	r.began = time.Now()
	f, err := p.open(root, name)
	if err != nil {
		return reading{}, false, err
	}
	defer f.Close()
	if r.info, err = f.Stat(); err != nil {
		return reading{}, false, err
	}
	if !r.info.Mode().IsRegular() {
		return reading{}, false, &ChangedError{Path: name}
	}
	h := sha256.New()
	n, err := io.CopyBuffer(h, struct{ io.Reader }{f}, make([]byte, 128<<10))
	if err != nil {
		return reading{}, false, fmt.Errorf("read %s: %w", name, err)
	}
	r.sum = Digest(h.Sum(nil))
	after, err := f.Stat()
	if err != nil {
		return reading{}, false, err
	}
	if n != r.info.Size() {
		return reading{}, false, &ChangedError{Path: name}
	}
	return r, sameState(r.info, after), nil
}

// open opens what was a file a moment ago.
func (p *Packed) open(root *os.Root, name string) (*os.File, error) {
	open, lstat, file := root.OpenFile, root.Lstat, filepath.FromSlash(name)
	if hostPath, ok := p.outside[name]; ok {
		open, lstat, file = os.OpenFile, os.Stat, hostPath
	}
	f, err := open(file, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would keep us waiting
	if err == nil {
		return f, nil
	}
	if info, e := lstat(file); e != nil || !info.Mode().IsRegular() {
		return nil, &ChangedError{Path: name}
	}
	return nil, err
}

// sameState reports whether nobody wrote to a file between two stats.
func sameState(a, b fs.FileInfo) bool {
	return a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && identify(a) == identify(b)
}
