package steps

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/template"
	"time"
)

// Values is what a task file may name.
type Values struct {
	Run     RunValues
	Values  map[string]any
	Secrets map[string]string
}

// RunValues are {{.Run.X}}, and $X in files that have aliases.
type RunValues struct {
	ID, Commit, Repository, Branch, GitTag, TriggeredBy string
	Registry, RegistryName                              string
	Date                                                string // DateLayout, UTC
	SharedVolume                                        string
	OS, OSVersion, Architecture                         string
	TaskName                                            string
}

// DateLayout is the form of RunValues.Date.
const DateLayout = "20060102-150405z"

// Date formats t for RunValues.Date.
func Date(t time.Time) string { return t.UTC().Format(DateLayout) }

// Rendered is a task file after aliases and templates.
type Rendered struct {
	Text []byte
	// Aliases are the names that the first word of a cmd may be; nil for a
	// version without aliases.
	Aliases map[string]string
}

// Load renders and parses a task file. A file that is wrong is an Errors.
func Load(name string, src []byte, v Values, o Options) (*File, error) {
	r, err := Render(name, src, v)
	if err != nil {
		return nil, Errors{{File: name, Msg: err.Error()}}
	}
	o.ImageAliases = r.Aliases
	return Parse(name, r.Text, o)
}

// Render expands $aliases and {{templates}} in a task file, in acb's order:
// comment lines go first, then aliases are replaced, then templates executed.
func Render(name string, src []byte, v Values) (*Rendered, error) {
	text := withoutComments(string(src))
	r := &Rendered{}
	if hasAliases(findVersion(text)) {
		var err error
		if text, r.Aliases, err = expandAliases(text, v); err != nil {
			return nil, fmt.Errorf("unable to search/replace aliases in task: %w", err)
		}
	}
	out, err := execute(name, text, v)
	if err != nil {
		return nil, err
	}
	r.Text = []byte(out)
	return r, nil
}

// withoutComments drops every line that begins with #, wherever it is.
func withoutComments(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			b.WriteString("\n") // so that lines keep their numbers
			continue
		}
		b.WriteString(line)
	}
	return b.String()
}

// findVersion reads the version before there is YAML: from the first line
// that says something, if that is it.
func findVersion(text string) string {
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok || strings.Trim(key, `"'`) != "version" {
			return ""
		}
		return strings.Trim(strings.TrimSpace(value), `"'`)
	}
	return ""
}

func hasAliases(version string) bool { return version >= "v1.1.0" }

// RenderWord expands {{templates}} in one word of a docker build's command
// line, where there are no aliases.
func RenderWord(word string, v Values) (string, error) {
	if !strings.Contains(word, "{{") {
		return word, nil
	}
	return execute(word, word, v)
}

// execute runs the text as a Go template. What is missing becomes nothing.
func execute(name, text string, v Values) (string, error) {
	t, err := template.New(name).Option("missingkey=zero").Funcs(functions).Parse(text)
	if err != nil {
		return "", fmt.Errorf("error while rendering templates: failed to parse template: %s. Err: %w", name, err)
	}
	data, err := v.data()
	if err != nil {
		return "", err
	}
	out := &limited{left: maxRendered}
	if err := t.Execute(out, data); err != nil {
		return "", fmt.Errorf("error while rendering templates: failed to execute template: %s. Err: %w", name, err)
	}
	rendered := strings.ReplaceAll(out.b.String(), "<no value>", "")
	if strings.TrimSpace(rendered) == "" && text != "" {
		return "", errors.New("rendered template was empty")
	}
	return rendered, nil
}

// data is the template's dot.
func (v Values) data() (map[string]any, error) {
	run := v.Run.fields()
	values := v.Values
	if values == nil {
		values = map[string]any{}
	}
	secrets := map[string]any{}
	for id, s := range v.Secrets {
		secrets[id] = s
	}
	runJSON, err := shellJSON(run)
	if err != nil {
		return nil, err
	}
	valuesJSON, err := shellJSON(values)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"Run": run, "Build": map[string]any{"ID": v.Run.ID}, "Values": values, "Secrets": secrets,
		"RunJSON": runJSON, "ValuesJSON": valuesJSON,
	}, nil
}

func (r RunValues) fields() map[string]any {
	return map[string]any{
		"ID": r.ID, "Commit": r.Commit, "Repository": r.Repository, "Branch": r.Branch, "GitTag": r.GitTag,
		"TriggeredBy": r.TriggeredBy, "Registry": r.Registry, "RegistryName": r.RegistryName, "Date": r.Date,
		"SharedVolume": r.SharedVolume, "OS": r.OS, "OSVersion": r.OSVersion, "Architecture": r.Architecture,
		"TaskName": r.TaskName,
	}
}

// shellJSON is JSON in single quotes, ready for a command line.
func shellJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("values: %w", err)
	}
	return "'" + strings.ReplaceAll(string(b), "'", `'\''`) + "'", nil
}

// functions is what a template may call, beside what text/template brings.
var functions = template.FuncMap{
	"lower": strings.ToLower, "upper": strings.ToUpper, "trim": strings.TrimSpace,
	"b64enc": func(v any) string { // how a secret gets into a volume; none is an empty file
		if v == nil {
			return ""
		}
		return base64.StdEncoding.EncodeToString(fmt.Append(nil, v))
	},
	"default": func(d, v any) any {
		if v == nil || v == "" {
			return d
		}
		return v
	},
}

const maxRendered = 1 << 20

// limited stops a template that writes without end.
type limited struct {
	b    bytes.Buffer
	left int
}

var errTooLong = errors.New("the template writes more than 1 MiB")

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return 0, errTooLong
	}
	l.left -= len(p)
	return l.b.Write(p)
}

var _ io.Writer = (*limited)(nil)
