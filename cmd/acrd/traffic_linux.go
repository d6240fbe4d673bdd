package main

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// traffic knows whether requests are being answered. A daemon that goes away
// when its last run has ended waits for those who followed that run and ask,
// a moment after the end of its log, how it went.
type traffic struct {
	mu     sync.Mutex // guards what follows
	active int
	last   time.Time // when the latest answer was complete
}

func (t *traffic) watch(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.count(1)
		defer t.count(-1)
		h.ServeHTTP(w, r)
	})
}

func (t *traffic) count(n int) {
	t.mu.Lock()
	t.active, t.last = t.active+n, time.Now()
	t.mu.Unlock()
}

// calm waits until nothing has been answered for a period. It gives up after
// patience.
func (t *traffic) calm(ctx context.Context, period, patience time.Duration) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, context.DeadlineExceeded)
	defer cancel()
	tick := time.NewTicker(period / 10)
	defer tick.Stop()
	for !t.calmSince(time.Now().Add(-period)) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (t *traffic) calmSince(since time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.active == 0 && t.last.Before(since)
}
