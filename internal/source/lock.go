package source

import (
	"context"
	"sync"
)

// keyedLock is one lock for each key. Its zero value is ready.
type keyedLock struct {
	mu   sync.Mutex // guards held
	held map[string]*heldLock
}

type heldLock struct {
	taken chan struct{} // has room for one
	users int           // who hold or want it
}

// lock waits for the lock of key, or for the end of ctx.
func (l *keyedLock) lock(ctx context.Context, key string) (unlock func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*heldLock{}
	}
	h := l.held[key]
	if h == nil {
		h = &heldLock{taken: make(chan struct{}, 1)}
		l.held[key] = h
	}
	h.users++
	l.mu.Unlock()

	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if h.users--; h.users == 0 {
			delete(l.held, key)
		}
	}
	select {
	case h.taken <- struct{}{}:
		return func() { <-h.taken; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}
