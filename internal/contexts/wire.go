package contexts

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// The wire form of a manifest, which is also what its digest is taken of:
//
//	"acrd-context/1\n" name count { type path mode mtime (size sum | target)? }
//
// Numbers are varints, texts are a length and bytes, a sum is 32 bytes. JSON
// was measured at eight times the cost.
const (
	manifestMagic = "acrd-context/1\n"

	// maxManifest bounds the memory one manifest can cost a reader. It leaves
	// 100,000 entries 335 bytes each.
	maxManifest = 32 << 20

	maxName   = 256
	maxTarget = 4095 // what Linux takes
)

// AppendBinary appends the wire form of m to b.
func (m *Manifest) AppendBinary(b []byte) []byte {
	b = append(b, manifestMagic...)
	b = appendText(b, m.Name)
	b = binary.AppendUvarint(b, uint64(len(m.Entries)))
	for i := range m.Entries {
		e := &m.Entries[i]
		b = append(b, byte(e.Type))
		b = appendText(b, e.Path)
		b = binary.AppendUvarint(b, uint64(e.Mode))
		b = binary.AppendVarint(b, e.ModTime)
		switch e.Type {
		case File:
			b = binary.AppendUvarint(b, uint64(e.Size))
			b = append(b, e.Sum[:]...)
		case Symlink:
			b = appendText(b, e.Target)
		}
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// ReadManifest reads the wire form to the end of r. What it returns is well
// formed and within l; whether it makes sense is for Plan to say. The error is
// ErrInvalid, ErrTooLarge or r's.
func ReadManifest(r io.Reader, l Limits) (*Manifest, error) {
	l = l.withDefaults()
	limited := &io.LimitedReader{R: r, N: maxManifest + 1}
	d := &decoder{r: bufio.NewReaderSize(limited, 64<<10)}
	m := d.manifest(l)
	if d.err == nil {
		if _, err := d.r.ReadByte(); err != io.EOF {
			d.fail(errors.New("bytes after the last entry"))
		}
	}
	if limited.N <= 0 {
		return nil, fmt.Errorf("%w: its list takes more than %d MiB", ErrTooLarge, maxManifest>>20)
	}
	if d.err != nil {
		return nil, d.err
	}
	return m, nil
}

// A decoder keeps the first error; after it every read is zero.
type decoder struct {
	r       *bufio.Reader
	scratch []byte
	err     error
}

func (d *decoder) manifest(l Limits) *Manifest {
	if magic := d.bytes(len(manifestMagic)); string(magic) != manifestMagic {
		d.fail(errors.New("not a manifest of this version"))
	}
	m := &Manifest{Name: d.text("name", maxName)}
	count := d.uvarint()
	if count > uint64(l.Entries) && d.err == nil {
		d.err = tooMany(l)
	}
	for range count {
		e := d.entry(l)
		if d.err != nil {
			return nil
		}
		m.Entries = append(m.Entries, e) // grown, never taken from the count on trust
	}
	return m
}

func (d *decoder) entry(l Limits) Entry {
	var e Entry
	if b := d.bytes(1); b != nil {
		e.Type = Type(b[0])
	}
	e.Path = d.text("path", l.Path)
	mode := d.uvarint()
	if mode > 0o777 {
		d.fail(fmt.Errorf("%q has mode %#o", e.Path, mode))
	}
	e.Mode = uint32(mode)
	e.ModTime = d.varint()
	switch e.Type {
	case File:
		size := d.uvarint()
		if size > uint64(l.Bytes) && d.err == nil {
			d.err = tooBig(l)
		}
		e.Size = int64(size)
		copy(e.Sum[:], d.bytes(len(e.Sum)))
	case Dir:
	case Symlink:
		e.Target = d.text("link target", maxTarget)
	default:
		d.fail(fmt.Errorf("%q has type %q", e.Path, rune(e.Type)))
	}
	return e
}

func (d *decoder) text(what string, limit int) string {
	n := d.uvarint()
	if n > uint64(limit) {
		d.fail(fmt.Errorf("a %s of %d bytes; at most %d", what, n, limit))
	}
	return string(d.bytes(int(n)))
}

// bytes returns n bytes that are good until the next call, or nil.
func (d *decoder) bytes(n int) []byte {
	if d.err != nil {
		return nil
	}
	d.scratch = slices.Grow(d.scratch[:0], n)[:n]
	if _, err := io.ReadFull(d.r, d.scratch); err != nil {
		d.fail(err)
		return nil
	}
	return d.scratch
}

func (d *decoder) uvarint() uint64 {
	if d.err != nil {
		return 0
	}
	n, err := binary.ReadUvarint(d.r)
	d.fail(err)
	return n
}

func (d *decoder) varint() int64 {
	if d.err != nil {
		return 0
	}
	n, err := binary.ReadVarint(d.r)
	d.fail(err)
	return n
}

func (d *decoder) fail(err error) {
	if err == nil || d.err != nil {
		return
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the list ends in its middle")
	}
	d.err = fmt.Errorf("%w: %w", ErrInvalid, err)
}
