package steps

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
	"time"
)

// The bounds of a template. Whoever writes a file may run code, but in a
// container: not in the daemon that reads it.
const (
	templateTime   = 1500 * time.Millisecond
	maxRendered    = 1 << 20 // bytes of text, with values in place of marks
	maxBlockDepth  = 200     // of if, range, with and (
	maxCallDepth   = 50      // of {{template}}
	maxMadeStrings = 32 << 20
)

// An executor runs the templates of one file.
type executor struct {
	name    string
	marks   *marks
	values  Values
	secrets []string

	callable template.FuncMap
	budget   budget
	out      strings.Builder
	lines    lineMap
	at       int // line of out
	depth    int
}

// execute runs text as a Go template. What is missing becomes nothing, as in
// acb; what is put in becomes marks. It also returns which line of text each
// line of the result comes from.
func (x *executor) execute(text string) (string, lineMap, error) {
	if !strings.Contains(text, "{{") {
		return text, lineMap{{1, 1}}, nil
	}
	if err := checkDepth(text); err != nil {
		return "", nil, prefix(err, "error while rendering templates: failed to parse template: "+x.name+". Err: ")
	}
	if x.callable == nil {
		x.callable = x.functions()
		x.budget.deadline = time.Now().Add(templateTime)
	}
	t, err := template.New("t").Option("missingkey=zero").Funcs(x.callable).Parse(text)
	if err != nil {
		return "", nil, x.fault("parse", err)
	}
	x.instrument(t, text)
	data, err := x.values.data()
	if err != nil {
		return "", nil, err
	}
	x.out.Reset()
	x.lines, x.at, x.depth = lineMap{{1, 1}}, 1, 0
	if err := t.Execute(x, data); err != nil {
		return "", nil, x.fault("execute", err)
	}
	out := strings.ReplaceAll(x.out.String(), "<no value>", "")
	if strings.TrimSpace(out) == "" && text != "" {
		return "", nil, &placed{1, 1, "rendered template was empty"}
	}
	return out, x.lines, nil
}

// Write takes what the template writes: text of the file, and marks.
func (x *executor) Write(p []byte) (int, error) {
	if x.budget.written += len(p); x.budget.written > maxRendered {
		return 0, errTooLong
	}
	x.at += strings.Count(string(p), "\n")
	return x.out.Write(p)
}

var errTooLong = &limitError{"the template writes more than 1 MiB"}

// instrument rewrites the parsed templates: what an action prints goes through
// value or word, every loop and template asks the budget, and every text says
// which line it is from.
func (x *executor) instrument(t *template.Template, text string) {
	for _, one := range t.Templates() {
		if one.Tree != nil && one.Root != nil {
			w := &rewriter{tree: one.Tree, text: text, foreign: x.values.Foreign}
			w.list(one.Root, one.Root)
		}
	}
}

// A rewriter changes one parse tree.
type rewriter struct {
	tree    *parse.Tree
	text    string
	foreign []string
	line    int // line of text at offset
	from    int
}

func (w *rewriter) list(l *parse.ListNode, loop parse.Node) {
	if l == nil {
		return
	}
	var nodes []parse.Node
	if loop != nil {
		nodes = append(nodes, w.call(loop, "_tick"))
	}
	for _, n := range l.Nodes {
		switch n := n.(type) {
		case *parse.TextNode:
			nodes = append(nodes, w.call(n, "_line", w.lineAt(int(n.Pos))), n)
		case *parse.TemplateNode:
			nodes = append(nodes, w.call(n, "_enter"), n, w.call(n, "_leave"))
		default:
			w.node(n)
			nodes = append(nodes, n)
		}
	}
	l.Nodes = nodes
}

func (w *rewriter) node(n parse.Node) {
	switch n := n.(type) {
	case *parse.ActionNode:
		if len(n.Pipe.Decl) == 0 {
			n.Pipe.Cmds = append(n.Pipe.Cmds, w.command(n, w.emitter(n.Pipe)))
		}
	case *parse.IfNode:
		w.list(n.List, nil)
		w.list(n.ElseList, nil)
	case *parse.WithNode:
		w.list(n.List, nil)
		w.list(n.ElseList, nil)
	case *parse.RangeNode:
		w.list(n.List, n)
		w.list(n.ElseList, nil)
	}
}

// emitter is the function that a pipeline's result goes through.
func (w *rewriter) emitter(p *parse.PipeNode) string {
	switch text := p.String(); {
	case secretPipe().MatchString(text):
		return "_secret"
	case oneWord().MatchString(text) && !strings.Contains(text, ".Values"), w.mayBeForeign(text):
		return "_word"
	}
	return "_value"
}

// mayBeForeign tells whether a pipeline's result may have come of a value that
// a stranger has said: unless it names others of .Values, and nothing else.
func (w *rewriter) mayBeForeign(text string) bool {
	if len(w.foreign) == 0 {
		return false
	}
	names := ownValue().FindAllStringSubmatch(text, -1)
	return len(names) == 0 || strings.Count(text, "Values") != len(names) || strings.Contains(text, "$") ||
		slices.ContainsFunc(names, func(n []string) bool { return slices.Contains(w.foreign, n[1]) })
}

// oneWord finds pipelines whose result stays within its word, secretPipe those
// whose result no error may quote, and ownValue the values by name.
var (
	oneWord    = pattern(`\.(Run|Build)\b`)
	secretPipe = pattern(`\.Secrets\b`)
	ownValue   = pattern(`(?:^|[ (|])\.Values\.(\w+)`)
)

// call is an action, in the place of another node, that calls one of our
// functions.
func (w *rewriter) call(at parse.Node, name string, args ...int) parse.Node {
	return &parse.ActionNode{NodeType: parse.NodeAction, Pos: at.Position(), Pipe: &parse.PipeNode{
		NodeType: parse.NodePipe, Pos: at.Position(), Cmds: []*parse.CommandNode{w.command(at, name, args...)},
	}}
}

func (w *rewriter) command(at parse.Node, name string, args ...int) *parse.CommandNode {
	function := parse.NewIdentifier(name).SetTree(w.tree).SetPos(at.Position())
	c := &parse.CommandNode{NodeType: parse.NodeCommand, Pos: at.Position(), Args: []parse.Node{function}}
	for _, a := range args {
		c.Args = append(c.Args, &parse.NumberNode{NodeType: parse.NodeNumber, Pos: at.Position(), IsInt: true, Int64: int64(a), Text: strconv.Itoa(a)})
	}
	return c
}

// lineAt is the line of an offset. Texts come in order within a list, so it
// rarely starts over.
func (w *rewriter) lineAt(offset int) int {
	if offset < w.from || w.line == 0 {
		w.from, w.line = 0, 1
	}
	offset = min(offset, len(w.text))
	w.line += strings.Count(w.text[w.from:offset], "\n")
	w.from = offset
	return w.line
}

// hooks are what instrument has put into the templates.
func (x *executor) hooks() template.FuncMap {
	return template.FuncMap{
		"_tick": func() (string, error) { return "", x.budget.tick() },
		"_line": func(n int) string {
			x.lines = x.lines.add(x.at, n)
			return ""
		},
		"_enter": func() (string, error) {
			if x.depth++; x.depth > maxCallDepth {
				return "", limit("templates call each other more than %d deep", maxCallDepth)
			}
			return "", x.budget.tick()
		},
		"_leave":  func() string { x.depth--; return "" },
		"_value":  func(v any) (string, error) { return x.emit(v, x.marks.put) },
		"_word":   func(v any) (string, error) { return x.emit(v, x.marks.putWord) },
		"_secret": func(v any) (string, error) { return x.emit(v, x.marks.putSecret) },
	}
}

// emit is what an action prints.
func (x *executor) emit(v any, put func(string) string) (string, error) {
	if v == nil {
		return "", nil
	}
	if _, err := weigh(v); err != nil {
		return "", err
	}
	s := fmt.Sprint(v)
	if s == "<no value>" {
		return "", nil
	}
	// The text that a mark stands for counts wherever it stands.
	if x.budget.written += len(s); x.budget.written > maxRendered {
		return "", errTooLong
	}
	if slices.ContainsFunc(x.secrets, func(secret string) bool { return strings.Contains(s, secret) }) {
		return x.marks.putSecret(s), nil
	}
	return put(s), nil
}

// A budget is what all templates of a file may use together.
type budget struct {
	deadline time.Time
	ticks    int
	written  int
	made     int // bytes of strings that functions have returned
}

// tick is called wherever a template can loop.
func (b *budget) tick() error {
	if b.ticks++; b.ticks%64 == 0 && time.Now().After(b.deadline) {
		return limit("the template takes longer than %v", templateTime)
	}
	return nil
}

// checkDepth refuses nesting that the template parser, which is recursive,
// would pay for with its stack.
func checkDepth(text string) error {
	depth, parens := 0, 0
	for at := 0; ; {
		open := strings.Index(text[at:], "{{")
		if open < 0 {
			return nil
		}
		at += open + 2
		end := strings.Index(text[at:], "}}")
		if end < 0 {
			end = len(text) - at // the parser will say that it does not end
		}
		action := text[at : at+end]
		word := strings.TrimLeft(action, "- \t\r\n")
		switch {
		case strings.HasPrefix(word, "if"), strings.HasPrefix(word, "range"), strings.HasPrefix(word, "with"),
			strings.HasPrefix(word, "block"), strings.HasPrefix(word, "define"), strings.HasPrefix(word, "else if"), strings.HasPrefix(word, "else with"):
			depth++
		case strings.HasPrefix(word, "end"):
			depth = max(depth-1, 0)
		}
		parens = strings.Count(action, "(")
		if depth > maxBlockDepth || parens > maxBlockDepth {
			line := 1 + strings.Count(text[:at], "\n")
			return &placed{line, 0, fmt.Sprintf("the template nests more than %d deep", maxBlockDepth)}
		}
		at += end
	}
}

// templatePlace finds the place in what text/template says.
var templatePlace = pattern(`^template: (?:t|[^:]*):(\d+)(?::(\d+))?: (?s:(.*))$`)

// fault gives an error of text/template its place and acb's words.
func (x *executor) fault(what string, err error) error {
	text := err.Error()
	p := &placed{line: 1}
	if m := templatePlace().FindStringSubmatch(text); m != nil {
		p.line, _ = strconv.Atoi(m[1])
		if m[2] != "" {
			column, _ := strconv.Atoi(m[2])
			p.column = column + 1
		}
		text = m[3]
	}
	if name, ok := strings.CutPrefix(text, `function "`); ok {
		name, _, _ = strings.Cut(name, `"`)
		text += hint(name)
	}
	if bound, ok := errors.AsType[*limitError](err); ok {
		text = bound.msg
	}
	p.msg = fmt.Sprintf("error while rendering templates: failed to %s template: %s. Err: %s", what, x.name, text)
	return p
}

// hint says why a function of acb is not there.
func hint(name string) string {
	switch name {
	case "env", "expandenv":
		return ": the daemon's environment is not for task files; pass values with --set"
	}
	if _, ok := sprigFunctions[name]; ok {
		return ": only functions whose result depends on their arguments alone are there"
	}
	return ""
}

// weigh is how many bytes of text there are in v, as far as templates can
// build them up. What is nested too deeply to be printed is an error.
func weigh(v any) (int, error) { return weighValue(reflect.ValueOf(v), 0) }

// maxValueDepth bounds lists in lists.
const maxValueDepth = 64

func weighValue(v reflect.Value, depth int) (int, error) {
	if depth > maxValueDepth {
		return 0, limit("the template makes values nested more than %d deep", maxValueDepth)
	}
	total := 0
	add := func(item reflect.Value) error {
		n, err := weighValue(item, depth+1)
		if total += n; err == nil && total > maxRendered {
			err = errTooMuch
		}
		return err
	}
	switch v.Kind() {
	case reflect.String:
		return v.Len(), nil
	case reflect.Interface, reflect.Pointer:
		if v.IsNil() {
			return 0, nil
		}
		return weighValue(v.Elem(), depth+1)
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return v.Len(), nil
		}
		for i := range v.Len() {
			if err := add(v.Index(i)); err != nil {
				return total, err
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if err := errors.Join(add(it.Key()), add(it.Value())); err != nil {
				return total, err
			}
		}
	}
	return total + 8, nil
}

// A limitError says which of a template's bounds was met.
type limitError struct{ msg string }

func (e *limitError) Error() string { return e.msg }

func limit(format string, args ...any) error { return &limitError{fmt.Sprintf(format, args...)} }

var errTooMuch = &limitError{"the template makes values of more than 1 MiB"}
