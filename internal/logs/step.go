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

// Step reads what one step of a run has written. With follow, reading waits
// for more until the run has ended or ctx has.
func (d *Dir) Step(ctx context.Context, run, step string, follow bool) (io.ReadCloser, error) {
	if !validRun.MatchString(run) {
		return nil, ErrNone
	}
	r := &stepReader{ctx: ctx, step: step, live: d.isLive(run), follow: follow}
	var err error
	if r.text, err = os.Open(filepath.Join(d.Path, run, textFile)); errors.Is(err, os.ErrNotExist) {
		return nil, ErrNone
	}
	if err == nil {
		r.index, err = os.Open(filepath.Join(d.Path, run, indexFile))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open log: %w", err), r.Close())
	}
	return r, nil
}

// A stepReader goes through the index, and reads from the text what it says is
// the step's. It keeps its context because io.Reader has no other place for
// one.
type stepReader struct {
	ctx    context.Context //nolint:containedctx // see above
	step   string
	follow bool
	live   *log // nil if the run has ended

	text, index *os.File
	line        []byte              // the beginning of an index line
	parts       []*io.SectionReader // found, but not read yet
	done        int64               // how much of the text has been looked at
}

func (r *stepReader) Read(b []byte) (int, error) {
	for {
		for len(r.parts) > 0 {
			if n, _ := r.parts[0].Read(b); n > 0 {
				return n, nil
			}
			r.parts = r.parts[1:]
		}
		// The state first: what is written after it is found the next time.
		more, changed, open := false, (<-chan struct{})(nil), span{}
		if r.live != nil {
			more, changed, open = r.live.snapshot()
		}
		if err := r.scan(); err != nil {
			return 0, err
		}
		r.add(open)
		if len(r.parts) > 0 {
			continue
		}
		if !more || !r.follow {
			return 0, io.EOF
		}
		select {
		case <-changed:
		case <-r.ctx.Done():
			return 0, context.Cause(r.ctx)
		}
	}
}

// scan reads the index on. Its last line may be one that is being written.
func (r *stepReader) scan() error {
	b, err := io.ReadAll(r.index)
	if err != nil {
		return fmt.Errorf("index of log: %w", err)
	}
	r.line = append(r.line, b...)
	for {
		line, rest, ok := bytes.Cut(r.line, []byte("\n"))
		if !ok {
			return nil
		}
		r.line = rest
		var s span
		if err := json.Unmarshal(line, &s); err != nil {
			return fmt.Errorf("index of log: %w", err)
		}
		r.add(s)
	}
}

// add takes a span, or what of it is new.
func (r *stepReader) add(s span) {
	from := max(s.From, r.done)
	if s.To <= from {
		return
	}
	r.done = s.To
	if s.Step == r.step {
		r.parts = append(r.parts, io.NewSectionReader(r.text, from, s.To-from))
	}
}

func (r *stepReader) Close() error {
	var errs []error
	for _, f := range []*os.File{r.text, r.index} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
