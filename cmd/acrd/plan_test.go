package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write what tests get into their testdata")

// TestPlans holds what run --dry-run says of a task file. Each archive has the
// file, the arguments, and what is printed: a plan, or why there is none. Most
// of the files are those that acb's own plans were recorded with; that the
// plans agree with acb's is integration's to test.
func TestPlans(t *testing.T) {
	archives, err := filepath.Glob("testdata/plan/*.txtar")
	if err != nil || len(archives) < 60 {
		t.Fatalf("%d archives, %v", len(archives), err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got := dryRun(t, a)
			want := ""
			for _, f := range a.Files {
				if f.Name == "want" {
					want = string(f.Data)
				}
			}
			if *update {
				a.Files = append(a.Files[:1:1], txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("want (-), got (+):\n%s", diff)
			}
		})
	}
}

var archDate = regexp.MustCompile(`\b20\d{6}-\d{6}z\b`)

// dryRun runs the command as the archive's comment has it, in a folder that
// holds the archive's first file.
func dryRun(t *testing.T, a *txtar.Archive) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, a.Files[0].Name), a.Files[0].Data, 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"run", "--dry-run", "-o", "json", "--id", "cf1", "--registry", "myregistry.azurecr.io", "-f", a.Files[0].Name}
	args = append(args, strings.Fields(string(a.Comment))...)
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), &session{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, getenv: func(string) string { return "" }}, append(args, dir))
	if code != exitOK && stdout.Len() > 0 {
		t.Errorf("a plan, and exit code %d", code)
	}
	return archDate.ReplaceAllString(stdout.String()+stderr.String(), "DATE")
}
