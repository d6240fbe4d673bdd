package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// minProgress is what has to arrive within Limits.Idle. A server that is busy
// says so more often; one that drips a byte a second does not pass.
const minProgress = 1 << 10

// A meter counts what one fetch receives, over whatever connections, and holds
// it to the limits.
type meter struct {
	limits   Limits
	received atomic.Int64
}

// add counts n bytes.
func (m *meter) add(n int) error {
	if m.received.Add(int64(n)) > m.limits.Bytes {
		return fmt.Errorf("%w: more than %s received", ErrLimit, byteSize(m.limits.Bytes))
	}
	return nil
}

// tell returns out made safe for concurrent use. Until stop is called, it is
// told now and then how much has been received.
func (m *meter) tell(ctx context.Context, out io.Writer, every time.Duration) (told io.Writer, stop func()) {
	to := &lockedWriter{w: out}
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for last := int64(0); ; {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			if n := m.received.Load(); n != last {
				fmt.Fprintf(to, "Received %s\n", byteSize(n))
				last = n
			}
		}
	})
	return to, func() { cancel(); done.Wait() }
}

type lockedWriter struct {
	mu sync.Mutex // guards w
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// watch returns a reader that counts what comes from r. When that is too much
// or too slow, cancel is called, which must end a Read of r. The watch ends
// with ctx.
func (m *meter) watch(ctx context.Context, r io.Reader, cancel context.CancelCauseFunc) io.Reader {
	w := &watched{meter: m, ctx: ctx, r: r, cancel: cancel}
	go w.patrol()
	return w
}

type watched struct {
	meter  *meter
	ctx    context.Context // of the transfer; its cause is why a Read failed
	r      io.Reader
	cancel context.CancelCauseFunc
	seen   atomic.Int64
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.seen.Add(int64(n))
	if over := w.meter.add(n); over != nil {
		w.cancel(over)
		return n, over
	}
	if err != nil && !errors.Is(err, io.EOF) && w.ctx.Err() != nil {
		err = context.Cause(w.ctx)
	}
	return n, err
}

// patrol compares what has been seen with what had been seen one Limits.Idle
// ago, in steps of a sixth, so that it is late by no more than that.
func (w *watched) patrol() {
	const steps = 6
	idle := w.meter.limits.Idle
	ticker := time.NewTicker(max(idle/steps, time.Millisecond))
	defer ticker.Stop()
	var before [steps]int64
	for i := 0; ; i++ {
		select {
		case <-w.ctx.Done():
			return
		case <-ticker.C:
		}
		seen := w.seen.Load()
		if i >= steps-1 && seen-before[(i+1)%steps] < minProgress {
			w.cancel(fmt.Errorf("%w: less than %s in %v", ErrNoProgress, byteSize(minProgress), idle))
			return
		}
		before[i%steps] = seen
	}
}
