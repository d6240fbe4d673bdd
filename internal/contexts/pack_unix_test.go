//go:build unix

package contexts

import (
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
