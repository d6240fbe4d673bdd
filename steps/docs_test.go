package steps

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const referenceFile = "../docs/task-reference.md"

func readText(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var row = regexp.MustCompile("(?m)^\\| `([A-Za-z0-9-]+)` \\| ([^|]*) \\| ?([^|]*)\\|")

// section is the part of a document below a heading.
func section(t *testing.T, doc, heading string) string {
	t.Helper()
	_, after, ok := strings.Cut(doc, "\n"+heading+"\n")
	if !ok {
		t.Fatalf("no %q", heading)
	}
	before, _, _ := strings.Cut(after, "\n#")
	return before
}

// TestReference holds the tables of the task reference to the parser's keys
// and kinds, and to the defaults of the schema.
func TestReference(t *testing.T) {
	doc, root := readText(t, referenceFile), readSchema(t)
	headings := map[string]string{
		"task": "## The task", "steps": "## Steps", "secrets": "## Secrets", "networks": "## Networks", "volumes": "## Volumes",
		"volumeMounts": "### volumeMounts", "steps.secrets": "### Secrets of a step",
	}
	defaults := map[string]map[string]*schemaNode{"task": root.Properties, "steps": root.Properties["steps"].Items.Properties}
	for where, want := range tables() {
		got := map[string]string{}
		for _, m := range row.FindAllStringSubmatch(section(t, doc, headings[where]), -1) {
			name, kind, value := m[1], m[2], strings.Trim(m[3], "` ")
			got[name] = kind
			n := defaults[where][name]
			if n == nil || n.Default == nil {
				continue
			}
			text, ok := n.Default.(string)
			if !ok {
				b, _ := json.Marshal(n.Default)
				text = string(b)
			}
			if text != value {
				t.Errorf("%s: default %q, in the schema %q", name, value, text)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: parser (-), reference (+):\n%s", where, diff)
		}
	}
}

// TestReferenceRules holds the list of lint rules to the code.
func TestReferenceRules(t *testing.T) {
	want := map[string]bool{}
	used := regexp.MustCompile(`warn(?:At)?\("([a-z-]+)"`)
	for _, name := range []string{"lint.go", "lintstep.go", "document.go"} {
		for _, m := range used.FindAllStringSubmatch(readText(t, name), -1) {
			want[m[1]] = true
		}
	}
	want[ruleNotOnACR] = true
	got := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(section(t, readText(t, referenceFile), "## What lint warns of"), -1) {
		got[m[1]] = true
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("code (-), reference (+):\n%s", diff)
	}
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```\n(?:\n```text\n(.*?)```\n)?")

// TestDocumentedFiles parses what the documents show: a file is valid and
// lint has no more to say than that ACR cannot do this; or the errors stand
// below it, to the letter.
func TestDocumentedFiles(t *testing.T) {
	shown := map[string]int{}
	for _, name := range []string{referenceFile, "../README.md"} {
		for _, m := range yamlBlock.FindAllStringSubmatch(readText(t, name), -1) {
			warnings, err := LintFile("acb.yaml", []byte(m[1]), Values{Run: RunValues{ID: "ca1", Registry: "r.io"}}, Options{})
			if m[2] != "" {
				shown[name]++
				if err == nil || err.Error()+"\n" != m[2] {
					t.Errorf("%s: got\n%v\nwant\n%s", name, err, m[2])
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			for _, w := range warnings {
				if w.Rule != ruleNotOnACR {
					t.Errorf("%s: %v", name, w)
				}
			}
		}
	}
	if shown[referenceFile] < 3 || shown["../README.md"] < 1 {
		t.Errorf("wrong files with their errors: %v", shown)
	}
}

// TestCompatibilityNamesEveryKey keeps a key from being forgotten there.
func TestCompatibilityNamesEveryKey(t *testing.T) {
	doc := section(t, readText(t, "../docs/compatibility.md"), "## The task language, key by key")
	for where, keys := range tables() {
		for name := range keys {
			if !strings.Contains(doc, "`"+name+"`") {
				t.Errorf("%s: %s is not in the compatibility table", where, name)
			}
		}
	}
}
