//go:build linux

package container

import (
	"os"
	"path/filepath"
	"testing"
)

// fixture lays out a control group file system of one version in a folder:
// the files that a kernel would make when a group is made.
func fixture(t *testing.T, files map[string]string) Cgroups {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Cgroups{Root: root}
}

func content(t *testing.T, c Cgroups, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(c.Root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCgroupsV2(t *testing.T) {
	c := fixture(t, map[string]string{
		"cgroup.controllers": "cpu memory pids", "cgroup.subtree_control": "",
		"acrd/cgroup.subtree_control": "", "acrd/run1/cgroup.subtree_control": "",
		"acrd/run1/memory.max": "max", "acrd/run1/pids.max": "max", "acrd/run1/cpu.max": "max",
		"acrd/run1/memory.events": "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\n",
		"acrd/run1/pids.events":   "max 0\n",
	})
	if err := c.Create("/acrd/run1", Limits{Memory: 1 << 30, PIDs: 4096, CPUs: 1.5}); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"memory.max": "1073741824", "pids.max": "4096", "cpu.max": "150000 100000"} {
		if got := content(t, c, "acrd/run1/"+file); got != want {
			t.Errorf("%s = %q, want %q", file, got, want)
		}
	}
	if got := c.OOMKills("/acrd/run1"); got != 2 {
		t.Errorf("OOMKills = %d, want 2", got)
	}
	if !c.HitMemoryLimit("/acrd/run1") || c.HitPIDLimit("/acrd/run1") {
		t.Error("want the memory limit hit and the process limit not")
	}
}

func TestCgroupsV1(t *testing.T) {
	c := fixture(t, map[string]string{
		"memory/acrd/run1/memory.limit_in_bytes": "max",
		"memory/acrd/run1/memory.oom_control":    "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
		"memory/acrd/run1/memory.failcnt":        "0\n",
		"pids/acrd/run1/pids.max":                "max", "pids/acrd/run1/pids.events": "max 5\n",
		"cpu/acrd/run1/cpu.cfs_period_us": "100000", "cpu/acrd/run1/cpu.cfs_quota_us": "-1",
	})
	if err := c.Create("/acrd/run1", Limits{Memory: 1 << 30, PIDs: 4096, CPUs: 0.5}); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"memory/acrd/run1/memory.limit_in_bytes": "1073741824",
		"pids/acrd/run1/pids.max":                "4096",
		"cpu/acrd/run1/cpu.cfs_quota_us":         "50000",
	} {
		if got := content(t, c, file); len(got) < len(want) || got[:len(want)] != want {
			t.Errorf("%s = %q, want %q", file, got, want)
		}
	}
	if got := c.OOMKills("/acrd/run1"); got != 1 {
		t.Errorf("OOMKills = %d, want 1", got)
	}
	if c.HitMemoryLimit("/acrd/run1") || !c.HitPIDLimit("/acrd/run1") {
		t.Error("want the process limit hit and the memory limit not")
	}
}

// TestHitLimits reads what kernels say of a group whose limit was met by one
// below it.
func TestHitLimits(t *testing.T) {
	for name, tt := range map[string]struct {
		files        map[string]string
		memory, pids bool
	}{
		"memory":        {map[string]string{"memory/g/memory.failcnt": "0\n", "memory/g/memory.max_usage_in_bytes": "4096\n", "memory/g/memory.limit_in_bytes": "4096\n"}, true, false},
		"older kernels": {map[string]string{"memory/g/memory.failcnt": "7\n"}, true, false},
		"version 1":     {map[string]string{"pids/g/pids.events": "max 0\n", "pids/g/pids.max": "60\n", "pids/g/pids.peak": "60\n"}, false, true},
		"version 2":     {map[string]string{"cgroup.controllers": "pids", "g/pids.events": "max 3\n", "g/memory.events": "oom_kill 0\n"}, false, true},
		"neither":       {map[string]string{"pids/g/pids.events": "max 0\n", "pids/g/pids.max": "60\n", "pids/g/pids.peak": "59\n", "memory/g/memory.failcnt": "0\n", "memory/g/memory.max_usage_in_bytes": "4095\n", "memory/g/memory.limit_in_bytes": "4096\n"}, false, false},
		"no limit":      {map[string]string{"pids/g/pids.max": "max\n", "pids/g/pids.peak": "59\n"}, false, false},
	} {
		c := fixture(t, tt.files)
		if memory, pids := c.HitMemoryLimit("/g"), c.HitPIDLimit("/g"); memory != tt.memory || pids != tt.pids {
			t.Errorf("%s: memory %v, processes %v; want %v, %v", name, memory, pids, tt.memory, tt.pids)
		}
	}
}
