//go:build linux

package container

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Limits bound what the containers of one group may use together. Zero means
// no limit.
type Limits struct {
	Memory int64 // bytes
	PIDs   int64
	CPUs   float64 // processors; 1.5 is one and a half
}

// Cgroups is the control group file system of this host, version 1 or 2. The
// zero value is the host's own at /sys/fs/cgroup.
type Cgroups struct {
	// Root is where it is mounted; tests point it elsewhere.
	Root string
}

// The version 1 controllers that carry our limits and counters.
var controllers = []string{"memory", "pids", "cpu"}

func (c Cgroups) root() string {
	if c.Root == "" {
		return "/sys/fs/cgroup"
	}
	return c.Root
}

// Unified says that this is version 2.
func (c Cgroups) Unified() bool {
	_, err := os.Stat(filepath.Join(c.root(), "cgroup.controllers"))
	return err == nil
}

// Create makes the group at path and limits it; everything below shares the
// limits. Missing parents are made.
func (c Cgroups) Create(path string, l Limits) error {
	if c.Unified() {
		return c.createUnified(path, l)
	}
	for _, ctl := range controllers {
		dir := filepath.Join(c.root(), ctl, path)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("cgroup %s: %w", path, err)
		}
	}
	return c.limitV1(path, l)
}

func (c Cgroups) limitV1(path string, l Limits) error {
	set := func(ctl, file string, value int64) error {
		return writeControl(filepath.Join(c.root(), ctl, path, file), strconv.FormatInt(value, 10))
	}
	var errs []error
	if l.Memory > 0 {
		errs = append(errs, set("memory", "memory.limit_in_bytes", l.Memory))
		// Without swap accounting the file is not there, and not needed.
		if err := set("memory", "memory.memsw.limit_in_bytes", l.Memory); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if l.PIDs > 0 {
		errs = append(errs, set("pids", "pids.max", l.PIDs))
	}
	if l.CPUs > 0 {
		errs = append(errs, set("cpu", "cpu.cfs_period_us", cpuPeriod), set("cpu", "cpu.cfs_quota_us", int64(l.CPUs*cpuPeriod)))
	}
	return errors.Join(errs...)
}

const cpuPeriod = 100_000 // microseconds, the kernel's default

func (c Cgroups) createUnified(path string, l Limits) error {
	dir := c.root()
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		// A controller that the parent does not have cannot be handed on;
		// the limit's own file says so below.
		for _, ctl := range controllers {
			_ = writeControl(filepath.Join(dir, "cgroup.subtree_control"), "+"+ctl)
		}
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("cgroup %s: %w", path, err)
		}
	}
	for _, ctl := range controllers { // for the containers below
		_ = writeControl(filepath.Join(dir, "cgroup.subtree_control"), "+"+ctl)
	}
	var errs []error
	if l.Memory > 0 {
		errs = append(errs, writeControl(filepath.Join(dir, "memory.max"), strconv.FormatInt(l.Memory, 10)))
		if err := writeControl(filepath.Join(dir, "memory.swap.max"), "0"); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if l.PIDs > 0 {
		errs = append(errs, writeControl(filepath.Join(dir, "pids.max"), strconv.FormatInt(l.PIDs, 10)))
	}
	if l.CPUs > 0 {
		errs = append(errs, writeControl(filepath.Join(dir, "cpu.max"), fmt.Sprintf("%d %d", int64(l.CPUs*cpuPeriod), cpuPeriod)))
	}
	return errors.Join(errs...)
}

// OOMKills is how many processes of the group at path the kernel has killed
// for want of memory. With version 2 that includes the groups below.
func (c Cgroups) OOMKills(path string) int {
	file := filepath.Join(c.root(), "memory", path, "memory.oom_control")
	if c.Unified() {
		file = filepath.Join(c.root(), path, "memory.events")
	}
	return counter(file, "oom_kill")
}

// HitMemoryLimit says that the group at path, or one below it, has ever run
// into the memory limit of the group at path.
func (c Cgroups) HitMemoryLimit(path string) bool {
	if c.Unified() {
		return c.OOMKills(path) > 0
	}
	// Kernels of today count no failures of the group that has the limit.
	dir := filepath.Join(c.root(), "memory", path)
	b, err := os.ReadFile(filepath.Join(dir, "memory.failcnt"))
	return err == nil && strings.TrimSpace(string(b)) != "0" ||
		sameContent(filepath.Join(dir, "memory.max_usage_in_bytes"), filepath.Join(dir, "memory.limit_in_bytes"))
}

func sameContent(a, b string) bool {
	in, err1 := os.ReadFile(a)
	other, err2 := os.ReadFile(b)
	return err1 == nil && err2 == nil && bytes.Equal(in, other)
}

// HitPIDLimit says that the group at path has had as many processes as it may.
func (c Cgroups) HitPIDLimit(path string) bool {
	return c.RefusedForks(path) > 0 ||
		sameContent(filepath.Join(c.pids(path), "pids.peak"), filepath.Join(c.pids(path), "pids.max"))
}

// RefusedForks is how many forks were refused because of a limit. Version 1
// and older kernels count them in the group that forked; newer ones with
// version 2 in the group that has the limit.
func (c Cgroups) RefusedForks(path string) int {
	return counter(filepath.Join(c.pids(path), "pids.events"), "max")
}

func (c Cgroups) pids(path string) string {
	if c.Unified() {
		return filepath.Join(c.root(), path)
	}
	return filepath.Join(c.root(), "pids", path)
}

// Kill sends SIGKILL to every process in the group at path and below, until
// none is left or the time is up.
func (c Cgroups) Kill(path string, patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; {
		pids := c.processes(path)
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("cgroup %s: %d processes will not die", path, len(pids))
		}
		c.Signal(path, unix.SIGKILL)
		<-time.After(10 * time.Millisecond)
	}
}

// Signal sends s to every process that is in the group at path and below now.
func (c Cgroups) Signal(path string, s unix.Signal) {
	for _, pid := range c.processes(path) {
		_ = unix.Kill(pid, s)
	}
}

// Remove deletes the group at path and those below it. Processes in it make
// it fail; see Kill.
func (c Cgroups) Remove(path string) error {
	var errs []error
	for _, top := range c.hierarchies() {
		dirs := subdirs(filepath.Join(top, path))
		for _, d := range slices.Backward(dirs) { // children first
			if err := rmdir(d); err != nil {
				errs = append(errs, fmt.Errorf("remove cgroup: %w", err))
			}
		}
	}
	return errors.Join(errs...)
}

// hierarchies are the folders below which one and the same group may exist.
// A runtime makes its containers' groups in all of them, not only in ours.
func (c Cgroups) hierarchies() []string {
	if c.Unified() {
		return []string{c.root()}
	}
	entries, err := os.ReadDir(c.root())
	if err != nil {
		return nil
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() {
			dirs = append(dirs, filepath.Join(c.root(), e.Name()))
		}
	}
	return dirs
}

func (c Cgroups) processes(path string) []int {
	var pids []int
	for _, top := range c.hierarchies() {
		for _, d := range subdirs(filepath.Join(top, path)) {
			b, err := os.ReadFile(filepath.Join(d, "cgroup.procs"))
			if err != nil {
				continue
			}
			for f := range strings.FieldsSeq(string(b)) {
				if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
					pids = append(pids, pid)
				}
			}
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids)
}

func subdirs(dir string) []string {
	var dirs []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	return dirs
}

// rmdir tries again for a moment: the kernel lets go of a group a little
// after its last process has been waited for.
func rmdir(dir string) error {
	for try := range 6 {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || try == 5 {
			return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
		}
		<-time.After(time.Millisecond << (2 * try))
	}
	return nil
}

func counter(file, key string) int {
	f, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), " "); ok && k == key {
			n, _ := strconv.Atoi(v)
			return n
		}
	}
	return 0
}

// writeControl never creates: a missing file says what this kernel lacks.
func writeControl(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
