package integration

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
)

// A census is everything on this host that a daemon's runs have made, a line
// each: processes, mounts, network namespaces, interfaces, packet filters,
// control groups, containers and folders. The daemon and its engine are not in
// it; what the engine keeps while it is idle is.
type census []string

// census counts what is there now. What belongs to others on this host is
// told apart by the daemon's state folder and the name derived from it.
func (d *daemon) census() census {
	d.Helper()
	sum := sha256.Sum256([]byte(d.state))
	c := counting{daemon: d, instance: hex.EncodeToString(sum[:])[:5], engine: d.findEngine()}
	for _, count := range []func() []string{
		c.processes, c.mounts, c.namespaces, c.interfaces, c.tables, c.groups, c.folders,
	} {
		c.found = append(c.found, count()...)
	}
	slices.Sort(c.found)
	return c.found
}

// quiet waits until the census is what it was, and fails the test if that
// takes longer than patience.
func (d *daemon) quiet(before census, patience time.Duration) {
	d.Helper()
	var diff, last string
	began := time.Now()
	for deadline := began.Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if diff, last = cmp.Diff(before, d.census()), diff; diff == "" {
			if took := time.Since(began); took > time.Second {
				d.Logf("quiet after %v; the last to go (-before +after):\n%s", took, last)
			}
			return
		}
		if time.Now().After(deadline) {
			d.Errorf("left over after %v (-before +after):\n%s", patience, diff)
			return
		}
	}
}

// idle is the census of the daemon once nothing changes any more: BuildKit
// tidies up behind the back of its callers.
func (d *daemon) idle() census {
	d.Helper()
	last := d.census()
	for same := 0; same < 6; time.Sleep(50 * time.Millisecond) {
		now := d.census()
		if same++; !slices.Equal(now, last) {
			last, same = now, 0
		}
	}
	return last
}

// counting is one census in the making.
type counting struct {
	*daemon
	instance string
	engine   int
	found    census
}

// own says whether pid is the daemon or the engine.
func (c *counting) own(pid string) bool {
	return pid == fmt.Sprint(c.cmd.Process.Pid) || pid == fmt.Sprint(c.engine)
}

// processes are those in the daemon's control groups, those that name its
// folder, and the dead that nobody has waited for.
func (c *counting) processes() []string {
	var all []string
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, proc := range procs {
		pid := filepath.Base(proc)
		if c.own(pid) {
			continue
		}
		words, _ := os.ReadFile(proc + "/cmdline")
		groups, _ := os.ReadFile(proc + "/cgroup")
		stat, _ := os.ReadFile(proc + "/stat")
		_, state, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(state)
		command := strings.ReplaceAll(strings.TrimRight(string(words), "\x00"), "\x00", " ")
		switch {
		case strings.Contains(string(groups), "/acrd-"+c.instance), strings.Contains(command, c.state+"/"):
			all = append(all, "process "+command)
		case len(fields) > 1 && fields[0] == "Z" && c.own(fields[1]):
			all = append(all, "dead process "+pid)
		}
	}
	return all
}

func (c *counting) mounts() []string {
	var all []string
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		c.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if fields := strings.Fields(s.Text()); strings.HasPrefix(fields[4], c.state+"/") {
			all = append(all, "mount "+fields[4])
		}
	}
	return all
}

// namespaces are those that daemon and engine hold open; a namespace that
// neither they nor a process nor a mount holds is gone.
func (c *counting) namespaces() []string {
	var all []string
	for _, pid := range []int{c.cmd.Process.Pid, c.engine} {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, f := range files {
			if to, err := os.Readlink(f); err == nil && strings.HasPrefix(to, "net:[") {
				all = append(all, "namespace held open")
			}
		}
	}
	return all
}

func (c *counting) interfaces() []string {
	links, err := net.Interfaces()
	if err != nil {
		c.Fatal(err)
	}
	var all []string
	for _, l := range links {
		if strings.HasPrefix(l.Name, "acrd"+c.instance) {
			all = append(all, "interface "+l.Name)
		}
	}
	return all
}

// tables are the daemon's packet filters with what their sets hold.
func (c *counting) tables() []string {
	conn, err := nftables.New()
	if err != nil {
		c.Fatal(err)
	}
	tables, err := conn.ListTables()
	if err != nil {
		c.Fatal(err)
	}
	var all []string
	for _, t := range tables {
		if !strings.HasSuffix(t.Name, c.instance) {
			continue
		}
		elements := 0
		sets, _ := conn.GetSets(t)
		for _, s := range sets {
			e, _ := conn.GetSetElements(s)
			elements += len(e)
		}
		all = append(all, fmt.Sprintf("table %s of %d elements", t.Name, elements))
	}
	return all
}

func (c *counting) groups() []string {
	var all []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, e fs.DirEntry, err error) error {
		// The groups of all runs and of all builds are the engine's.
		_, group, ours := strings.Cut(path, "/acrd-"+c.instance)
		if err == nil && e.IsDir() && ours && (strings.Count(group, "/") > 1 || c.engine == 0) {
			all = append(all, "cgroup "+path)
		}
		return nil
	})
	return all
}

// folders are those of runs and containers, runc's own records included.
func (c *counting) folders() []string {
	var all []string
	for _, pattern := range []string{"runs/*", "runs-left-*", "engine/runc/*", "engine/buildkit/executor/*", "engine/buildkit/cachemounts/*"} {
		found, _ := filepath.Glob(filepath.Join(c.state, pattern))
		for _, f := range found {
			if name := filepath.Base(f); name != "hosts" && name != "resolv.conf" && name != "runc-log.json" { // BuildKit's, of all containers
				all = append(all, "folder "+strings.TrimPrefix(f, c.state))
			}
		}
	}
	begun, _ := filepath.Glob("/run/runc/acrd" + c.instance + "*")
	for _, folder := range begun {
		all = append(all, "container "+folder)
	}
	records, _ := filepath.Glob("/run/runc/*/state.json")
	for _, r := range records {
		if b, err := os.ReadFile(r); err == nil && strings.Contains(string(b), c.state+"/") {
			all = append(all, "container "+filepath.Dir(r))
		}
	}
	return all
}

// TestCensus makes sure that a census sees what a run makes, and that an
// orderly end leaves nothing at all.
func TestCensus(t *testing.T) {
	need(t)
	d := start(t)
	d.base()
	d.succeed(d.task("steps:\n  - cmd: REGISTRY/base/busybox:1 true\n"))
	before := d.idle()
	b := d.begin(d.folder(map[string]string{"acb.yaml": stubbornTask}), "run", ".")
	b.await("is stuck")
	during := strings.Join(d.census(), "\n")
	for _, want := range []string{"process ", "mount ", "namespace ", "interface ", "table ", "cgroup ", "folder "} {
		if got, was := strings.Count(during, want), strings.Count(strings.Join(before, "\n"), want); got <= was && want != "table " {
			t.Errorf("%d of %q while a run goes on, %d before:\n%s", got, want, was, during)
		}
	}
	b.interrupt()
	b.wait(10 * time.Second)
	d.quiet(before, 10*time.Second)
	d.stop()
	d.quiet(nil, 5*time.Second)
}
