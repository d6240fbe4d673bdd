//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A claim keeps an engine's folder for one process: a lock on a file, which
// ends with the process.
type claim struct{ file *os.File }

// claimTimeout bounds how long a process that was killed may take to be gone.
const claimTimeout = 5 * time.Second

// newClaim takes the folder. An engine whose daemon was killed may still be at
// closing its runs; that one is killed, too: what it leaves is removed better
// by who knows that nobody else is at it, and a daemon that starts again has
// no time to wait. Where a daemon ends in an orderly way, it waits for its
// engine.
func newClaim(ctx context.Context, path string) (*claim, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("claim engine folder: %w", err)
	}
	if err := lockAlone(ctx, f); err != nil {
		f.Close()
		return nil, fmt.Errorf("claim engine folder: %w", err)
	}
	return &claim{f}, nil
}

// lockAlone locks f, and kills who has it locked. The kernel says who that is.
func lockAlone(ctx context.Context, f *os.File) error {
	ctx, cancel := context.WithTimeoutCause(ctx, claimTimeout, errors.New("another engine does not let go of it"))
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			return err
		}
		holder := unix.Flock_t{Type: unix.F_WRLCK}
		if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &holder); err != nil {
			return err
		}
		if holder.Type != unix.F_UNLCK && holder.Pid > 1 {
			_ = unix.Kill(int(holder.Pid), unix.SIGKILL)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// release lets go of the folder.
func (c *claim) release() error { return c.file.Close() }
