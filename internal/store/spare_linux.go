package store

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// spareSize is what a spare keeps, and sparePart how much of it is given
	// at a time, so that a build that fills the disk does not get it all.
	spareSize = 16 << 20
	sparePart = 1 << 20
)

// A spare is disk space that is kept for the ends of runs: a file that is
// shortened when there is no other space.
type spare struct {
	path string // empty: there is none
	mu   sync.Mutex
}

// refill makes the spare whole again, if the disk has room for it twice: the
// last bytes are of more use to others.
func (s *spare) refill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var disk unix.Statfs_t
	if s.path == "" || s.size() == spareSize || unix.Statfs(s.path, &disk) != nil || int64(disk.Bavail)*disk.Bsize < 2*spareSize {
		return
	}
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, spareSize); err != nil {
		_ = f.Truncate(0) // not this file system
	}
}

// give frees a part, and says whether there was one.
func (s *spare) give() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path == "" {
		return false
	}
	size := s.size()
	return size > 0 && os.Truncate(s.path, max(0, size-sparePart)) == nil
}

func (s *spare) size() int64 {
	info, err := os.Stat(s.path)
	if err != nil {
		return 0
	}
	return info.Size()
}
