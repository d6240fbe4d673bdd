package steps_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acrd/steps"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write what tests get into their testdata")

// TestWrongFiles shows what is said of wrong files, to the letter. The words
// are acb's where acb has any.
func TestWrongFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/wrong/*.txtar")
	if err != nil || len(files) < 60 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			checkArchive(t, name, func(src []byte) string {
				_, err := steps.Parse("task.yaml", src, steps.Options{Secrets: []string{"token", "one", "two"}})
				var faults steps.Errors
				if !errors.As(err, &faults) {
					t.Fatalf("got %v, want faults", err)
				}
				for _, f := range faults {
					if f.Line == 0 || f.Column == 0 || f.Source == "" {
						t.Errorf("says not where: %v", f)
					}
				}
				return err.Error() + "\n"
			})
		})
	}
}

// checkArchive holds what a function makes of an archive's task.yaml against
// its want.
func checkArchive(t *testing.T, name string, f func(src []byte) string) {
	t.Helper()
	a, err := txtar.ParseFile(name)
	if err != nil || len(a.Files) != 2 {
		t.Fatalf("%s: %d files, %v", name, len(a.Files), err)
	}
	got := f(a.Files[0].Data)
	if *update {
		a.Files[1].Data = []byte(got)
		if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(a.Files[1].Data), got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}
