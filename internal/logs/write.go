package logs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"acrd/runner"
)

// Create begins the log of a run that has none.
func (d *Dir) Create(run string) (runner.Log, error) {
	if !validRun().MatchString(run) {
		return nil, fmt.Errorf("run id %q is not valid", run)
	}
	defer d.turn(run)()
	return d.create(run)
}

func (d *Dir) create(run string) (runner.Log, error) {
	l := newLog(d, run)
	if err := l.openFiles(os.O_CREATE | os.O_TRUNC); err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	d.add(l)
	return l, nil
}

// Reopen goes on with the log of a run that another process has begun; if
// there is none, it begins one. Where the other has stopped without closing
// the log, it says so in it.
func (d *Dir) Reopen(run string) (runner.Log, error) {
	if !validRun().MatchString(run) {
		return nil, fmt.Errorf("run id %q is not valid", run)
	}
	defer d.turn(run)()
	if d.isLive(run) != nil {
		return nil, fmt.Errorf("reopen log of run %s: %w", run, ErrLive)
	}
	if _, err := os.Stat(filepath.Join(d.folder(run), textFile)); errors.Is(err, os.ErrNotExist) {
		if err := d.notArchived(run); err != nil {
			return nil, fmt.Errorf("reopen log of run %s: %w", run, err)
		}
		return d.create(run)
	}
	l := newLog(d, run)
	err := l.openFiles(os.O_CREATE)
	if err == nil {
		err = l.resume()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reopen log of run %s: %w", run, err), l.closeFiles())
	}
	d.add(l)
	return l, nil
}

func (d *Dir) add(l *log) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.live == nil {
		d.live = map[string]*log{}
	}
	d.live[l.run] = l
}

// A log is one that is being written.
type log struct {
	dir *Dir
	run string

	mu                    sync.Mutex // guards what follows
	text, index, progress *os.File
	size                  int64
	last                  mark // in the index
	steps                 map[string]*quota
	changed               chan struct{} // closed and renewed when there is more
	told                  time.Time     // when that was last
	telling               bool          // and will be soon
	closed                bool
}

func newLog(d *Dir, run string) *log {
	return &log{dir: d, run: run, steps: map[string]*quota{}, changed: make(chan struct{}), last: mark{From: -1}}
}

// A mark in the index says who writes the text from there on. It is there
// before the text is.
type mark struct {
	From int64  `json:"from"`
	Step string `json:"step"`
	// End says that the log was closed there.
	End bool `json:"end,omitempty"`
}

func (l *log) openFiles(flags int) error {
	dir := l.dir.folder(l.run)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		file **os.File
	}{{textFile, &l.text}, {indexFile, &l.index}, {progressFile, &l.progress}} {
		var err error
		if *f.file, err = os.OpenFile(filepath.Join(dir, f.name), flags|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
			return errors.Join(err, l.closeFiles())
		}
	}
	return nil
}

// resume finds out how far the log is. The index may end in half a line.
func (l *log) resume() error {
	info, err := l.text.Stat()
	if err != nil {
		return err
	}
	l.size = info.Size()
	if l.last, err = lastMark(l.index); err != nil {
		return err
	}
	if l.last.End || l.size == 0 {
		return nil
	}
	broken := ""
	end := make([]byte, 1)
	if _, err := l.text.ReadAt(end, l.size-1); err != nil {
		return err
	}
	if end[0] != '\n' {
		broken = "\n"
	}
	return l.put("", []byte(broken+time.Now().UTC().Format(timeFormat)+"The daemon stopped while this run was going on; what it printed last may be missing\n"))
}

// timeFormat is acb's.
const timeFormat = "2006/01/02 15:04:05 "

// lastMark is the last whole mark of an index. What comes after it is cut off.
func lastMark(index *os.File) (mark, error) {
	last := mark{From: -1}
	info, err := index.Stat()
	if err != nil {
		return last, err
	}
	r := newMarks(io.NewSectionReader(index, 0, info.Size()))
	for {
		m, ok, err := r.next()
		if err != nil {
			return last, err
		}
		if !ok {
			return last, index.Truncate(r.whole)
		}
		last = m
	}
}

func (l *log) Write(step string, b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return os.ErrClosed
	}
	if step == "" {
		return sentence(l.put(step, b))
	}
	return sentence(l.quota(step).write(b))
}

// sentence is what a user may read of an error.
func sentence(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("log of run: %w", runner.ErrNoSpace)
	}
	return err
}

func (l *log) quota(step string) *quota {
	q := l.steps[step]
	if q == nil {
		limit := l.dir.StepLimit
		if limit <= 0 {
			limit = defaultStepLimit
		}
		q = &quota{log: l, step: step, tailSize: max(limit/tailShare, 1)}
		q.left = limit - q.tailSize
		l.steps[step] = q
	}
	return q
}

// put is called with the lock held.
func (l *log) put(step string, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if l.last.From < 0 || l.last.Step != step || l.last.End {
		if err := l.mark(mark{From: l.size, Step: step}); err != nil {
			return err
		}
	}
	n, err := l.text.Write(b)
	l.size += int64(n)
	l.tell()
	return err
}

// mark writes a whole mark or none: on a full disk there may be room for half
// of one.
func (l *log) mark(m mark) error {
	info, err := l.index.Stat()
	if err != nil {
		return err
	}
	if err := json.NewEncoder(l.index).Encode(m); err != nil {
		return errors.Join(err, l.index.Truncate(info.Size()))
	}
	l.last = m
	return nil
}

func (l *log) End(step string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q := l.steps[step]; q != nil && !l.closed {
		return q.end()
	}
	return nil
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
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	var errs []error
	for _, q := range l.steps {
		errs = append(errs, q.end())
	}
	errs = append(errs, l.mark(mark{From: l.size, End: true}), l.closeFiles())
	l.closed = true
	l.wake()
	l.dir.mu.Lock()
	defer l.dir.mu.Unlock()
	delete(l.dir.live, l.run)
	return errors.Join(errs...)
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

// pause is how long followers are left alone after they have been woken: a
// thousand of them cannot look at each line when it comes.
const pause = 10 * time.Millisecond

// tell wakes followers, now or soon. It is called with the lock held.
func (l *log) tell() {
	if l.telling {
		return
	}
	since := time.Since(l.told)
	if since >= pause {
		l.wake()
		return
	}
	l.telling = true
	time.AfterFunc(pause-since, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.telling = false
		l.wake()
	})
}

func (l *log) wake() {
	l.told = time.Now()
	close(l.changed)
	l.changed = make(chan struct{})
}

// snapshot is how long the text is, whether more can come, and what will be
// closed when it does.
func (l *log) snapshot() (size int64, more bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size, !l.closed, l.changed
}
