package source

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// errProtocol is a server that does not speak git as it should.
var errProtocol = errors.New("protocol error")

// A pktReader reads git's packet lines, each of which says how long it is.
type pktReader struct {
	r       io.Reader
	flushed bool // the line that was read last marks an end
}

// next returns the next line; an empty one with flushed set is a mark.
func (p *pktReader) next() (string, error) {
	var head [4]byte
	if _, err := io.ReadFull(p.r, head[:]); err != nil {
		return "", cutShort(err)
	}
	var size [2]byte
	if _, err := hex.Decode(size[:], head[:]); err != nil {
		return "", fmt.Errorf("%w: %q is not the length of a line", errProtocol, head[:])
	}
	n := int(size[0])<<8 | int(size[1])
	p.flushed = n < 4
	switch {
	case n <= 2: // flush, delimiter, end of response
		return "", nil
	case n == 3 || n > 65520:
		return "", fmt.Errorf("%w: a line of %d bytes", errProtocol, n)
	}
	line := make([]byte, n-4)
	if _, err := io.ReadFull(p.r, line); err != nil {
		return "", cutShort(err)
	}
	return string(line), nil
}

func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the answer is cut short", errProtocol)
	}
	return err
}
