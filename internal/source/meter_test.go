package source

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &meter{limits: Limits{}.withDefaults()}
		var b bytes.Buffer
		_, stop := m.tell(t.Context(), &b, 10*time.Second)
		for _, n := range []int{1, 2 << 20, 0} {
			m.add(n)
			time.Sleep(10 * time.Second)
			synctest.Wait()
		}
		stop()
		if got, want := b.String(), "Received 1 B\nReceived 2.0 MiB\n"; got != want {
			t.Errorf("told %q; want %q", got, want)
		}
	})
}

// TestWatch reads from peers of different speeds until each gets its verdict.
func TestWatch(t *testing.T) {
	type pace struct {
		bytes int
		every time.Duration
		lasts time.Duration // 0: for ever
	}
	for name, c := range map[string]struct {
		pace
		stalled time.Duration // when it is given up, give or take a second; 0: never
	}{
		"steady":          {pace{64 << 10, time.Second, time.Hour}, 0},
		"slow but alive":  {pace{300, 10 * time.Second, time.Hour}, 0},
		"a byte a second": {pace{1, time.Second, 0}, 60 * time.Second},
		"silent":          {pace{0, 24 * time.Hour, 0}, 60 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				m := &meter{limits: Limits{Bytes: 1 << 40}.withDefaults()}
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				r, w := io.Pipe()
				context.AfterFunc(ctx, func() { r.CloseWithError(context.Canceled) })
				var peer sync.WaitGroup
				defer peer.Wait()
				peer.Go(func() {
					for c.lasts == 0 || time.Since(began) < c.lasts {
						time.Sleep(c.every)
						if _, err := w.Write(make([]byte, c.bytes)); err != nil {
							return
						}
					}
					w.Close()
				})
				_, err := io.Copy(io.Discard, m.watch(ctx, r, cancel))
				took := time.Since(began)
				if c.stalled == 0 && err != nil || c.stalled != 0 && !errors.Is(err, ErrNoProgress) {
					t.Errorf("%v after %v", err, took)
				}
				if c.stalled != 0 && (took < c.stalled || took > c.stalled+10*time.Second) {
					t.Errorf("given up after %v; want %v", took, c.stalled)
				}
			})
		})
	}
}

func TestWatchStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		m := &meter{limits: Limits{}.withDefaults()}
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		r, w := io.Pipe()
		context.AfterFunc(ctx, func() { r.CloseWithError(context.Canceled) })
		go func() {
			w.Write(make([]byte, 1<<20))
			time.Sleep(45 * time.Second)
			w.Write(make([]byte, 1<<20)) // and never again
		}()
		_, err := io.Copy(io.Discard, m.watch(ctx, r, cancel))
		if took := time.Since(began) - 45*time.Second; !errors.Is(err, ErrNoProgress) || took > 75*time.Second {
			t.Errorf("%v, %v after it stopped; want %v within 65 s", err, took, ErrNoProgress)
		}
	})
}
