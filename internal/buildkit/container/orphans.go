//go:build linux

package container

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// AdoptOrphans makes this process the parent of every descendant that loses
// its own, which is how containers become its children. It must be called
// once, before the first Start.
func AdoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	return nil
}

// Bury waits, until ctx is done, for adopted children that are nobody's: what
// other runtimes of this process left when they were killed. A child that is
// dead for a whole period is taken to be one, because whoever starts a
// process here also waits for it, and does so at once.
func Bury(ctx context.Context, period time.Duration) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	suspects := map[int]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		dead := deadChildren()
		for pid := range dead {
			if suspects[pid] {
				_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
				delete(dead, pid)
			}
		}
		suspects = dead
	}
}

// deadChildren are the children of this process that have ended and that
// nobody has waited for.
func deadChildren() map[int]bool {
	dead := map[int]bool{}
	self := strconv.Itoa(os.Getpid())
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		// pid (name) state ppid ...; the name may hold anything.
		_, rest, _ := bytes.Cut(b[max(0, bytes.LastIndexByte(b, ')')):], []byte(" "))
		fields := bytes.Fields(rest)
		if len(fields) < 2 || string(fields[0]) != "Z" || string(fields[1]) != self {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			dead[pid] = true
		}
	}
	return dead
}
