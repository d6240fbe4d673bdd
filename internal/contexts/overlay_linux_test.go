package contexts

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOverlay(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	below := t.TempDir()
	if err := os.WriteFile(filepath.Join(below, "kept"), []byte("tree"), 0o444); err != nil {
		t.Fatal(err)
	}
	closed := false
	tree := &Tree{Dir: below, close: func() { closed = true }}
	dir := filepath.Join(t.TempDir(), "workspace")
	w, err := tree.Overlay(dir)
	if err != nil {
		t.Skip("no overlay here: ", err)
	}
	for name, text := range map[string]string{"kept": "changed", "new": "made"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Error(err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("root of the workspace: %v, %v; want it open to every user", info.Mode(), err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(below, "kept")); string(b) != "tree" {
		t.Errorf("the tree changed: %q, %v", b, err)
	}
	if entries, _ := os.ReadDir(below); len(entries) != 1 {
		t.Errorf("the tree has %d entries, want 1", len(entries))
	}
	if left, _ := os.ReadDir(filepath.Dir(dir)); !closed || len(left) != 1 {
		t.Errorf("closed=%v, left %v; want the tree closed and the empty folder only", closed, left)
	}
}
