//go:build linux

package engine

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// reap removes what an engine on this folder left when it was killed, and says
// how many things that were. A container outlives its engine, so:
//
//  1. every process in our control groups is killed,
//  2. runc forgets our containers and BuildKit's,
//  3. everything mounted below the folder is unmounted, last first,
//  4. our interfaces are deleted (namespaces went with the processes),
//  5. folders that only a living engine needs are deleted,
//  6. our control groups are removed.
func (e *engine) reap(ctx context.Context) (int, error) {
	var errs []error
	n := 0
	count := func(k int, err error) { n += k; errs = append(errs, err) }

	errs = append(errs, e.runtime.Cgroups.Kill(e.group(), 5*time.Second))
	count(e.reapContainers(ctx))
	count(unmountBelow(e.config.Dir))
	count(unmountBelow(e.runsDir()))
	count(e.pool.Sweep())
	count(e.reapFolders())
	errs = append(errs, e.runtime.Cgroups.Remove(e.group()))
	return n, errors.Join(errs...)
}

// runsDir is where the daemon keeps the folders of its runs: beside ours.
func (e *engine) runsDir() string { return filepath.Join(filepath.Dir(e.config.Dir), "runs") }

// reapContainers deletes the containers of BuildKit's executor, whose state is
// in runc's default folder among everybody's, and then our own.
func (e *engine) reapContainers(ctx context.Context) (int, error) {
	n := 0
	for _, root := range []string{"", e.runtime.Dir} {
		args := []string{"list", "--format", "json"}
		if root != "" {
			args = append([]string{"--root", root}, args...)
		}
		out, err := exec.CommandContext(ctx, "runc", args...).Output()
		if err != nil {
			continue // no such folder yet, or no runc: starting says so better
		}
		var found []struct{ ID, Bundle string }
		if err := json.Unmarshal(out, &found); err != nil {
			return n, fmt.Errorf("read runc's list: %w", err)
		}
		for _, c := range found {
			if root == "" && !strings.HasPrefix(c.Bundle, e.config.Dir+"/") {
				continue
			}
			args := []string{"delete", "--force", c.ID}
			if root != "" {
				args = append([]string{"--root", root}, args...)
			}
			if err := exec.CommandContext(ctx, "runc", args...).Run(); err == nil {
				n++
			}
		}
	}
	return n, os.RemoveAll(e.runtime.Dir)
}

// reapFolders empties what belongs to runs and containers that are gone.
func (e *engine) reapFolders() (int, error) {
	n := 0
	var errs []error
	for _, pattern := range []string{
		filepath.Join(e.config.Dir, "buildkit", "executor", "*"),
		filepath.Join(e.config.Dir, "buildkit", "cachemounts", "*"),
		filepath.Join(e.runsDir(), "*"),
	} {
		found, _ := filepath.Glob(pattern)
		for _, f := range found {
			n++
			errs = append(errs, os.RemoveAll(f))
		}
	}
	return n, errors.Join(errs...)
}

// unmountBelow unmounts everything below dir, the newest mount first.
func unmountBelow(dir string) (int, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return 0, fmt.Errorf("list mounts: %w", err)
	}
	defer f.Close()
	type mounted struct {
		id   int
		path string
	}
	var all []mounted
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 5 {
			continue
		}
		path := unescape(fields[4])
		if strings.HasPrefix(path, dir+"/") {
			id, _ := strconv.Atoi(fields[0])
			all = append(all, mounted{id, path})
		}
	}
	slices.SortFunc(all, func(a, b mounted) int { return cmp.Compare(b.id, a.id) })
	var errs []error
	for _, m := range all {
		if err := unix.Unmount(m.path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", m.path, err))
		}
	}
	return len(all), errors.Join(errs...)
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
