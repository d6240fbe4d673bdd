package steps

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// A decoder turns YAML nodes into values and collects what is wrong with
// them. It converts between scalars as yaml.v2 does, which acb uses: a number
// is a fine string, a quoted number is no number.
type decoder struct {
	file   string
	src    []byte
	marks  *marks
	faults Errors
	// lint, if not nil, is told of keys that mean nothing.
	lint *linter
}

// fault notes that something is wrong at n.
func (d *decoder) fault(n *yaml.Node, format string, args ...any) {
	d.faultAt(n.Line, n.Column, format, args...)
}

func (d *decoder) faultAt(line, column int, format string, args ...any) {
	if len(d.faults) < maxFaults {
		d.faults = append(d.faults, d.locate(line, column, fmt.Sprintf(format, args...)))
	}
}

// locate is an Error that shows the line.
func (d *decoder) locate(line, column int, msg string) *Error {
	if short := first(msg, longestMessage); len(short) < len(msg) {
		msg = short + ellipsis
	}
	e := &Error{File: d.file, Line: line, Column: column, Msg: printable(msg)}
	before, after := splitAt(sourceLine(d.src, line), column)
	e.Source, e.Caret = excerpt(d.marks.values(before), d.marks.values(after))
	return e
}

// longestMessage bounds what of a file's values a message repeats.
const longestMessage = 500

// err is nil if nothing was wrong.
func (d *decoder) err() error {
	if len(d.faults) == 0 {
		return nil
	}
	slices.SortStableFunc(d.faults, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	d.faults = slices.CompactFunc(d.faults, func(a, b *Error) bool { return *a == *b }) // a mapping may be merged twice
	if n := len(d.faults); n == maxFaults {
		d.faults = append(d.faults, &Error{File: d.file, Msg: "and more: these are the first faults"})
	}
	return d.faults
}

func (d *decoder) follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// scalar is a value and its tag once marks have become texts. What templates
// put into the file never changes its structure, but a plain scalar may turn
// out to be a number.
func (d *decoder) scalar(n *yaml.Node) (value, tag string) {
	value = d.marks.all(n.Value)
	return value, retag(n, value)
}

// commandLine is the value of a scalar that is yet to be split into words:
// what must stay one word is still marked.
func (d *decoder) commandLine(n *yaml.Node) (value, tag string) {
	value = d.marks.values(n.Value)
	return value, retag(n, value)
}

func retag(n *yaml.Node, value string) string {
	const explicit = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle | yaml.TaggedStyle
	if value == n.Value || n.Style&explicit != 0 {
		return n.ShortTag()
	}
	plain := yaml.Node{Kind: yaml.ScalarNode, Value: value}
	return plain.ShortTag()
}

func (d *decoder) isNull(n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode {
		return false
	}
	_, tag := d.scalar(n)
	return tag == "!!null"
}

// text is empty for null.
func (d *decoder) text(n *yaml.Node) string { return d.textOf(n, d.scalar) }

func (d *decoder) textOf(n *yaml.Node, resolve func(*yaml.Node) (value, tag string)) string {
	if n.Kind != yaml.ScalarNode {
		d.mismatch(n, "string")
		return ""
	}
	value, tag := resolve(n)
	switch tag {
	case "!!null":
		return ""
	case "!!binary":
		decoded, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			d.fault(n, "yaml: !!binary value contains invalid base64 data")
		}
		return string(decoded)
	}
	return value
}

// number truncates a float, as yaml.v2 does. Null is 0.
func (d *decoder) number(n *yaml.Node) int {
	value, tag := d.scalar(n)
	plain := yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
	var whole int
	var broken float64
	switch {
	case n.Kind == yaml.ScalarNode && tag == "!!null":
		return 0
	case n.Kind == yaml.ScalarNode && tag == "!!int" && plain.Decode(&whole) == nil:
		return whole
	case n.Kind == yaml.ScalarNode && tag == "!!float" && plain.Decode(&broken) == nil && math.Abs(broken) < math.MaxInt64:
		return int(broken)
	}
	d.mismatch(n, "int")
	return 0
}

// toggle takes what YAML 1.1 called booleans. Null is false.
func (d *decoder) toggle(n *yaml.Node) bool {
	if n.Kind == yaml.ScalarNode {
		value, tag := d.scalar(n)
		on, ok := yaml11(value)
		if tag == "!!null" || ok && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0 {
			return on
		}
	}
	d.mismatch(n, "bool")
	return false
}

// yaml11 are the plain words that yaml.v2 reads as booleans.
func yaml11(word string) (on, ok bool) {
	switch word {
	case "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON":
		return true, true
	case "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF":
		return false, true
	}
	return false, false
}

// list is the entries of a sequence. Null has none.
func (d *decoder) list(n *yaml.Node, want string) []*yaml.Node {
	switch {
	case n.Kind == yaml.SequenceNode:
		return n.Content
	case !d.isNull(n):
		d.mismatch(n, want)
	}
	return nil
}

// mismatch is in yaml.v2's words, which users have met.
func (d *decoder) mismatch(n *yaml.Node, want string) {
	d.fault(n, "yaml: unmarshal errors: line %d: cannot unmarshal %s into %s", n.Line, d.kind(n), want)
}

func (d *decoder) kind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "!!map"
	case yaml.SequenceNode:
		return "!!seq"
	}
	value, tag := d.scalar(n)
	if _, ok := yaml11(value); ok && n.Style == 0 {
		tag = "!!bool"
	}
	if len(value) > 10 {
		value = strings.ToValidUTF8(value[:7], "") + "..."
	}
	return tag + " `" + value + "`"
}
