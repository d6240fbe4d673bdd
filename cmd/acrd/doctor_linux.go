package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
	missing := 0
	for _, c := range checks {
		if !c.OK && c.Needed {
			missing++
		}
	}
	if missing > 0 {
		return &hostError{fmt.Errorf("%d things are missing", missing)}
	}
	return nil
}

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

// checkHost refuses to start on a host that lacks what the engine needs, with
// the same words as acrd doctor.
func checkHost(ctx context.Context, engine bool) error {
	if !engine {
		return nil
	}
	var errs []error
	for _, c := range needed(ctx) {
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
func needed(ctx context.Context) []check {
	return []check{
		root(), program(ctx, "runc", "runc --version", "apt-get install runc", true),
		networking(network.Probe), cgroups(),
	}
}

func examine(ctx context.Context, state string) []check {
	checks := needed(ctx)
	for i, c := range checks {
		if c.Name == networksName && c.OK { // the engine finds out by itself
			checks[i] = networking(func() error { return network.Try(ctx) })
		}
	}
	return append(checks,
		program(ctx, "git", "git --version", "apt-get install git; without it git sources are refused", false),
		overlay(state), seccompCheck(), disk(state), forwarding(),
		emulation(), program(ctx, "ssh", "ssh -V", "apt-get install openssh-client; without it git over ssh is refused", false),
	)
}

func root() check {
	c := check{Name: "root", Needed: true, OK: os.Geteuid() == 0, Found: fmt.Sprintf("uid %d", os.Geteuid())}
	c.Fix = "run the daemon as root (sudo acrd serve): it mounts, and makes namespaces"
	return c
}

func program(ctx context.Context, name, command, fix string, needed bool) check {
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
		return c
	}
	first, _, _ := bytes.Cut(out, []byte("\n"))
	c.OK, c.Found = true, string(first)
	return c
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

func cgroups() check {
	g := container.Cgroups{}
	c := check{Name: "cgroups", Needed: true, OK: true, Found: "version 1"}
	c.Fix = "mount the cgroup file system with the memory, pids and cpu controllers"
	if g.Unified() {
		c.Found = "version 2"
		b, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
		for _, want := range []string{"memory", "pids", "cpu"} {
			if err != nil || !strings.Contains(string(b), want) {
				c.OK, c.Found = false, "version 2 without "+want
			}
		}
		return c
	}
	for _, want := range []string{"memory", "pids", "cpu"} {
		if _, err := os.Stat(filepath.Join("/sys/fs/cgroup", want)); err != nil {
			c.OK, c.Found = false, "version 1 without "+want
		}
	}
	return c
}

func overlay(state string) check {
	c := check{Name: "overlayfs", Found: "in the kernel", Fix: "modprobe overlay; the engine keeps images with it"}
	b, err := os.ReadFile("/proc/filesystems")
	if err != nil || !strings.Contains(string(b), "\toverlay\n") {
		c.Found = "not in /proc/filesystems"
		return c
	}
	c.OK = true
	var st unix.Statfs_t
	if err := unix.Statfs(state, &st); err == nil && st.Type == unix.OVERLAYFS_SUPER_MAGIC {
		c.OK, c.Found = false, state+" is itself on an overlay"
		c.Fix = "put the state folder on a real file system with --state"
	}
	return c
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
	var st unix.Statfs_t
	dir := state
	for unix.Statfs(dir, &st) != nil && dir != "/" {
		dir = filepath.Dir(dir)
	}
	free := int64(st.Bavail) * st.Bsize
	c.OK = free >= lowSpace
	c.Found = fmt.Sprintf("%.1f GiB free for %s", float64(free)/(1<<30), state)
	return c
}

// forwarding looks for a firewall of someone else's that drops what bridges
// forward.
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
