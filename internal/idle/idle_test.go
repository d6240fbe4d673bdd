package idle

import (
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

// TestTrimmer collects garbage once work has ended for a while, and not while
// it goes on ending.
func TestTrimmer(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // nobody else collects
	synctest.Test(t, func(t *testing.T) {
		var tr Trimmer
		before := collections()
		for range 5 {
			tr.Ended()
			time.Sleep(Pause / 2)
		}
		if n := collections(); n != before {
			t.Errorf("%d collections while there was work", n-before)
		}
		time.Sleep(2 * Pause)
		synctest.Wait()
		if n := collections(); n != before+1 {
			t.Errorf("%d collections in idle time, want 1", n-before)
		}
	})
}

func collections() int64 {
	var s debug.GCStats
	debug.ReadGCStats(&s)
	return s.NumGC
}
