package contexts

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
)

// The blob stream is, for each file, its sha256 (32 bytes), its size (8 bytes,
// big endian) and its content. It has no end of its own: whether all came is
// for the receiver to see from its manifest.
const blobHeader = sha256.Size + 8

// writeBlobs sends the contents with the given sums. After each piece it tells
// progress how many bytes of content went.
func (p *Packed) writeBlobs(ctx context.Context, w io.Writer, missing []Digest, progress func(int64)) error {
	root, err := os.OpenRoot(p.dir)
	if err != nil {
		return fmt.Errorf("send folder: %w", err)
	}
	defer root.Close()
	wanted := make(map[Digest]bool, len(missing))
	for _, d := range missing {
		wanted[d] = true
	}
	bw := &blobWriter{w: w, packed: p, root: root, buffer: make([]byte, 128<<10), progress: progress}
	for i := range p.Manifest.Entries {
		e := &p.Manifest.Entries[i]
		if e.Type != File || !wanted[e.Sum] {
			continue
		}
		delete(wanted, e.Sum)
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := bw.writeFile(e); err != nil {
			return err
		}
	}
	for d := range wanted {
		return fmt.Errorf("the daemon asks for %s, which is not in the context", d)
	}
	return nil
}

type blobWriter struct {
	w        io.Writer
	packed   *Packed
	root     *os.Root
	buffer   []byte
	progress func(int64)
}

// writeFile sends one file. The receiver checks the sum, so here it is enough
// that the file looks as it did when it was hashed.
func (b *blobWriter) writeFile(e *Entry) error {
	f, err := b.packed.open(b.root, e.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unchanged(f, e); err != nil {
		return err
	}
	header := binary.BigEndian.AppendUint64(slices.Clone(e.Sum[:]), uint64(e.Size))
	if _, err := b.w.Write(header); err != nil {
		return err
	}
	n, err := io.CopyBuffer(b, struct{ io.Reader }{io.LimitReader(f, e.Size)}, b.buffer)
	if err != nil {
		return err
	}
	if n != e.Size {
		return &ChangedError{Path: e.Path}
	}
	return unchanged(f, e)
}

// Write writes content, which unlike headers is progress.
func (b *blobWriter) Write(content []byte) (int, error) {
	n, err := b.w.Write(content)
	b.progress(int64(n))
	return n, err
}

func unchanged(f *os.File, e *Entry) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != e.Size || info.ModTime().UnixNano() != e.ModTime {
		return &ChangedError{Path: e.Path}
	}
	return nil
}

// A blobReader reads a blob stream. Each blob has to be read to its end before
// the next.
type blobReader struct {
	r    *bufio.Reader
	sum  Digest // of the blob at hand
	size int64
	left int64
	hash hash.Hash
}

func newBlobReader(r io.Reader) *blobReader {
	return &blobReader{r: bufio.NewReaderSize(r, 128<<10), hash: sha256.New()}
}

// next reads a header. At the end of the stream it returns io.EOF.
func (b *blobReader) next() error {
	var header [blobHeader]byte
	switch _, err := io.ReadFull(b.r, header[:]); {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: the stream ends in the middle of a header", ErrInvalid)
	case err != nil:
		return err
	}
	size := binary.BigEndian.Uint64(header[sha256.Size:])
	if size > 1<<62 {
		return fmt.Errorf("%w: a blob of %d bytes", ErrInvalid, size)
	}
	b.sum = Digest(header[:sha256.Size])
	b.size, b.left = int64(size), int64(size)
	b.hash.Reset()
	return nil
}

// Read reads the content of the blob at hand. It returns io.EOF only when all
// of it came and its sum is right; a wrong one is a *MismatchError.
func (b *blobReader) Read(p []byte) (int, error) {
	if b.left == 0 {
		if Digest(b.hash.Sum(nil)) != b.sum {
			return 0, &MismatchError{Digest: b.sum}
		}
		return 0, io.EOF
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.hash.Write(p[:n])
	b.left -= int64(n)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	if b.left > 0 {
		return n, fmt.Errorf("%w: the stream ends in the middle of a blob", ErrInvalid)
	}
	return n, nil // the sum is for the next call to judge
}

// A MismatchError says that a blob's content is not what its sum says. It is
// an ErrInvalid.
type MismatchError struct{ Digest Digest }

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%v: the content sent as %s is another", ErrInvalid, e.Digest)
}

func (e *MismatchError) Unwrap() error { return ErrInvalid }
