//go:build linux

package engine

import (
	"fmt"
	"os"

	"acrd/internal/buildkit/control"

	"golang.org/x/sys/unix"
)

// diskDepth is how deep folders may be: each level is an open file. No context
// may be half as deep.
const diskDepth = 512

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
