//go:build linux

package engine

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"acrd/internal/buildkit/control"
	"acrd/internal/mounts"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/buildkit/executor"
	"golang.org/x/sys/unix"
)

const (
	// diskTick is how often it is asked whether to look.
	diskTick = time.Second
	// diskCalm keeps looking to 2 % of the time, and diskHaste to a fifth of
	// it where the disk has filled by as much as is allowed.
	diskCalm, diskHaste = 50, 5
	// diskDepth is how deep folders may be: each level is an open file. No
	// context may be half as deep.
	diskDepth = 512
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

// A diskMeter adds up what folders take on their disks. Those who write there
// may put links in its way: it follows none.
type diskMeter struct {
	most  control.Disk // that is of interest
	stop  <-chan struct{}
	found control.Disk
}

// measure adds folders, and stops once there is more than the most. What it
// cannot read is left out: it may be gone by now.
func (m *diskMeter) measure(dirs []string) error {
	for _, dir := range dirs {
		fd, err := unix.Open(dir, folderFlags, 0)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		_ = unix.Fstat(fd, &st) // or else nothing is on its disk
		if err := m.folder(fd, st.Dev, 1); err != nil {
			return err
		}
	}
	return nil
}

const folderFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// folder closes fd.
func (m *diskMeter) folder(fd int, dev uint64, depth int) error {
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	if depth > diskDepth {
		return fmt.Errorf("folders are more than %d deep", diskDepth)
	}
	for {
		names, err := f.Readdirnames(512) // a folder may have millions
		for _, name := range names {
			if err := m.entry(fd, name, dev, depth); err != nil {
				return err
			}
		}
		if err != nil || m.done() {
			return nil //nolint:nilerr // the end, most likely
		}
	}
}

func (m *diskMeter) done() bool {
	select {
	case <-m.stop:
		return true
	default:
		return above(m.found.Bytes, m.most.Bytes) || above(m.found.Files, m.most.Files)
	}
}

func (m *diskMeter) entry(fd int, name string, dev uint64, depth int) error {
	var st unix.Stat_t
	if unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Dev != dev { // gone, or a mount
		return nil
	}
	m.found.Files++
	m.found.Bytes += st.Blocks * 512 / int64(max(1, linksOf(&st)))
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	sub, err := unix.Openat(fd, name, folderFlags, 0)
	if err != nil {
		return nil //nolint:nilerr // it is gone
	}
	return m.folder(sub, dev, depth+1)
}

// linksOf is how many names share a file, each of which is counted.
func linksOf(st *unix.Stat_t) uint64 {
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return 1
	}
	return uint64(st.Nlink) //nolint:unconvert // less on other processors
}

// A diskRecord learns where a RUN writes, from what its executor mounts.
type diskRecord struct {
	mu    sync.Mutex // guards found
	found []recorded
}

type recorded struct {
	path string
	root bool
}

// listen returns m as it is, but for being listened to.
func (r *diskRecord) listen(m executor.Mount, root bool) executor.Mount {
	if m.Src != nil && !m.Readonly {
		m.Src = recordedSource{m.Src, r, root}
	}
	return m
}

type recordedSource struct {
	executor.Mountable
	record *diskRecord
	root   bool
}

func (s recordedSource) Mount(ctx context.Context, readonly bool) (executor.MountableRef, error) {
	ref, err := s.Mountable.Mount(ctx, readonly)
	if err != nil {
		return nil, err
	}
	return recordedRef{ref, s.record, s.root}, nil
}

type recordedRef struct {
	executor.MountableRef
	record *diskRecord
	root   bool
}

func (s recordedRef) Mount() ([]mount.Mount, func() error, error) {
	all, release, err := s.MountableRef.Mount()
	s.record.mu.Lock()
	defer s.record.mu.Unlock()
	for _, m := range all {
		if m.Type == "bind" || m.Type == "rbind" { // an overlay comes as one, too
			s.record.found = append(s.record.found, recorded{m.Source, s.root})
		}
	}
	return all, release, err
}

// written are the folders behind overlays, which are new, and others as they
// are.
func (r *diskRecord) written() (in written) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.found {
		if upper := mounts.Upper(m.path); upper != "" {
			in.fresh = append(in.fresh, upper)
		} else if m.root {
			in.fresh = append(in.fresh, m.path)
		} else {
			in.old = append(in.old, m.path)
		}
	}
	return in
}
