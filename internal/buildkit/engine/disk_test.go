//go:build linux

package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acrd/internal/buildkit/control"
)

// TestDiskMeter measures a folder in which there is all that steps may make.
func TestDiskMeter(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write := func(path string, size int) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(outside+"/large", 8<<20)
	write(dir+"/a/b/file", 1<<20)
	for old, name := range map[string]string{outside + "/large": "file link", outside: "folder link"} {
		if err := os.Symlink(old, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"/again", "/a/and again"} {
		if err := os.Link(dir+"/a/b/file", dir+name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/sparse", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(dir+"/sparse", 1<<40); err != nil {
		t.Fatal(err)
	}
	m := diskMeter{}
	if err := m.measure([]string{dir, dir + "/gone"}); err != nil {
		t.Fatal(err)
	}
	if m.found.Files != 8 {
		t.Errorf("found %d files, want 8", m.found.Files)
	}
	if m.found.Bytes < 1<<20 || m.found.Bytes > 1<<20+64<<10 {
		t.Errorf("found %d bytes, want 1 MiB and some folders", m.found.Bytes)
	}
}

// TestDiskMeter_Deep: folders that are deeper than there may be open files end
// it.
func TestDiskMeter_Deep(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(dir+strings.Repeat("/d", diskDepth+10), 0o755); err != nil {
		t.Fatal(err)
	}
	err := (&diskMeter{}).measure([]string{dir})
	if err == nil || !strings.Contains(err.Error(), "deep") {
		t.Errorf("got %v", err)
	}
}

// TestDiskWatch counts what comes to folders that were there before, and all
// that is in new ones.
func TestDiskWatch(t *testing.T) {
	fresh, old := t.TempDir(), t.TempDir()
	fill := func(dir, name string, mib int) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, mib<<20), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var over error
	w := diskWatch{limit: control.Disk{Bytes: 4 << 20, Files: 5}, over: func(err error) { over = err }}
	now := time.Now()
	look := func() string {
		over = nil
		now = now.Add(time.Hour)
		w.look(now, written{fresh: []string{fresh}, old: []string{old}}, nil)
		if over == nil {
			return ""
		}
		return over.Error()
	}
	fill(old, "before", 16)
	fill(fresh, "a", 1)
	for _, tt := range []struct {
		do   func()
		want string
	}{
		{func() {}, ""},
		{func() { fill(old, "more", 2) }, ""},
		{func() { fill(fresh, "b", 2) }, "out of disk space (limit 4 MiB)"},
		{func() { _ = os.Remove(filepath.Join(fresh, "b")) }, ""},
		{func() {
			for _, name := range []string{"c", "d", "e", "f"} {
				fill(fresh, name, 0)
			}
		}, "too many files (limit 5)"},
	} {
		tt.do()
		if got := look(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
