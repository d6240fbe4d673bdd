package store_test

import (
	"syscall"
	"testing"
	"time"

	"acrd/internal/store/storetest"
)

func TestTimersCost(t *testing.T) {
	if testing.Short() {
		t.Skip("it measures")
	}
	storetest.TestTimersCost(t, func() time.Duration {
		var use syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
			t.Fatal(err)
		}
		return time.Duration(use.Utime.Nano() + use.Stime.Nano())
	})
}
