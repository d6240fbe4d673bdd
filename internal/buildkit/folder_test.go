package buildkit

import (
	"errors"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"acrd/steps"

	"github.com/google/go-cmp/cmp"
)

// TestPipes: a step may leave a pipe where a build reads a file. Nobody waits
// for what never comes.
func TestPipes(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]steps.BuildOptions{
		"Pipe":                    {File: "Pipe"},
		"Dockerfile.dockerignore": {},
		".dockerignore":           {},
		"secret":                  {Secrets: []steps.BuildSecret{{ID: "s", File: "secret"}}},
	} {
		dir := t.TempDir()
		op := steps.BuildOp{BuildOptions: o, Workspace: dir, Root: dir, Context: dir}
		err := errors.Join(
			os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\n"), 0o600),
			syscall.Mkfifo(filepath.Join(dir, name), 0o600),
		)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := openInputs(&op); err == nil || !strings.Contains(err.Error(), "it is not a file") {
			t.Errorf("%s: error %v; want that it is not a file", name, err)
		}
	}
}

func TestFolderFS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	err := errors.Join(
		os.MkdirAll(filepath.Join(dir, "b", "c"), 0o700), os.WriteFile(filepath.Join(dir, "b", "a"), []byte("1"), 0o600),
		os.Symlink("b", filepath.Join(dir, "l")), syscall.Mkfifo(filepath.Join(dir, "p"), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	fs := newFolderFS(root)
	var found []string
	err = fs.Walk(t.Context(), "/", func(path string, _ iofs.DirEntry, err error) error {
		found = append(found, path)
		return err
	})
	if diff := cmp.Diff([]string{"b", "b/a", "b/c", "l", "p"}, found); diff != "" || err != nil {
		t.Errorf("walked (-want +got):\n%s%v", diff, err)
	}
	if f, err := fs.Open("/b/a"); err != nil {
		t.Error(err)
	} else {
		f.Close()
	}
	if _, err := fs.Open("p"); !errors.Is(err, errNoFile) {
		t.Errorf("open a pipe: %v", err)
	}
	if _, err := (listing{root.FS().(linkFS), root}).ReadDir("p"); err == nil {
		t.Error("a pipe is listed")
	}
}
