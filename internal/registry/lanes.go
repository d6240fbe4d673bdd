package registry

import "sync"

// lanes let one change of a repository's manifests and tags go on at a time.
type lanes struct {
	mu   sync.Mutex // guards busy
	busy map[string]*lane
}

type lane struct {
	sync.Mutex
	users int // who has it or waits for it; guarded by lanes.mu
}

// enter waits for the lane of a repository. The caller must leave it.
func (l *lanes) enter(name string) (leave func()) {
	l.mu.Lock()
	if l.busy == nil {
		l.busy = map[string]*lane{}
	}
	own := l.busy[name]
	if own == nil {
		own = &lane{}
		l.busy[name] = own
	}
	own.users++
	l.mu.Unlock()
	own.Lock()
	return func() {
		own.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if own.users--; own.users == 0 {
			delete(l.busy, name)
		}
	}
}
