//go:build linux

package engine

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"acrd/internal/buildkit/control"

	"golang.org/x/sys/unix"
)

const (
	// diskTick is how often it is asked whether to look.
	diskTick = time.Second
	// diskCalm keeps looking to 2 % of the time, and diskHaste to a fifth of
	// it where the disk has filled by as much as is allowed.
	diskCalm, diskHaste = 50, 5
)

// A diskWatch ends who writes more to the disk than may be. The kernel counts
// memory and processes for us, but not this: so it looks at the folders, the
// less often the longer that takes. What is deleted and still open is not seen.
type diskWatch struct {
	limit control.Disk
	dirs  func() written
	over  func(error) // may be called again

	allowed control.Disk // limit, and what was there before
	size    control.Disk // when it was looked at
	used    control.Disk // of the whole disk, then
	at      time.Time
	took    time.Duration
}

// What is written in at a moment: none is not looked at.
type written struct {
	fresh []string // what is in there is new
	old   []string // as the cache mounts of RUN: only what comes is counted
}

// watch returns when stop is closed.
func (w *diskWatch) watch(stop <-chan struct{}) {
	if w.limit == (control.Disk{}) {
		return
	}
	tick := time.NewTicker(diskTick)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-tick.C:
			w.look(now, w.dirs(), stop)
		}
	}
}

func (w *diskWatch) look(now time.Time, in written, stop <-chan struct{}) {
	if len(in.fresh) == 0 {
		return
	}
	used := diskUsed(in.fresh[0])
	if w.at.IsZero() {
		before := diskMeter{stop: stop}
		_ = before.measure(in.old)
		w.allowed = control.Disk{Bytes: raise(w.limit.Bytes, before.found.Bytes), Files: raise(w.limit.Files, before.found.Files)}
	}
	if !w.due(now, used) {
		return
	}
	m := diskMeter{most: w.allowed, stop: stop}
	err := m.measure(slices.Concat(in.fresh, in.old))
	w.size, w.used, w.at, w.took = m.found, used, now, time.Since(now)
	if err = cmp.Or(err, w.exceeded(m.found)); err != nil {
		w.over(err)
	}
}

func (w *diskWatch) due(now time.Time, used control.Disk) bool {
	since := now.Sub(w.at)
	grown := control.Disk{Bytes: w.size.Bytes + used.Bytes - w.used.Bytes, Files: w.size.Files + used.Files - w.used.Files}
	return since > diskCalm*w.took || since > diskHaste*w.took && w.exceeded(grown) != nil
}

// diskUsed is zero where it cannot be said, as the number of files on btrfs.
func diskUsed(dir string) control.Disk {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return control.Disk{}
	}
	return control.Disk{Bytes: int64(st.Blocks-st.Bfree) * st.Bsize, Files: int64(st.Files - st.Ffree)}
}

// exceeded names the limit that found is above.
func (w *diskWatch) exceeded(found control.Disk) error {
	switch {
	case above(found.Bytes, w.allowed.Bytes):
		return fmt.Errorf("out of disk space (limit %d MiB)", w.limit.Bytes>>20)
	case above(found.Files, w.allowed.Files):
		return fmt.Errorf("too many files (limit %d)", w.limit.Files)
	}
	return nil
}

func above(n, limit int64) bool { return limit > 0 && n > limit }

// raise adds what was there before to a limit, if there is one.
func raise(limit, before int64) int64 {
	if limit == 0 {
		return 0
	}
	return limit + before
}
