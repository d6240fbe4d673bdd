// Package logs keeps what runs print, as files: one folder a run, in it the
// text as a user reads it, an index of which step wrote which part, and the
// progress messages of builds. Never SQL: logs are large, written once, and
// read from any offset.
package logs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"acrd/runner"
)

// ErrNone says that there is no log of that run.
var ErrNone = errors.New("no log of that run")

// A Dir keeps logs in a folder. It is safe for concurrent use by one process.
type Dir struct {
	Path string

	mu   sync.Mutex // guards live
	live map[string]*log
}

// Latest is the run whose log was begun last; empty if there is none.
func (d *Dir) Latest() (string, error) {
	entries, err := os.ReadDir(d.Path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("list logs: %w", err)
	}
	latest := ""
	for _, e := range entries { // ids grow in length, then in the alphabet
		if n := e.Name(); validRun.MatchString(n) && (len(n) > len(latest) || len(n) == len(latest) && n > latest) {
			latest = n
		}
	}
	return latest, nil
}

// The files of a run's folder.
const (
	textFile     = "log"
	indexFile    = "index"
	progressFile = "progress"
)

var validRun = regexp.MustCompile(`^[a-z0-9]+$`)

// Create begins the log of a run.
func (d *Dir) Create(run string) (runner.Log, error) {
	if !validRun.MatchString(run) {
		return nil, fmt.Errorf("run id %q is not valid", run)
	}
	dir := filepath.Join(d.Path, run)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	l := &log{dir: d, run: run, changed: make(chan struct{})}
	for _, f := range []struct {
		name string
		file **os.File
	}{{textFile, &l.text}, {indexFile, &l.index}, {progressFile, &l.progress}} {
		var err error
		if *f.file, err = os.OpenFile(filepath.Join(dir, f.name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600); err != nil {
			return nil, errors.Join(fmt.Errorf("create log: %w", err), l.closeFiles())
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.live == nil {
		d.live = map[string]*log{}
	}
	d.live[run] = l
	return l, nil
}

func (d *Dir) isLive(run string) *log {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.live[run]
}

// A log is one that is being written.
type log struct {
	dir *Dir
	run string

	mu                    sync.Mutex // guards what follows
	text, index, progress *os.File
	size                  int64
	open                  span          // the part that the last step is writing
	changed               chan struct{} // closed and renewed with every write
	closed                bool
}

// A span is a part of the text that one step has written.
type span struct {
	From int64  `json:"from"`
	To   int64  `json:"to"`
	Step string `json:"step"`
}

func (l *log) Write(step string, b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return os.ErrClosed
	}
	n, err := l.text.Write(b)
	if l.open.Step != step {
		err = errors.Join(err, l.endSpan())
		l.open = span{From: l.size, Step: step}
	}
	l.size += int64(n)
	l.open.To = l.size
	l.tell()
	return err
}

func (l *log) Progress(step string, b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return os.ErrClosed
	}
	_, err := l.progress.Write(b)
	l.tell()
	return err
}

func (l *log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	err := errors.Join(l.endSpan(), l.closeFiles())
	l.tell()
	l.mu.Unlock()

	l.dir.mu.Lock()
	delete(l.dir.live, l.run)
	l.dir.mu.Unlock()
	return err
}

// endSpan is called with the lock held.
func (l *log) endSpan() error {
	if l.open.To == l.open.From {
		return nil
	}
	return json.NewEncoder(l.index).Encode(l.open)
}

func (l *log) closeFiles() error {
	var errs []error
	for _, f := range []*os.File{l.text, l.index, l.progress} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

func (l *log) tell() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// snapshot says whether more can come, what will be closed when it does, and
// which part is not in the index yet.
func (l *log) snapshot() (more bool, changed <-chan struct{}, open span) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.closed, l.changed, l.open
}

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
	if !validRun.MatchString(run) {
		return nil, ErrNone
	}
	live := d.isLive(run)
	f, err := os.Open(filepath.Join(d.Path, run, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		f.Close()
		return nil, fmt.Errorf("open log: %w", err)
	}
	if !follow {
		live = nil
	}
	return &reader{ctx: ctx, file: f, live: live}, nil
}

// A reader reads a file that may be growing. It keeps its context because
// io.Reader has no other place for one.
type reader struct {
	ctx  context.Context //nolint:containedctx // see above
	file *os.File
	live *log
}

func (r *reader) Read(b []byte) (int, error) {
	for {
		more, changed := false, (<-chan struct{})(nil)
		if r.live != nil {
			more, changed, _ = r.live.snapshot()
		}
		n, err := r.file.Read(b)
		if n > 0 || !errors.Is(err, io.EOF) || !more {
			return n, err
		}
		select {
		case <-changed:
		case <-r.ctx.Done():
			return 0, context.Cause(r.ctx)
		}
	}
}

func (r *reader) Close() error { return r.file.Close() }
