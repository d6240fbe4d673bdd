//go:build !linux

package store

// A spare is disk space that is kept for the ends of runs. There is none here.
type spare struct{ path string }

func (*spare) refill() {}

func (*spare) give() bool { return false }
