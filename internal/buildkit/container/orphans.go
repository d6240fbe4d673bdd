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

// buryEvery is how often Bury looks. While no child is dead that costs one
// system call.
const buryEvery = 200 * time.Millisecond

// Bury waits, until ctx is done, for adopted children that are nobody's: what
// other runtimes of this process left when they were killed. Those that died
// in the control group named strays are; others are taken to be if they are
// dead for a whole period, because whoever starts a process here also waits
// for it, and does so at once.
func Bury(ctx context.Context, period time.Duration, strays string) {
	tick := time.NewTicker(buryEvery)
	defer tick.Stop()
	since := map[int]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		dead := map[int]time.Time{}
		for pid := range deadChildren() {
			first, known := since[pid]
			switch {
			case known && time.Since(first) >= period, inGroup(pid, strays):
				_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
			case known:
				dead[pid] = first
			default:
				dead[pid] = time.Now()
			}
		}
		since = dead
	}
}

// inGroup says whether a process is, or was when it died, in a control group
// or one below it.
func inGroup(pid int, group string) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	return err == nil && group != "" && bytes.Contains(b, []byte(":"+group+"/"))
}

// anyDead says whether there is a child that has ended and that nobody has
// waited for.
func anyDead() bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err == nil && info.Signo != 0
}

// deadChildren are the children of this process that have ended and that
// nobody has waited for.
func deadChildren() map[int]bool {
	dead := map[int]bool{}
	if !anyDead() {
		return dead
	}
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
