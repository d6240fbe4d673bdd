// Package idle gives memory back to the host when there is nothing to do. What
// the last run has needed would otherwise stay with the process for minutes,
// and most daemons are idle most of the time.
package idle

import (
	"runtime/debug"
	"sync"
	"time"
)

// Pause is how long there must have been nothing to do.
const Pause = time.Second

// A Trimmer waits for idle times. The zero value is ready, and safe for
// concurrent use.
type Trimmer struct {
	mu    sync.Mutex // guards timer
	timer *time.Timer
}

// Ended says that a piece of work has ended. Memory is given back unless
// another ends within Pause; that one counts then.
func (t *Trimmer) Ended() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer == nil {
		t.timer = time.AfterFunc(Pause, trim)
		return
	}
	t.timer.Reset(Pause)
}

func trim() {
	debug.FreeOSMemory()
	dropProgram()
}
