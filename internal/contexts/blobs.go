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
	"syscall"
	"time"
)

func (s *Store) blobPath(d Digest) string { return s.blobPathOf(s.boot, d) }

func (s *Store) blobPathOf(boot string, d Digest) string {
	return s.path("blobs", boot, d.hex()[:2], d.hex())
}

// copyPath is the n-th inode with the content, mode and time of e.
func (s *Store) copyPath(e *Entry, n int) string {
	name := fmt.Sprintf("%s.%o.%d.%d", e.Sum.hex(), e.Mode, e.ModTime, n)
	return s.path("copies", s.boot, name[:2], name)
}

// findBlob returns what is known of a content, or fs.ErrNotExist. One that was
// written before the machine last went down is read and verified first.
func (s *Store) findBlob(ctx context.Context, d Digest) (fs.FileInfo, error) {
	file := s.blobPath(d)
	info, err := os.Lstat(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return info, err
	}
	for _, boot := range s.older {
		old := s.blobPathOf(boot, d)
		if _, err := os.Lstat(old); err != nil {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		if sum, err := sumFile(old); err != nil || sum != d {
			s.log().Warn("drop content that the machine's last stop damaged", "content", d, "err", err)
			os.Remove(old)
			continue
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return nil, fmt.Errorf("keep verified content: %w", err)
		}
		// If it is gone, someone else has verified and moved it.
		if err := moveNew(old, file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("keep verified content: %w", err)
		}
		break
	}
	return os.Lstat(file)
}

func sumFile(file string) (Digest, error) {
	f, err := os.Open(file)
	if err != nil {
		return Digest{}, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return Digest{}, err
	}
	return Digest(h.Sum(nil)), nil
}

// addFile makes a file with the mode and time of e, complete or not at all,
// unless someone else has meanwhile.
func (s *Store) addFile(file string, e *Entry, content io.Reader) error {
	tmp, err := os.CreateTemp(s.path("tmp"), "blob-*")
	if err != nil {
		return err
	}
	_, err = io.Copy(tmp, content)
	err = errors.Join(err, tmp.Chmod(fileMode(e)), tmp.Close())
	if err == nil {
		err = os.Chtimes(tmp.Name(), time.Time{}, time.Unix(0, e.ModTime))
	}
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o700)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return moveNew(tmp.Name(), file)
}

// moveNew moves a file to where there is none yet; if there is one, that
// stays. A rename would replace it, and whoever is about to link the replaced
// inode into a tree would find that it has no name any more.
func moveNew(from, to string) error {
	err := os.Link(from, to)
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return errors.Join(err, os.Remove(from))
}

// linkFile puts a file into a tree that has n files before it with the same
// content, mode and time. The blob is here.
func (s *Store) linkFile(ctx context.Context, e *Entry, n int, target string) error {
	blob, err := s.findBlob(ctx, e.Sum)
	if errors.Is(err, fs.ErrNotExist) && e.Size == 0 {
		if err := s.addFile(s.blobPath(e.Sum), e, eof{}); err != nil {
			return err
		}
		blob, err = s.findBlob(ctx, e.Sum)
	}
	if err != nil {
		return err
	}
	source := s.blobPath(e.Sum)
	if n > 0 || blob.Mode().Perm() != fileMode(e) || blob.ModTime().UnixNano() != e.ModTime {
		source = s.copyPath(e, n)
	}
	err = os.Link(source, target)
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.copyFile(source, e); err != nil {
			return err
		}
		err = os.Link(source, target)
	}
	if errors.Is(err, syscall.EMLINK) { // 65,000 trees have it on ext4
		return s.copyFile(target, e)
	}
	return err
}

func (s *Store) copyFile(target string, e *Entry) error {
	blob, err := os.Open(s.blobPath(e.Sum))
	if err != nil {
		return err
	}
	defer blob.Close()
	return s.addFile(target, e, blob)
}

// fileMode is e's, but that a daemon which is not root leaves itself a way to
// read what it keeps.
func fileMode(e *Entry) fs.FileMode {
	mode := fs.FileMode(e.Mode)
	if os.Geteuid() != 0 {
		mode |= 0o400
	}
	return mode
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }
