package contexts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// Receive reads a blob stream with what Plan found missing for d. Every blob
// that came whole and right is kept, whatever comes after it, so that a sender
// who was interrupted plans again and sends the rest.
//
// It refuses what the manifest does not list. Contents that came by another
// way meanwhile are read and dropped. If something is missing still at the
// end, the error is a *MissingError.
func (s *Store) Receive(ctx context.Context, d Digest, r io.Reader) error {
	if err := s.ready(); err != nil {
		return err
	}
	m, err := s.recall(d)
	if err != nil {
		return err
	}
	if err := s.receiveBlobs(ctx, m, newBlobReader(r)); err != nil {
		return fmt.Errorf("receive files: %w", err)
	}
	s.relied.RLock()
	defer s.relied.RUnlock()
	missing, err := s.missing(ctx, m)
	if err == nil && len(missing) > 0 {
		err = &MissingError{Digests: missing}
	}
	return err
}

func (s *Store) receiveBlobs(ctx context.Context, m *Manifest, blobs *blobReader) error {
	expected := make(map[Digest]*Entry, len(m.Entries))
	for i := range m.Entries {
		if e := &m.Entries[i]; e.Type == File && expected[e.Sum] == nil {
			expected[e.Sum] = e
		}
	}
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		err := blobs.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		e := expected[blobs.sum]
		if e == nil || e.Size != blobs.size {
			return fmt.Errorf("%w: %s of %d bytes was not asked for", ErrInvalid, blobs.sum, blobs.size)
		}
		delete(expected, blobs.sum)
		if err := s.receiveBlob(ctx, e, blobs); err != nil {
			return err
		}
	}
}

func (s *Store) receiveBlob(ctx context.Context, e *Entry, content io.Reader) error {
	_, err := s.findBlob(ctx, e.Sum)
	if err == nil {
		_, err = io.Copy(io.Discard, content)
		return err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.addFile(s.blobPath(e.Sum), e, content)
}
