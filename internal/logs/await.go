package logs

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"acrd/runner"
)

// A log that nobody writes may be gone on with: its run waits in the queue of a
// daemon that was started anew, or was begun by one that is gone and is not
// settled yet. Who follows it waits for that. Whether it may be, the run's
// status says.

const (
	// lookAgain is how often a follower looks who writes a log that nobody
	// writes.
	lookAgain = 250 * time.Millisecond
	// lastLine is how long the last line of a log may come after the end of
	// its run.
	lastLine = 2 * time.Second
)

// awaiting is how a follower waits.
type awaiting struct {
	dir     *Dir // nil if the log is archived
	run     string
	changed <-chan struct{} // says that there may be more
	over    bool            // there will not be
	ended   time.Time       // when the run was first seen to have ended
}

// wait returns when there may be more to read. It is io.EOF if there is no
// more, and there was none at the call before, so that what came between a
// reader's last look and the end is read.
func (s *stored) wait(ctx context.Context) error {
	a := &s.await
	if a.over {
		return io.EOF
	}
	if a.changed != nil {
		select {
		case <-a.changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if s.live == nil && a.dir != nil {
		s.live = a.dir.isLive(a.run)
	}
	if s.live != nil {
		var more bool
		if _, more, a.changed = s.live.snapshot(); more {
			return nil
		}
		s.live = nil
	}
	a.changed = nil
	if a.over = !a.goesOn(ctx); !a.over {
		a.changed = after(lookAgain)
	}
	return nil
}

func after(d time.Duration) <-chan struct{} {
	c := make(chan struct{})
	time.AfterFunc(d, func() { close(c) })
	return c
}

// goesOn says whether more may come although nobody writes.
func (a *awaiting) goesOn(ctx context.Context) bool {
	switch {
	case a.dir == nil || a.dir.Outcome == nil:
		return false
	case a.dir.goesOn(ctx, a.run):
		a.ended = time.Time{}
		return true
	case a.dir.isClosed(a.run):
		return false
	case a.ended.IsZero():
		a.ended = time.Now()
	}
	return time.Since(a.ended) < lastLine
}

// goesOn says that the run has not ended. As long as nobody can tell, it has
// not.
func (d *Dir) goesOn(ctx context.Context, run string) bool {
	if d.Outcome == nil {
		return false
	}
	status, err := d.Outcome(ctx, run)
	if err != nil {
		return !errors.Is(err, runner.ErrNotFound)
	}
	return !status.Final()
}

// isClosed says that who wrote the log last has closed it, or that it was
// archived.
func (d *Dir) isClosed(run string) bool {
	index, err := os.Open(filepath.Join(d.folder(run), indexFile))
	if err != nil {
		return true
	}
	defer index.Close()
	var last mark
	for marks := newMarks(index); ; {
		m, ok, err := marks.next()
		if err != nil || !ok {
			return err != nil || last.End
		}
		last = m
	}
}
