//go:build linux

package mounts

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDetachBelow(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	one, two, other := filepath.Join(dir, "a b"), filepath.Join(dir, "a b", "deep"), filepath.Join(t.TempDir(), "other")
	for _, p := range []string{one, two, other} {
		if err := os.MkdirAll(p, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", p, "tmpfs", 0, "size=64k"); err != nil {
			t.Skip("no mounts here: ", err)
		}
		if err := os.MkdirAll(two, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	n, err := DetachBelow(dir)
	if n != 2 || err != nil {
		t.Errorf("DetachBelow = %d, %v; want the two below and not the other", n, err)
	}
	if left, _ := below([]string{other}); len(left) != 1 {
		t.Errorf("the other mount is gone: %v", left)
	}
	if err := Detach(other); err != nil {
		t.Error(err)
	}
	if err := Detach(other); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestUpper(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := filepath.Join(t.TempDir(), "a b")
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"lower", "upper", "work", "root", "plain"} {
		if err := os.MkdirAll(at(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	options := "lowerdir=" + at("lower") + ",upperdir=" + at("upper") + ",workdir=" + at("work")
	if err := unix.Mount("overlay", at("root"), "overlay", 0, options); err != nil {
		t.Skip("no overlays here: ", err)
	}
	t.Cleanup(func() { _ = Detach(at("root")) })
	for path, want := range map[string]string{at("root"): at("upper"), at("plain"): "", at("root") + "/below": ""} {
		if got := Upper(path); got != want {
			t.Errorf("Upper(%q) = %q, want %q", path, got, want)
		}
	}
}
