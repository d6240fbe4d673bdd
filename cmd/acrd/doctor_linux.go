package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"acrd/internal/buildkit/container"
	"acrd/internal/buildkit/network"

	"golang.org/x/sys/unix"
)

// A check looks at one thing that the engine needs.
type check struct {
	Name string `json:"name"`
	// OK means fine; Needed that the daemon does not start without it.
	OK     bool   `json:"ok"`
	Needed bool   `json:"needed"`
	Found  string `json:"found"`
	// Fix says what to do if it is not.
	Fix string `json:"fix,omitempty"`
}

func doctor(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "doctor [FLAGS]", "Check what this host has of what builds and runs need, and say what to do about what is missing.")
	out := outputFlag(fs)
	var state string
	fs.StringVar(&state, "state", s.getenv("ACRD_STATE"), "state folder to check ($ACRD_STATE)")
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	dir, err := stateDir(state)
	if err != nil {
		return err
	}
	checks := examine(ctx, dir)
	if err := printChecks(s, out, checks); err != nil {
		return err
	}
	return verdict(checks)
}

// printChecks prints the checks, what to do about each of the bad ones included.
func printChecks(s *session, out *output, checks []check) error {
	if out.document() {
		t := table{head: []string{"STATUS", "CHECK", "FOUND", "FIX"}}
		for _, c := range checks {
			t.add(c.mark(), c.Name, c.Found, c.Fix)
		}
		return out.print(s, checks, t)
	}
	for _, c := range checks {
		fmt.Fprintf(s.stdout, "%-4s  %-16s %s\n", c.mark(), c.Name, c.Found)
		if !c.OK {
			fmt.Fprintf(s.stdout, "      %-16s -> %s\n", "", c.Fix)
		}
	}
	return nil
}

func (c *check) mark() string {
	switch {
	case c.OK:
		return "ok"
	case c.Needed:
		return "FAIL"
	}
	return "warn"
}

// verdict is an error if the daemon would not start.
func verdict(checks []check) error {
	var missing []string
	for _, c := range checks {
		if !c.OK && c.Needed {
			missing = append(missing, c.Name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return &hostError{fmt.Errorf("the daemon does not start without: %s", strings.Join(missing, ", "))}
}

// checkHost refuses to start on a host that lacks what the engine needs, with
// the same words as acrd doctor.
func checkHost(ctx context.Context, state string, engine bool) error {
	if !engine {
		return nil
	}
	var errs []error
	for _, c := range needed(ctx, state) {
		if !c.OK {
			errs = append(errs, fmt.Errorf("%s: %s: %s", c.Name, c.Found, c.Fix))
		}
	}
	if len(errs) > 0 {
		return &hostError{errors.Join(errs...)}
	}
	return nil
}

// needed are the checks that are quick and final.
func needed(ctx context.Context, state string) []check {
	return []check{
		root(), runc(ctx),
		networking(network.Probe), cgroups(), overlay(state),
	}
}

func examine(ctx context.Context, state string) []check {
	checks := needed(ctx, state)
	for i, c := range checks {
		if c.Name == networksName && c.OK { // the engine finds out by itself
			checks[i] = networking(func() error { return network.Try(ctx) })
		}
	}
	return append(checks,
		program(ctx, "git", "git --version", "apt-get install git; without it git sources are refused", false),
		seccompCheck(), disk(state), forwarding(),
		emulation(), program(ctx, "ssh", "ssh -V", "apt-get install openssh-client; without it git over ssh is refused", false),
	)
}

func root() check {
	c := check{Name: "root", Needed: true, OK: os.Geteuid() == 0, Found: fmt.Sprintf("uid %d", os.Geteuid())}
	c.Fix = "run the daemon as root (sudo acrd serve): it mounts, and makes namespaces"
	return c
}

// runc has to have been built with seccomp: every container has a profile, and
// one without it refuses them all.
func runc(ctx context.Context) check {
	c, out := ask(ctx, "runc", "runc --version", "apt-get install runc", true)
	if c.OK && !bytes.Contains(out, []byte("libseccomp")) {
		c.OK, c.Found = false, c.Found+", built without seccomp"
	}
	return c
}

func program(ctx context.Context, name, command, fix string, needed bool) check {
	c, _ := ask(ctx, name, command, fix, needed)
	return c
}

// ask runs a program that says its version, and returns all that it says.
func ask(ctx context.Context, name, command, fix string, needed bool) (check, []byte) {
	c := check{Name: name, Needed: needed, Fix: fix}
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Second, errors.New("it does not answer"))
	defer cancel()
	words := strings.Fields(command)
	out, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput() //nolint:gosec // constants
	if err != nil {
		c.Found = "not found"
		if !errors.Is(err, exec.ErrNotFound) {
			c.Found = err.Error()
		}
		return c, nil
	}
	first, _, _ := bytes.Cut(out, []byte("\n"))
	c.OK, c.Found = true, string(first)
	return c, out
}

const networksName = "networks"

// networking asks for what the networks of runs rest on.
func networking(ask func() error) check {
	c := check{Name: networksName, Needed: true, Found: "bridges, namespaces, nftables"}
	c.Fix = "the daemon needs CAP_NET_ADMIN and CAP_SYS_ADMIN and a kernel with nf_tables, bridge and veth; it never runs steps on the host's network instead"
	if err := ask(); err != nil {
		c.Found = err.Error()
		return c
	}
	c.OK = true
	return c
}

// cgroups looks for the controllers that limits rest on.
func cgroups() check {
	g := container.Cgroups{}
	c := check{Name: "cgroups", Needed: true, OK: true, Found: "version 1"}
	c.Fix = "mount the cgroup file system with the memory, pids and cpu controllers"
	has := func(controller string) bool {
		_, err := os.Stat(filepath.Join("/sys/fs/cgroup", controller))
		return err == nil
	}
	if g.Unified() {
		c.Found = "version 2"
		b, _ := os.ReadFile("/sys/fs/cgroup/cgroup.controllers") // without it there are none
		has = func(controller string) bool { return slices.Contains(strings.Fields(string(b)), controller) }
	}
	missing := slices.DeleteFunc([]string{"memory", "pids", "cpu"}, has)
	if len(missing) > 0 {
		c.OK, c.Found = false, c.Found+" without "+strings.Join(missing, ", ")
	}
	return c
}

// overlay mounts one where the engine would. That loads the kernel's module, if
// it is one.
func overlay(state string) check {
	c := check{Name: "overlayfs", Needed: true, Found: "works", Fix: "put the state folder on a file system of a disk with --state, or use a kernel with overlayfs"}
	_, dir := fileSystem(state)
	if err := tryOverlay(dir); err != nil {
		c.OK, c.Found = false, fmt.Sprintf("for %s: %s", state, err)
		return c
	}
	c.OK = true
	return c
}

// trialFolder begins the names of folders in which an overlay is tried.
const trialFolder = ".acrd-doctor-"

func tryOverlay(dir string) (err error) {
	dir, err = os.MkdirTemp(dir, trialFolder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(at(name), 0o700); err != nil {
			return err
		}
	}
	options := "lowerdir=" + at("lower") + ",upperdir=" + at("upper") + ",workdir=" + at("work")
	return inOwnMounts(func() error {
		if err := unix.Mount("overlay", at("merged"), "overlay", 0, options); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		return unix.Unmount(at("merged"), 0)
	})
}

// inOwnMounts calls do on a thread whose mounts nobody else sees. They end with
// it, whatever ends it.
func inOwnMounts(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this function
		err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}

func seccompCheck() check {
	b, err := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail")
	c := check{Name: "seccomp", OK: err == nil, Found: strings.TrimSpace(string(b))}
	if err != nil {
		c.Found, c.Fix = "not in the kernel", "use a kernel with CONFIG_SECCOMP_FILTER; containers are less confined without"
	}
	return c
}

// lowSpace is where builds begin to fail in ways that do not say why.
const lowSpace = 5 << 30

func disk(state string) check {
	c := check{Name: "disk", Fix: "free some space, or choose another disk with --state"}
	st, dir := fileSystem(state)
	free := int64(st.Bavail) * st.Bsize
	c.OK = free >= lowSpace
	c.Found = fmt.Sprintf("%.1f GiB free for %s", float64(free)/(1<<30), state)
	if err := unix.Access(dir, unix.W_OK); err != nil {
		c.OK, c.Needed, c.Found = false, true, fmt.Sprintf("%s: %s", dir, err)
	}
	return c
}

// fileSystem is the one that a folder, which need not be there yet, is on, and
// the folder nearest to it that is.
func fileSystem(folder string) (unix.Statfs_t, string) {
	var st unix.Statfs_t
	for unix.Statfs(folder, &st) != nil && folder != "/" {
		folder = filepath.Dir(folder)
	}
	return st, folder
}

// forwarding says whether the daemon will change what the host does.
func forwarding() check {
	c := check{Name: "ip forwarding", OK: true, Found: "the daemon turns it on"}
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward"); err == nil && strings.TrimSpace(string(b)) == "1" {
		c.Found = "on"
	}
	return c
}

// emulation says for which other processors containers can run here.
func emulation() check {
	c := check{Name: "emulation", Found: "none", Fix: "apt-get install qemu-user-static binfmt-support, to build for other processors"}
	entries, _ := filepath.Glob("/proc/sys/fs/binfmt_misc/qemu-*")
	var names []string
	for _, e := range entries {
		b, err := os.ReadFile(e)
		if err == nil && bytes.Contains(b, []byte("enabled")) && bytes.Contains(b, []byte("F")) {
			names = append(names, strings.TrimPrefix(filepath.Base(e), "qemu-"))
		}
	}
	if len(names) > 0 {
		c.OK, c.Found = true, strings.Join(names, " ")
	}
	return c
}
