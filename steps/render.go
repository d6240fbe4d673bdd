package steps

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Values is what a task file may name.
type Values struct {
	Run     RunValues
	Values  map[string]any
	Secrets map[string]string
	// Foreign names those Values that a stranger has said. Each stays within
	// its word of a command line, and is no flag.
	Foreign []string
	// Hidden are values among Values that no error may quote. Secrets are
	// such without being listed.
	Hidden []string
	// Alias reads what "alias: src" names: a URL, or a path. Nil refuses
	// every one of them.
	Alias func(src string) ([]byte, error)
	// ImageAliases are added to, or replace, DefaultImageAliases.
	ImageAliases map[string]string
}

// RunValues are {{.Run.X}}, and some of them $X in files that have aliases.
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

// Rendered is a task file after aliases and templates. Values stand in its
// text as marks; String shows it as a user wants to see it.
type Rendered struct {
	text    []byte
	aliases map[string]string // what the first word of a cmd may be; nil without aliases
	marks   *marks
	lines   lineMap
	source  *decoder // the file as it was
}

// String is the YAML with its values in place. A value may break it, which is
// why the parser works on another form.
func (r *Rendered) String() string { return r.marks.all(string(r.text)) }

// Render expands $aliases and {{templates}} in a task file, in acb's order:
// comment lines go first, then the alias block is rendered and its names are
// replaced in the rest, then the rest is executed as a template. What is wrong
// is an Errors.
func Render(name string, src []byte, v Values) (*Rendered, error) {
	src = bytes.TrimPrefix(src, []byte("\ufeff")) // editors of Windows begin a file so
	r := &Rendered{marks: &marks{}, source: &decoder{file: name, src: src}}
	if err := checkText(src); err != nil {
		return nil, r.fault(err)
	}
	text, lines := withoutComments(string(src))
	x := &executor{name: name, marks: r.marks, values: v, secrets: secretTexts(v)}
	if hasAliases(findVersion(text)) {
		var err error
		if text, r.aliases, err = x.expandAliases(text); err != nil {
			return nil, r.fault(lines.place(prefix(err, "unable to search/replace aliases in task: ")))
		}
	}
	out, produced, err := x.execute(text)
	if err != nil {
		return nil, r.fault(lines.place(err))
	}
	r.text, r.lines = []byte(out), produced.through(lines)
	return r, nil
}

// placed is an error with its place in the text; 0 is unknown.
type placed struct {
	line, column int
	msg          string
}

func (p *placed) Error() string { return p.msg }

// prefix puts words before the message of err and keeps its place.
func prefix(err error, words string) error {
	if p, ok := err.(*placed); ok { //nolint:errorlint // made here, never wrapped
		return &placed{p.line, p.column, words + p.msg}
	}
	return &placed{1, 1, words + err.Error()}
}

// fault shows an error with the line of the file that it is about.
func (r *Rendered) fault(err error) error {
	p, ok := err.(*placed) //nolint:errorlint // made here, never wrapped
	if !ok {
		p = &placed{1, 1, err.Error()}
	}
	line := max(p.line, 1)
	text := sourceLine(r.source.src, line)
	column := p.column
	if column < 1 { // only the line is known: the first template in it
		column = max(1, 1+strings.Index(text, "{{"))
	}
	return Errors{r.source.locate(line, min(column, utf8.RuneCountInString(text)+1), p.msg)}
}

// locate moves faults of the rendered text to where they are in the file.
func (r *Rendered) locate(err error) error {
	faults, ok := err.(Errors) //nolint:errorlint // Parse returns nothing else
	if !ok {
		return err
	}
	r.move(faults)
	return faults
}

func (r *Rendered) move(faults Errors) {
	for i, e := range faults {
		faults[i] = r.place(e)
	}
}

// place is e at its line of the file.
func (r *Rendered) place(e *Error) *Error {
	if e.Line == 0 {
		return e
	}
	line := r.lines.line(e.Line)
	column := min(e.Column, utf8.RuneCountInString(sourceLine(r.source.src, line))+1)
	return r.source.locate(line, column, e.Msg)
}

// checkText refuses what no template or YAML could be made of.
func checkText(src []byte) error {
	if len(src) > maxSource {
		return &placed{1, 1, "larger than 1 MiB"}
	}
	if at := bytes.IndexFunc(src, isMark); at >= 0 {
		before := src[:at]
		line := bytes.Count(before, []byte("\n"))
		column := len(before) - bytes.LastIndexByte(before, '\n')
		return &placed{line + 1, column, "this character of Unicode's private use area may not be in a task file"}
	}
	return nil
}

// withoutComments drops every line that begins with #, wherever it is, as acb
// does: also in block scalars.
func withoutComments(text string) (string, lineMap) {
	var b strings.Builder
	var lines lineMap
	n, kept := 0, 0
	for line := range strings.Lines(text) {
		n++
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		kept++
		lines = lines.add(kept, n)
		b.WriteString(line)
	}
	return b.String(), lines
}

// findVersion reads the version before there is YAML: from the first line
// that says something, if that is it.
func findVersion(text string) string {
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok || strings.Trim(strings.TrimRight(key, " \t"), `"'`) != "version" {
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
	x := &executor{name: word, marks: &marks{}, values: v, secrets: secretTexts(v)}
	out, _, err := x.execute(word)
	if err != nil {
		return "", err
	}
	return x.marks.all(out), nil
}

// secretTexts are the values that stay one word wherever they come out.
func secretTexts(v Values) []string {
	all := slices.Clone(v.Hidden)
	for _, s := range v.Secrets {
		all = append(all, s)
	}
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
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

// A lineMap says for lines of a text which line of another they come from. It
// holds a pair where the distance changes, in order.
type lineMap []linePair

type linePair struct{ here, there int }

// add says that the lines from here on come from there on.
func (m lineMap) add(here, there int) lineMap {
	if len(m) > 0 {
		last := m[len(m)-1]
		if last.there-last.here == there-here {
			return m
		}
		if last.here == here {
			m = m[:len(m)-1]
		}
	}
	return append(m, linePair{here, there})
}

// line is where a line comes from.
func (m lineMap) line(here int) int {
	i, found := slices.BinarySearchFunc(m, here, func(p linePair, n int) int { return p.here - n })
	if !found {
		i--
	}
	if i < 0 {
		return here
	}
	return m[i].there + here - m[i].here
}

// through is m followed by next.
func (m lineMap) through(next lineMap) lineMap {
	var joined lineMap
	for i, p := range m {
		joined = joined.add(p.here, next.line(p.there))
		for _, n := range next { // where next jumps within this part
			here := n.here - p.there + p.here
			if here > p.here && (i+1 == len(m) || here < m[i+1].here) {
				joined = joined.add(here, n.there)
			}
		}
	}
	return joined
}

// place moves an error to the line that its line comes from.
func (m lineMap) place(err error) error {
	if p, ok := err.(*placed); ok && p.line > 0 { //nolint:errorlint // made here, never wrapped
		return &placed{m.line(p.line), p.column, p.msg}
	}
	return err
}
