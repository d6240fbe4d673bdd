//go:build unix

package secrets

import (
	"io/fs"
	"syscall"
)

// noFollow keeps a link from standing for the key file.
const noFollow = syscall.O_NOFOLLOW

func owner(info fs.FileInfo) (uid int, ok bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(s.Uid), true
}
