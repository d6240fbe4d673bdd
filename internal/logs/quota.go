package logs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"
)

const (
	defaultStepLimit = 64 << 20
	// tailShare: of the limit, one part in so many is kept for the end.
	tailShare = 16
)

// A quota is what one step may write: the beginning of its output up to the
// limit, as it comes, and the end of it, when it has ended. Its methods are
// called with the log locked.
type quota struct {
	log      *log
	step     string
	left     int64 // of the beginning
	tail     *tail // nil as long as there is some left
	tailSize int64
	midLine  bool // the text so far ends within a line
	noticed  bool // it has been said that something is left out
}

func (q *quota) write(b []byte) error {
	if q.tail == nil {
		n := q.head(b)
		q.left -= int64(n)
		if err := q.put(b[:n]); err != nil || n == len(b) {
			return err
		}
		b, q.left = b[n:], 0
		var err error
		if q.tail, err = newTail(q.log.dir.folder(q.log.run), q.tailSize); err != nil {
			return err
		}
	}
	if err := q.tail.write(b); err != nil || !q.tail.full() {
		return err
	}
	return q.notice()
}

// head is how much of b still belongs to the beginning: whole lines, if there
// are any.
func (q *quota) head(b []byte) int {
	if int64(len(b)) <= q.left {
		return len(b)
	}
	if end := bytes.LastIndexByte(b[:q.left], '\n'); end >= 0 {
		return end + 1
	}
	return int(q.left)
}

func (q *quota) put(b []byte) error {
	if len(b) > 0 {
		q.midLine = b[len(b)-1] != '\n'
	}
	return q.log.put(q.step, b)
}

// notice says once that something is left out.
func (q *quota) notice() error {
	if q.noticed {
		return nil
	}
	q.noticed = true
	broken := ""
	if q.midLine {
		broken = "\n"
	}
	return q.put(fmt.Appendf(nil, "%s%sStep ID: %s has reached the limit of its log: what follows is left out, but for its end, which is shown when the step ends\n",
		broken, time.Now().UTC().Format(timeFormat), q.step))
}

// end writes the end of the output. What comes after it is another end.
func (q *quota) end() error {
	if q.tail == nil {
		return nil
	}
	t := q.tail
	q.tail = nil
	return errors.Join(t.copyTo(q.put), t.file.Close())
}

// A tail is the last part of a text, in a file without a name.
type tail struct {
	file          *os.File
	size, written int64
}

func newTail(dir string, size int64) (*tail, error) {
	f, err := os.CreateTemp(dir, "tail-*")
	if err != nil {
		return nil, fmt.Errorf("end of a long log: %w", err)
	}
	return &tail{file: f, size: size}, os.Remove(f.Name())
}

// full says that there was more than is kept.
func (t *tail) full() bool { return t.written > t.size }

func (t *tail) write(b []byte) error {
	if over := int64(len(b)) - t.size; over > 0 {
		t.written += over
		b = b[over:]
	}
	for len(b) > 0 {
		at := t.written % t.size
		n, err := t.file.WriteAt(b[:min(int64(len(b)), t.size-at)], at)
		t.written += int64(n)
		if err != nil {
			return fmt.Errorf("end of a long log: %w", err)
		}
		b = b[n:]
	}
	return nil
}

// copyTo gives out what is kept, from the beginning of a line on.
func (t *tail) copyTo(put func([]byte) error) error {
	pos := max(0, t.written-t.size)
	skip := t.full()
	buf := make([]byte, 64<<10)
	for pos < t.written {
		at := pos % t.size
		n, err := t.file.ReadAt(buf[:min(int64(len(buf)), t.size-at, t.written-pos)], at)
		if n == 0 {
			return fmt.Errorf("end of a long log: %w", err)
		}
		pos += int64(n)
		part := buf[:n]
		if skip {
			end := bytes.IndexByte(part, '\n') + 1
			skip = end == 0 && pos < t.written
			part = part[end:]
			if skip {
				continue
			}
		}
		if err := put(part); err != nil {
			return err
		}
	}
	return nil
}
