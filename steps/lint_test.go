package steps_test

import (
	"path/filepath"
	"strings"
	"testing"

	"acrd/steps"
)

// TestLint shows what is said of valid files, to the letter, and that Strict
// says the same as an error.
func TestLint(t *testing.T) {
	files, err := filepath.Glob("testdata/lint/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			checkArchive(t, name, func(src []byte) string {
				var b strings.Builder
				heeded := 0
				for _, w := range steps.Lint("task.yaml", src, steps.Options{}) {
					b.WriteString(w.String() + "\n")
					if w.Rule != "not-on-acr" {
						heeded++
					}
				}
				_, err := steps.Parse("task.yaml", src, steps.Options{Strict: true})
				if (err != nil) != (heeded > 0) {
					t.Errorf("%d warnings, and Strict says %v", heeded, err)
				}
				return b.String()
			})
		})
	}
}
