package control

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// The answer to an Exec is a stream of frames, each with the eight-byte
// header of docker's attach API: kind, three zeros, length (big-endian).
const (
	FrameStarted = 0 // empty: the command runs
	FrameStdout  = 1
	FrameStderr  = 2
	FrameExit    = 3 // an Exit, the last frame
	FrameNotice  = 4 // a line from the engine, without its newline
)

// frameMax bounds what a reader takes in at once.
const frameMax = 1 << 20

// A FrameWriter writes frames. It is safe for concurrent use.
type FrameWriter struct {
	mu    sync.Mutex // guards w
	w     io.Writer
	flush func()
}

// NewFrameWriter writes to w and calls flush, if not nil, after each frame.
func NewFrameWriter(w io.Writer, flush func()) *FrameWriter {
	if flush == nil {
		flush = func() {}
	}
	return &FrameWriter{w: w, flush: flush}
}

// Frame writes one frame.
func (f *FrameWriter) Frame(kind byte, b []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var header [8]byte
	header[0] = kind
	binary.BigEndian.PutUint32(header[4:], uint32(len(b)))
	if _, err := f.w.Write(append(header[:], b...)); err != nil {
		return err
	}
	f.flush()
	return nil
}

// Exit writes the last frame.
func (f *FrameWriter) Exit(e Exit) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return f.Frame(FrameExit, b)
}

// Stream is an io.Writer whose writes become frames of one kind.
func (f *FrameWriter) Stream(kind byte) io.Writer { return frameStream{f, kind} }

type frameStream struct {
	f    *FrameWriter
	kind byte
}

func (s frameStream) Write(b []byte) (int, error) {
	for done := 0; done < len(b); {
		n := min(len(b)-done, frameMax)
		if err := s.f.Frame(s.kind, b[done:done+n]); err != nil {
			return done, err
		}
		done += n
	}
	return len(b), nil
}

// readFrame reads one frame into buf, growing it if need be.
func readFrame(r io.Reader, buf []byte) (kind byte, b, grown []byte, err error) {
	var header [8]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, buf, err
	}
	n := binary.BigEndian.Uint32(header[4:])
	if n > frameMax {
		return 0, nil, buf, fmt.Errorf("frame of %d bytes", n)
	}
	if int(n) > cap(buf) {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	_, err = io.ReadFull(r, buf)
	return header[0], buf, buf, err
}
