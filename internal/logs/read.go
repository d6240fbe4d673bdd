package logs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Open reads the text of a run from an offset. With follow, reading waits for
// more until the run has ended or ctx has.
func (d *Dir) Open(ctx context.Context, run string, offset int64, follow bool) (io.ReadCloser, error) {
	return d.read(ctx, run, textFile, offset, follow)
}

// Progress reads the progress messages of a run, JSON lines, from the start.
func (d *Dir) Progress(ctx context.Context, run string, follow bool) (io.ReadCloser, error) {
	return d.read(ctx, run, progressFile, 0, follow)
}

func (d *Dir) read(ctx context.Context, run, name string, offset int64, follow bool) (io.ReadCloser, error) {
	s, err := d.open(ctx, run, name)
	if err != nil {
		return nil, err
	}
	return &reader{ctx: ctx, stored: s, part: s.parts[0], pos: offset, follow: follow}, nil
}

// A part is a file of a log, where it is now.
type part interface {
	io.ReaderAt
	io.Closer
	// Size is how long it is. Of a file that is being written, it is how long
	// it was.
	Size() (int64, error)
}

// stored are parts of one log.
type stored struct {
	parts []part
	live  *log     // nil if nobody writes it
	await awaiting // who may write it next
}

// open opens the named files of a log, wherever they are.
func (d *Dir) open(ctx context.Context, run string, names ...string) (*stored, error) {
	if !validRun().MatchString(run) {
		return nil, ErrNone
	}
	s := &stored{live: d.isLive(run), await: awaiting{dir: d, run: run}}
	for _, name := range names {
		f, err := os.Open(filepath.Join(d.folder(run), name))
		if errors.Is(err, os.ErrNotExist) && d.Bucket != nil {
			return d.openArchive(ctx, run, names) // perhaps it was moved just now
		}
		if errors.Is(err, os.ErrNotExist) {
			err = ErrNone
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open log: %w", err), s.Close())
		}
		s.parts = append(s.parts, file{f})
	}
	return s, nil
}

func (s *stored) Close() error {
	var errs []error
	for _, p := range s.parts {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// state is how long the log is, and whether it is being written.
func (s *stored) state() (size int64, more bool, err error) {
	if s.live != nil {
		size, more, _ = s.live.snapshot()
		return size, more, nil
	}
	size, err = s.parts[0].Size()
	return size, false, err
}

type file struct{ *os.File }

func (f file) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("read log: %w", err)
	}
	return info.Size(), nil
}

// A reader reads a file that may be growing. It keeps its context because
// io.Reader has no other place for one.
type reader struct {
	ctx context.Context //nolint:containedctx // see above
	*stored
	part   part
	pos    int64
	follow bool
}

func (r *reader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		n, err := r.part.ReadAt(b, r.pos)
		r.pos += int64(n)
		if n > 0 {
			return n, nil
		}
		if !errors.Is(err, io.EOF) || !r.follow {
			return 0, err
		}
		if err := r.wait(r.ctx); err != nil {
			return 0, err
		}
	}
}

// Step reads what one step of a run has written. With follow, reading waits
// for more until the run has ended or ctx has.
func (d *Dir) Step(ctx context.Context, run, step string, follow bool) (io.ReadCloser, error) {
	s, err := d.open(ctx, run, textFile, indexFile)
	if err != nil {
		return nil, err
	}
	return &stepReader{ctx: ctx, stored: s, step: step, follow: follow, marks: newMarks(s.parts[1])}, nil
}

// A stepReader goes through the index, and reads from the text what it says is
// the step's. It keeps its context because io.Reader has no other place for
// one.
type stepReader struct {
	ctx context.Context //nolint:containedctx // see above
	*stored
	step   string
	follow bool

	marks    *marks
	next     *mark // that is not reached yet
	mine     bool  // the part is the step's that goes
	pos, end int64 // from here to there
}

func (r *stepReader) Read(b []byte) (int, error) {
	for {
		if r.mine && r.pos < r.end {
			n, err := r.parts[0].ReadAt(b[:min(int64(len(b)), r.end-r.pos)], r.pos)
			r.pos += int64(n)
			if n > 0 || len(b) == 0 {
				return n, nil
			}
			return 0, err
		}
		size, _, err := r.state()
		if err != nil {
			return 0, err
		}
		if err := r.advance(size); err != nil {
			return 0, err
		}
		if r.pos < r.end {
			continue
		}
		if !r.follow {
			return 0, io.EOF
		}
		if err := r.wait(r.ctx); err != nil {
			return 0, err
		}
	}
}

// advance goes to the next part of the text, which is size bytes long by now.
func (r *stepReader) advance(size int64) error {
	for r.pos = r.end; ; r.next = nil {
		if r.next == nil {
			m, ok, err := r.marks.next()
			if err != nil {
				return err
			}
			if !ok {
				r.end = max(r.pos, size)
				return nil
			}
			r.next = &m
		}
		if r.next.From > r.pos {
			r.end = min(r.next.From, max(r.pos, size))
			return nil
		}
		r.mine = r.next.Step == r.step && !r.next.End
	}
}

// marks reads an index. Its last line may be one that is being written.
type marks struct {
	index io.ReaderAt
	read  int64  // how much of the index
	whole int64  // how much of it in whole lines that were returned
	rest  []byte // that was read and not returned
	buf   []byte
}

func newMarks(index io.ReaderAt) *marks { return &marks{index: index} }

// next is the next mark, if there is one by now.
func (m *marks) next() (mark, bool, error) {
	for {
		if line, rest, ok := bytes.Cut(m.rest, []byte("\n")); ok {
			m.rest = rest
			m.whole += int64(len(line)) + 1
			var found mark
			if err := json.Unmarshal(line, &found); err != nil {
				return mark{}, false, fmt.Errorf("index of log: %w", err)
			}
			return found, true, nil
		}
		if m.buf == nil {
			m.buf = make([]byte, 4<<10)
		}
		kept := copy(m.buf, m.rest)
		if kept == len(m.buf) {
			m.buf = append(m.buf, m.buf...) // a longer line than any so far
		}
		n, err := m.index.ReadAt(m.buf[kept:], m.read)
		m.read += int64(n)
		m.rest = m.buf[:kept+n]
		if n == 0 {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return mark{}, false, err
		}
	}
}
