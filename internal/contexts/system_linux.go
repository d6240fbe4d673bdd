package contexts

import (
	"crypto/rand"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// bootID is the same as long as the machine has not gone down. Where the
// kernel does not tell, no two are the same.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if id := strings.TrimSpace(string(b)); err == nil && len(id) == 36 && !strings.ContainsAny(id, "/.") {
		return id
	}
	return rand.Text()
}

// setLinkTime sets the modification time of a link, not of what it leads to.
func setLinkTime(file string, ns int64) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(ns)}
	err := unix.UtimesNanoAt(unix.AT_FDCWD, file, times, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return &fs.PathError{Op: "lutimes", Path: file, Err: err}
	}
	return nil
}

// linkCount is the number of names that a file has.
func linkCount(info fs.FileInfo) uint64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return uint64(st.Nlink)
}
