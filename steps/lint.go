package steps

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// A Warning is about something in a valid task file that most likely is not
// what its author means. docs/task-reference.md lists the rules.
type Warning struct {
	Rule  string
	Fault *Error
}

// String is as an Error's, with the rule behind the message.
func (w Warning) String() string {
	f := *w.Fault
	f.Msg += " [" + w.Rule + "]"
	return f.format("warning: ")
}

// ruleNotOnACR is the one rule that Options.Strict does not heed: to use more
// than ACR has is no mistake.
const ruleNotOnACR = "not-on-acr"

// Lint reads a rendered task file as Parse does and returns what is valid and
// yet suspicious, in the order of lines. Of a file that Parse refuses it
// returns what it could see.
func Lint(name string, src []byte, o Options) []Warning {
	p := newParser(name, src, o)
	p.lint = &linter{decoder: p.decoder}
	f := p.parse()
	if f != nil && len(p.faults) == 0 {
		p.lintFile(f)
	}
	return p.lint.sorted()
}

// Lint is Lint for what r was rendered from: warnings are where they are in the
// file as it was.
func (r *Rendered) Lint(name string, o Options) []Warning {
	o.ImageAliases, o.marks = r.aliases, r.marks
	warnings := Lint(name, r.text, o)
	for i, w := range warnings {
		moved := Errors{w.Fault}
		r.move(moved)
		warnings[i].Fault = moved[0]
	}
	return warnings
}

// strict makes faults of warnings.
func (p *parser) strict(f *File) {
	if len(p.faults) == 0 {
		p.lintFile(f)
	}
	for _, w := range p.lint.sorted() {
		if w.Rule != ruleNotOnACR && len(p.faults) < maxFaults {
			p.faults = append(p.faults, w.Fault)
		}
	}
}

// A linter collects warnings. A nil one drops them.
type linter struct {
	*decoder
	warnings []Warning
}

func (l *linter) warn(rule string, n *yaml.Node, format string, args ...any) {
	if l != nil {
		l.warnAt(rule, n.Line, n.Column, format, args...)
	}
}

func (l *linter) warnAt(rule string, line, column int, format string, args ...any) {
	if len(l.warnings) < maxFaults {
		l.warnings = append(l.warnings, Warning{rule, l.locate(line, column, fmt.Sprintf(format, args...))})
	}
}

func (l *linter) sorted() []Warning {
	slices.SortStableFunc(l.warnings, func(a, b Warning) int {
		return cmp.Or(cmp.Compare(a.Fault.Line, b.Fault.Line), cmp.Compare(a.Fault.Column, b.Fault.Column))
	})
	return slices.CompactFunc(l.warnings, func(a, b Warning) bool { return *a.Fault == *b.Fault })
}

// deadKeys are keys that mean something to nobody, whatever one has read.
var deadKeys = map[string]string{
	"graph.Task.alias":           "alias is read from version v1.1.0 on, and nothing is replaced before",
	"graph.Task.isbuildtask":     "isbuildtask is an accident of ACR, where it turns the default network off; it means nothing here",
	"graph.Step.tags":            "tags is an accident of ACR, where it hides the tags of build; write them there, with -t",
	"graph.Step.secret":          "secret is in ACR's documentation, and nobody reads it; secrets: [{id: ID, env: NAME}] hands one to a cmd",
	"graph.Step.downloadRetries": "downloadRetries is in the documentation of acb, which reads cmdDownloadRetries",
}

// lintKeys warns of a mapping's keys that nobody reads, or that come twice.
func lintKeys[T any](l *linter, of string, known map[string]key[T], n *yaml.Node) {
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		name := l.marks.all(k.Value)
		_, ok := known[name]
		switch {
		case isMerge(k) || of == "graph.Task" && strings.HasPrefix(name, "x-"): // a place for anchors
		case !ok && deadKeys[of+"."+name] != "":
			l.warn("dead-key", k, "%s", deadKeys[of+"."+name])
		case !ok:
			l.warn("unknown-key", k, "nobody reads %q%s", name, meant(name, slices.Sorted(maps.Keys(known))))
		case seen[name]:
			l.warn("duplicate-key", k, "%s is there twice: the last one counts", name)
		}
		seen[name] = true
	}
}

func meant(name string, known []string) string {
	if near := nearest(name, known); near != "" {
		return ": did you mean " + near + "?"
	}
	return ""
}

// lintFile applies the rules that are about the task as a whole.
func (p *parser) lintFile(f *File) {
	root := p.raw.node
	if len(f.Steps) == 0 {
		p.lint.warn("no-steps", root, "the task has no steps, and does nothing")
	}
	if p.raw.stepTimeout > longestRun {
		p.lint.warn("long-timeout", p.find(root, "stepTimeout"), "a run ends after %d s at the latest", longestRun)
	}
	p.lintAliases()
	built := f.builtTags()
	for i, s := range p.raw.steps {
		l := &stepLinter{parser: p, raw: s, step: f.Steps[i], built: built}
		l.run()
	}
	p.lintUnreachable(f)
}

// builtTags are the images that the task makes itself.
func (f *File) builtTags() map[string]bool {
	tags := map[string]bool{}
	for _, s := range f.Steps {
		if b, ok := s.Do.(*Build); ok {
			for _, t := range b.Options.Tags {
				tags[normalTag(t)] = true
			}
		}
	}
	return tags
}

var dollarName = pattern(`\$([A-Za-z]+)`)

// lintAliases warns of names that only a later version replaces.
func (p *parser) lintAliases() {
	if hasAliases(p.raw.version) {
		return
	}
	names := RunValues{}.aliases()
	for _, m := range dollarName().FindAllSubmatchIndex(p.src, -1) {
		if _, ok := names[string(p.src[m[2]:m[3]])]; ok {
			line, column := position(p.src, m[0])
			p.lint.warnAt("no-aliases", line, column, "%s stays as it is in a file of version %s: begin the file with version: v1.1.0",
				p.src[m[0]:m[1]], cmp.Or(p.raw.version, defaultVersion))
			break
		}
	}
	for _, s := range p.raw.steps {
		word, _, _ := strings.Cut(strings.TrimLeft(s.cmd, " "), " ")
		if image, ok := DefaultImageAliases[word]; ok {
			p.lint.warn("no-aliases", p.find(s.node, "cmd"), "%s is Docker Hub's image in a file of version %s; from v1.1.0 on it is %s",
				word, cmp.Or(p.raw.version, defaultVersion), image)
		}
	}
}
