package steps

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

const schemaFile = "../acr-task.schema.json"

// schemaNode is as much of JSON Schema as the file uses for keys.
type schemaNode struct {
	Description string                 `json:"description"`
	Type        any                    `json:"type"`
	Default     any                    `json:"default"`
	Properties  map[string]*schemaNode `json:"properties"`
	Items       *schemaNode            `json:"items"`
	AnyOf       []*schemaNode          `json:"anyOf"`
}

func readSchema(t *testing.T) *schemaNode {
	t.Helper()
	b, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	n := &schemaNode{}
	if err := json.Unmarshal(b, n); err != nil {
		t.Fatal(err)
	}
	return n
}

// kind is in the words of the parser's tables.
func (n *schemaNode) kind() string {
	types, _ := n.Type.([]any)
	switch {
	case n.Type == "array" && n.Items.Properties != nil:
		return "list of mappings"
	case n.Type == "array" && n.Items.Type == "number":
		return "list of integers"
	case n.Type == "array":
		return "list of strings"
	case n.Type == "number":
		return "integer"
	case n.Type == "object":
		return "mapping of file names to base64"
	case len(n.AnyOf) == 2 && n.AnyOf[0].Type == "boolean":
		return "boolean"
	case len(n.AnyOf) == 2 && n.AnyOf[1].Type == "array":
		return "string or list of strings"
	case len(n.AnyOf) == 2 && n.AnyOf[1].Type == "string", slices.Contains(types, any("string")):
		return "string"
	}
	return "?"
}

// tables are the parser's keys, by where the schema and the reference have
// them.
func tables() map[string]map[string]string {
	return map[string]map[string]string{
		"task": kinds(taskKeys), "steps": kinds(stepKeys), "secrets": kinds(secretKeys), "networks": kinds(networkKeys),
		"volumes": kinds(volumeKeys), "volumeMounts": kinds(mountKeys), "steps.secrets": kinds(stepSecretKeys),
	}
}

func kinds[T any](keys map[string]key[T]) map[string]string {
	all := map[string]string{}
	for name, k := range keys {
		all[name] = k.kind
	}
	return all
}

// TestSchemaKeys holds the schema's keys and the parser's against each other.
func TestSchemaKeys(t *testing.T) {
	root := readSchema(t)
	step := root.Properties["steps"].Items
	places := map[string]*schemaNode{
		"task": root, "steps": step, "secrets": root.Properties["secrets"].Items, "networks": root.Properties["networks"].Items,
		"volumes": root.Properties["volumes"].Items, "volumeMounts": step.Properties["volumeMounts"].Items,
		"steps.secrets": step.Properties["secrets"].Items,
	}
	for where, want := range tables() {
		got := map[string]string{}
		for name, n := range places[where].Properties {
			if n.Description == "" {
				t.Errorf("%s: %s has no description", where, name)
			}
			if name != "alias" { // it is gone when the parser gets the file
				got[name] = n.kind()
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: parser (-), schema (+):\n%s", where, diff)
		}
	}
}

// TestSchemaDefaults parses a file that says nothing and one that says the
// defaults.
func TestSchemaDefaults(t *testing.T) {
	root := readSchema(t)
	task, step := map[string]any{}, map[string]any{"cmd": "img"}
	for name, n := range root.Properties {
		if n.Default != nil {
			task[name] = n.Default
		}
	}
	for name, n := range root.Properties["steps"].Items.Properties {
		if n.Default != nil {
			step[name] = n.Default
		}
	}
	if len(task) < 3 || len(step) < 10 {
		t.Fatalf("few defaults: %v %v", task, step)
	}
	said := map[string]any{"steps": []any{step}}
	maps.Copy(said, task)
	b, err := json.Marshal(said)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Parse("silent", []byte("steps: [{cmd: img}]"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("said", b, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Step{})); diff != "" {
		t.Errorf("silent (-), defaults (+):\n%s", diff)
	}
}

// beyondSchema are wrong files whose fault a schema cannot see: it knows no
// other step, no command line, no bytes, and takes the last of two keys.
var beyondSchema = []string{
	"build-", "cmd-", "push-", "syntax-", "when-", "clash-with-default", "duplicate-", "secret-twice", "itself", "later-step",
	"dash-and-id", "empty-when", "volume-twice", "volume-base64", "mount-on-push", "mount-undeclared", "mount-twice", "network-twice",
	"step-secret-twice", "step-secret-on-build", "env-file-", "bool-a-string", "bool-word-quoted",
	"int-too-large", "volume-dots", "version-indented",
}

// TestSchemaAgrees holds the schema against the parser's judgement: of every
// file that acb has been asked about, of the examples, and of the wrong files.
func TestSchemaAgrees(t *testing.T) {
	schema := jsonschema.NewCompiler().MustCompile(schemaFile)
	valid := func(src []byte) error {
		var v any
		if err := yaml.Unmarshal(src, &v); err != nil {
			return err
		}
		return schema.Validate(v)
	}
	accepted := 0
	for _, name := range taskFiles(t) {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Render(name, src, Values{})
		if err != nil {
			continue
		}
		if _, err := r.Parse(name, Options{}); err != nil {
			continue
		}
		accepted++
		if filepath.Base(name) == "step-dup-keys.yaml" { // in YAML 1.2 that is an error
			continue
		}
		if err := valid([]byte(r.String())); err != nil {
			t.Errorf("%s is fine, but not for the schema: %v\n%s", name, err, r)
		}
	}
	if accepted < 9 {
		t.Errorf("only %d files accepted", accepted)
	}
	archives, _ := filepath.Glob("testdata/wrong/*.txtar")
	for _, name := range archives {
		a, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		short := strings.TrimSuffix(filepath.Base(name), ".txtar")
		excused := slices.ContainsFunc(beyondSchema, func(p string) bool { return short == p || strings.HasSuffix(p, "-") && strings.HasPrefix(short, p) })
		switch err := valid(a.Files[0].Data); {
		case err == nil && !excused:
			t.Errorf("%s is wrong, but not for the schema", short)
		case err != nil && slices.Contains(beyondSchema, short):
			t.Errorf("%s needs no excuse: %v", short, err)
		}
	}
}

// taskFiles are those of the examples, and the vectors if they are there.
func taskFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../shared/vectors/*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir("../examples", func(name string, _ fs.DirEntry, err error) error {
		if filepath.Base(name) == "acb.yaml" || filepath.Base(name) == "ports.yaml" {
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
