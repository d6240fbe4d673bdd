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

// below lists the mount points at or below dirs, newest first.
func below(dirs []string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer f.Close()
	type mounted struct {
		id   int
		path string
	}
	var found []mounted
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20) // an overlay of many layers has a long line
	for s.Scan() {
		fields := strings.Fields(s.Text())
		if len(fields) < 5 {
			continue
		}
		path := unescape(fields[4])
		if slices.ContainsFunc(dirs, func(d string) bool { return path == d || strings.HasPrefix(path, d+"/") }) {
			id, _ := strconv.Atoi(fields[0])
			found = append(found, mounted{id, path})
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	slices.SortFunc(found, func(a, b mounted) int { return cmp.Compare(b.id, a.id) })
	paths := make([]string, len(found))
	for i, m := range found {
		paths[i] = m.path
	}
	return paths, nil
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
