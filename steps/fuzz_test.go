package steps_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"acrd/steps"

	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzParse looks for files that are neither a task nor refused with a place
// to look at, and for tasks that do not come to an end.
func FuzzParse(f *testing.F) {
	archives, _ := filepath.Glob("testdata/*/*.txtar")
	for _, name := range archives {
		if a, err := txtar.ParseFile(name); err == nil {
			f.Add(string(a.Files[0].Data))
		}
	}
	f.Add("version: v1.1.0\nsteps:\n  - id: a\n    cmd: img x\n    when: ['-']\n  - build: -t a .\n  - push: [a]\n")
	f.Fuzz(func(t *testing.T, src string) {
		file, err := steps.Parse("f", []byte(src), steps.Options{})
		steps.Lint("f", []byte(src), steps.Options{})
		if err != nil {
			checkFaults(t, err)
			return
		}
		for _, fails := range []bool{false, true} {
			finish(t, file, fails)
		}
	})
}

func checkFaults(t *testing.T, err error) {
	var faults steps.Errors
	if !errors.As(err, &faults) || len(faults) == 0 {
		t.Fatalf("not faults: %v", err)
	}
	for _, e := range faults {
		if e.Line < 1 || e.Column < 1 {
			t.Errorf("says not where: %v", e)
		}
		if e.Caret > 100 || utf8.RuneCountInString(e.Source) > 250 || len(e.Msg) > 4000 {
			t.Errorf("too wide: %v", e)
		}
	}
	text := err.Error()
	if strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && unicode.IsControl(r) }) || !utf8.ValidString(text) {
		t.Errorf("not for a terminal: %q", text)
	}
}

// finish runs the graph of a file whose steps all succeed, or of which the
// first one fails.
func finish(t *testing.T, file *steps.File, fails bool) {
	g := file.Graph()
	started := 0
	for ready := g.Ready(); len(ready) > 0; ready = g.Ready() {
		for _, s := range ready {
			if started++; fails && started == 1 {
				g.Fail(s.ID)
				continue
			}
			g.Done(s.ID)
		}
	}
	want := 0
	for _, s := range file.Steps {
		if !s.OnFailure {
			want++
		}
	}
	if !fails && started != want {
		t.Errorf("%d of %d steps started", started, want)
	}
}
