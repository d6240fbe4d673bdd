//go:build linux

// Package mounts removes what a killed process has left mounted.
package mounts

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Detach unmounts path at once and lets whoever still uses it finish. What is
// not a mount point is fine.
func Detach(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return fmt.Errorf("unmount %s: %w", path, err)
}

// DetachBelow unmounts everything at or below the folders, the newest mount
// first, and says how many there were.
func DetachBelow(dirs ...string) (int, error) {
	all, err := below(dirs)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, m := range all {
		errs = append(errs, Detach(m))
	}
	return len(all), errors.Join(errs...)
}

// Upper is the folder that takes what is written into the overlay at path, or
// empty if there is none.
func Upper(path string) (dir string) {
	_ = each(func(fields []string) {
		if unescape(fields[4]) != path {
			return
		}
		dir = "" // a newer mount hides an older one
		for option := range strings.SplitSeq(fields[len(fields)-1], ",") {
			if upper, ok := strings.CutPrefix(option, "upperdir="); ok {
				dir = unescape(upper)
			}
		}
	})
	return dir
}

// below lists the mount points at or below dirs, newest first.
func below(dirs []string) ([]string, error) {
	type mounted struct {
		id   int
		path string
	}
	var found []mounted
	err := each(func(fields []string) {
		path := unescape(fields[4])
		if slices.ContainsFunc(dirs, func(d string) bool { return path == d || strings.HasPrefix(path, d+"/") }) {
			id, _ := strconv.Atoi(fields[0])
			found = append(found, mounted{id, path})
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b mounted) int { return cmp.Compare(b.id, a.id) })
	paths := make([]string, len(found))
	for i, m := range found {
		paths[i] = m.path
	}
	return paths, nil
}

// each reads the fields of each mount of this process, as
// proc_pid_mountinfo(5) has them.
func each(do func(fields []string)) error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20) // an overlay of many layers has a long line
	for s.Scan() {
		if fields := strings.Fields(s.Text()); len(fields) >= 5 {
			do(fields)
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	return nil
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
