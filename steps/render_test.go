package steps

import (
	"strings"
	"testing"
	"time"
)

var someValues = Values{
	Run:    RunValues{ID: "cf1", Registry: "myregistry.azurecr.io", RegistryName: "myregistry", OS: "linux", Architecture: "amd64", Commit: "abc"},
	Values: map[string]any{"a": "1", "b": "x"},
}

func TestRender(t *testing.T) {
	const v = "version: v1.1.0\n"
	for name, tt := range map[string]struct{ src, want string }{
		"alias":            {v + "x: $ID-$Registry/$RegistryName", v + "x: cf1-myregistry.azurecr.io/myregistry"},
		"longest token":    {v + "x: $ID_x $ID.x $IDx", v + "x: cf1_x cf1.x $IDx"},
		"escape":           {v + "x: $$HOME $$(date) cost$ 5$", v + "x: $HOME $(date) cost$ 5$"},
		"unknown":          {v + "x: $Undefined ${ID} $ID$ID $Undef$ID $1", v + "x: $Undefined ${ID} cf1cf1 $Undef$ID $1"},
		"image alias":      {v + "x: $bash", v + "x: mcr.microsoft.com/acr/bash:2ff604c"},
		"own alias":        {"version: v1.1.0\nalias:\n  values:\n    repo: myrepo\nx: $repo", "version: v1.1.0\n\n\n\nx: myrepo"},
		"own over global":  {"version: v1.1.0\nalias: {values: {ID: mine}}\nx: $ID", "version: v1.1.0\n\nx: mine"},
		"directive":        {"version: v1.1.0\nalias: {directive: '^'}\nx: ^ID $ID", "version: v1.1.0\n\nx: cf1 $ID"},
		"no aliases":       {"version: v1.0.0\nx: $ID", "version: v1.0.0\nx: $ID"},
		"no version":       {"x: $ID", "x: $ID"},
		"template":         {"x: {{.Run.ID}} {{.Build.ID}} {{.Values.a}}", "x: cf1 cf1 1"},
		"missing is empty": {"x: [{{.Values.none}}]", "x: []"},
		"json":             {"x: {{.ValuesJSON}}", `x: '{"a":"1","b":"x"}'`},
		"for a volume":     {"x: {{.Values.b | b64enc}} {{.Values.none | b64enc}}", "x: eA== "},
		"byte order mark":  {"\ufeff" + v + "x: $ID", v + "x: cf1"},
		"mark and comment": {"\ufeff# {{.Bad\n" + v + "x: $ID", v + "x: cf1"},
		"comments":         {"# $ID\nx: 1\n  # {{.Bad\ny: 2", "x: 1\ny: 2"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Render("t", []byte(tt.src), someValues)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got.String(), tt.want)
			}
		})
	}
}

func TestRenderErrors(t *testing.T) {
	for name, tt := range map[string]struct{ src, want string }{
		"parse":           {"x: {{.Run.ID", "error while rendering templates: failed to parse template: t. Err: "},
		"execute":         {"x: {{.Values.a.b.c}}", "error while rendering templates: failed to execute template: t. Err: "},
		"empty":           {"{{if false}}x{{end}}", "rendered template was empty"},
		"no env":          {`{{env "HOME"}}`, `function "env" not defined`},
		"endless":         {`{{define "x"}}{{template "x"}}{{end}}{{template "x"}}`, "failed to execute template"},
		"too long":        {`{{range $i := 9999999}}xxxxxxxxxxxxxxxxxxxxxxxx{{end}}`, "more than 1 MiB"},
		"alias key":       {"version: v1.1.0\nalias: {values: {a-b: 1}}\n", "alias key names only support alphanumeric characters"},
		"alias directive": {"version: v1.1.0\nalias: {directive: ab}\n", "directive can only be overwritten by a single character"},
		"alias alnum":     {"version: v1.1.0\nalias: {directive: a}\n", "overwritten directives may not be alphanumeric characters"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Render("t", []byte(tt.src), someValues)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestImageAlias(t *testing.T) {
	f, err := Load("t", []byte("version: v1.1.0\nsteps:\n  - cmd: '   bash   echo   hi  '\n  - cmd: bash:3 echo\n  - cmd: other bash\n"), someValues, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"mcr.microsoft.com/acr/bash:2ff604c", "bash:3", "other"} {
		if got := f.Steps[i].Do.(*Cmd).Image; got != want {
			t.Errorf("step %d: image %s, want %s", i, got, want)
		}
	}
}

func FuzzRender(f *testing.F) {
	f.Add("version: v1.1.0\nalias: {values: {a: b}}\nx: $a {{.Run.ID}}")
	f.Add("{{range $i, $x := until 9}}{{$i}}{{break}}{{else}}-{{end}}")
	f.Add(`{{define "a"}}{{template "a"}}{{end}}{{template "a"}}{{printf "%09d" 1}}`)
	f.Fuzz(func(t *testing.T, src string) {
		began := time.Now()
		r, err := Render("f", []byte(src), someValues)
		if took := time.Since(began); took > 20*time.Second { // the bound is 2 s; machines are busy
			t.Fatalf("took %v", took)
		}
		if err != nil {
			checkFaults(t, src, err)
			return
		}
		if n := len(r.String()); n > 2*maxRendered {
			t.Fatalf("%d bytes", n)
		}
	})
}

// checkFaults holds errors to what they promise: a place that is in the file.
func checkFaults(t *testing.T, src string, err error) {
	t.Helper()
	faults, ok := err.(Errors) //nolint:errorlint // nothing else is promised
	if !ok || len(faults) == 0 {
		t.Fatalf("%T: %v", err, err)
	}
	lines, _ := position([]byte(src), len(src)) // as YAML ends them
	for _, e := range faults {
		if e.Line < 1 || e.Line > lines || e.Column < 1 || e.Msg == "" {
			t.Errorf("%d:%d %q in a file of %d lines", e.Line, e.Column, e.Msg, lines)
		}
	}
}
