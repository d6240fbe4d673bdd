package runner

import (
	"context"
	"time"
)

// The shortest and longest pause before something that failed is tried again.
const (
	shortPause = 100 * time.Millisecond
	longPause  = 5 * time.Second
)

// A pause grows with each wait.
type pause struct{ next time.Duration }

// wait returns false if ctx has ended.
func (p *pause) wait(ctx context.Context) bool {
	p.next = min(max(p.next*2, shortPause), longPause)
	t := time.NewTimer(p.next)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (p *pause) reset() { p.next = 0 }
