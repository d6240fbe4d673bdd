package source

import (
	"context"
	"fmt"
	"io"
)

// A counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// bounded is the unpacked stream of an archive. It ends in an error when it
// gets too large, by itself or beside what it is unpacked from, or when too
// much of it describes a single entry.
type bounded struct {
	ctx    context.Context
	r      io.Reader
	packed *counter
	limits Limits

	total   int64
	headers bool
	header  int64 // bytes read since describing(true)
}

// describing says whether headers are read from now on.
func (b *bounded) describing(on bool) { b.headers, b.header = on, 0 }

func (b *bounded) Read(p []byte) (int, error) {
	if b.ctx.Err() != nil {
		return 0, context.Cause(b.ctx)
	}
	n, err := b.r.Read(p)
	b.total += int64(n)
	if b.headers {
		b.header += int64(n)
	}
	switch {
	case b.header > b.limits.Header:
		return n, fmt.Errorf("%w: a header of more than %s", ErrLimit, byteSize(b.limits.Header))
	case b.total > b.limits.Bytes:
		return n, fmt.Errorf("%w: more than %s unpacked", ErrLimit, byteSize(b.limits.Bytes))
	case b.total > b.limits.RatioAfter && b.total/b.limits.Ratio > b.packed.n:
		return n, fmt.Errorf("%w: it unpacks to more than %d times its size", ErrLimit, b.limits.Ratio)
	}
	return n, err
}
