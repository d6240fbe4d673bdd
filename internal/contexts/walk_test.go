package contexts

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/patternmatcher"
)

// TestWalkChanges walks into what is not any more what the listing said.
func TestWalkChanges(t *testing.T) {
	for name, tt := range map[string]struct {
		before, after func(path string) error
		changed       bool
	}{
		"folder goes":         {makeFolder, nothing, false},
		"link goes":           {makeLink, nothing, false},
		"file goes":           {makeFile, nothing, false},
		"folder becomes file": {makeFolder, makeFile, true},
		"folder becomes link": {makeFolder, makeLink, true},
		"link becomes file":   {makeLink, makeFile, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "x")
			if err := tt.before(path); err != nil {
				t.Fatal(err)
			}
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			info, err := root.Lstat("x")
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Remove(path), tt.after(path)); err != nil {
				t.Fatal(err)
			}
			w := &walker{root: root, required: &required{}, cache: loadHashCache("", info.ModTime()), limits: Limits{}.withDefaults()}
			if info.IsDir() {
				err = w.folder(t.Context(), "x", patternmatcher.MatchInfo{})
			} else {
				err = w.leaf("x", info)
			}
			if tt.changed != errors.As(err, new(*ChangedError)) || err != nil && !tt.changed {
				t.Errorf("error %v; want that it changed: %v", err, tt.changed)
			}
		})
	}
}

func nothing(string) error         { return nil }
func makeFolder(path string) error { return os.Mkdir(path, 0o755) }
func makeFile(path string) error   { return os.WriteFile(path, nil, 0o644) }
func makeLink(path string) error   { return os.Symlink("nowhere", path) }
