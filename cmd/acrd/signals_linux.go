package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// lastPatience is how long the daemon may take after the second signal.
const lastPatience = 3 * time.Second

// hurryOnSignal returns a channel that is closed at the second signal; the
// first is main's. What has not ended a little later ends with the process:
// the next daemon cleans up.
func hurryOnSignal(exit func(code int)) (hurry <-chan struct{}, stop func()) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	c := make(chan struct{})
	done := make(chan struct{})
	go func() {
		for n := 1; ; n++ {
			select {
			case <-signals:
			case <-done:
				return
			}
			if n == 2 {
				close(c)
				time.AfterFunc(lastPatience, func() { exit(exitInterrupted) })
			}
		}
	}()
	return c, func() {
		signal.Stop(signals)
		close(done)
	}
}
