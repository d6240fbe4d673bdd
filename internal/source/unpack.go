package source

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// zstdWindow is the most memory that a zstd archive may ask for. Only the
// highest levels (--ultra, --long) ask for more.
const zstdWindow = 64 << 20

// unpack finds out by its first bytes how an archive is compressed, and
// returns the tar that is in it. It is to be closed.
func unpack(r *bufio.Reader) (io.ReadCloser, error) {
	start, err := r.Peek(512)
	if len(start) == 0 && err != nil && err != io.EOF {
		return nil, err
	}
	has := func(magic string) bool { return bytes.HasPrefix(start, []byte(magic)) }
	switch {
	case has("\x1f\x8b"):
		return gzip.NewReader(r)
	case has("\x28\xb5\x2f\xfd"):
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case has("BZh"):
		return io.NopCloser(bzip2.NewReader(r)), nil
	case isTar(start):
		return io.NopCloser(r), nil
	}
	return nil, fmt.Errorf("%w: it is %s, not a tar: write one that is plain or compressed with gzip, zstd or bzip2", ErrArchive, guess(start))
}

// IsArchive tells by the first 512 bytes of something whether Extract takes it
// for an archive.
func IsArchive(start []byte) bool {
	for _, magic := range []string{"\x1f\x8b", "\x28\xb5\x2f\xfd", "BZh"} {
		if bytes.HasPrefix(start, []byte(magic)) {
			return true
		}
	}
	return isTar(start)
}

// isTar tells whether a header, or the two empty ones of an empty archive,
// begin here. It asks archive/tar, because the oldest kind has no magic.
func isTar(start []byte) bool {
	if len(start) < 512 {
		return false
	}
	_, err := tar.NewReader(bytes.NewReader(start)).Next()
	return !errors.Is(err, tar.ErrHeader)
}

// guess names what people most often take for a tar.
func guess(start []byte) string {
	trimmed := bytes.TrimSpace(start)
	for _, known := range []struct{ magic, name string }{
		{"\xfd7zXZ\x00", "an xz archive"},
		{"PK\x03\x04", "a zip archive"},
		{"7z\xbc\xaf\x27\x1c", "a 7z archive"},
		{"<!doctype html", "an HTML page"},
		{"<html", "an HTML page"},
		{"<?xml", "an XML document"},
		{"{", "a JSON document"},
	} {
		if n := len(known.magic); len(trimmed) >= n && strings.EqualFold(string(trimmed[:n]), known.magic) {
			return known.name
		}
	}
	if len(start) == 0 {
		return "empty"
	}
	return "something else"
}
