//go:build unix

package contexts

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPackSkipsSpecialFiles(t *testing.T) {
	dir := folder(t, map[string]string{"a": "", ".dockerignore": "quiet"})
	for _, name := range []string{"pipe", "quiet"} {
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o644); err != nil {
			t.Skip(err)
		}
	}
	p := pack(t, dir)
	if diff := cmp.Diff([]string{".dockerignore", "a"}, paths(p.Manifest)); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"pipe"}, p.Skipped); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
}

// TestRefreshKinds reads again what is no file any more. A pipe must not keep
// it waiting.
func TestRefreshKinds(t *testing.T) {
	for name, replace := range map[string]func(path string) error{
		"pipe": func(path string) error { return syscall.Mkfifo(path, 0o600) }, "folder": makeFolder, "link": makeLink, "nothing": nothing,
	} {
		dir := folder(t, map[string]string{"a": "1"})
		p := pack(t, dir)
		path := filepath.Join(dir, "a")
		if err := errors.Join(os.Remove(path), replace(path)); err != nil {
			t.Fatal(err)
		}
		if err := p.refresh(t.Context(), ""); !errors.As(err, new(*ChangedError)) {
			t.Errorf("%s: error %v; want that it changed", name, err)
		}
	}
}
