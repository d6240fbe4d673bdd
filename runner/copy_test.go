package runner

import (
	"os"
	"path/filepath"
	"testing"
)

// TestCopyTree: modes, links and the insides of folders come along, and a link
// that leads out is copied as a link, not followed.
func TestCopyTree(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for _, err := range []error{
		os.MkdirAll(filepath.Join(from, "a", "b"), 0o755),
		os.WriteFile(filepath.Join(from, "a", "b", "run.sh"), []byte("x"), 0o755),
		os.Symlink("b/run.sh", filepath.Join(from, "a", "inside")),
		os.Symlink("/etc/passwd", filepath.Join(from, "outside")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	source, target := openRoot(t, from), openRoot(t, to)
	if err := copyTree(target, "c", source); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(to, "c", "a", "inside"))
	if err != nil || info.Mode().Perm() != 0o755 || info.Size() != 1 {
		t.Errorf("%v %v", info, err)
	}
	if link, err := os.Readlink(filepath.Join(to, "c", "outside")); link != "/etc/passwd" {
		t.Errorf("link to %q, %v", link, err)
	}
	if err := copyTree(target, "c", source); err == nil {
		t.Error("it wrote over what was there")
	}
}

func openRoot(t *testing.T, dir string) *os.Root {
	t.Helper()
	r, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}
