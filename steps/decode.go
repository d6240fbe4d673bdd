package steps

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// A decoder turns YAML nodes into values and collects what is wrong with
// them. It converts between scalars as yaml.v2 does, which acb uses: a number
// is a fine string, a quoted number is no number.
type decoder struct {
	file   string
	lines  [][]byte
	faults Errors
}

func newDecoder(file string, src []byte) *decoder {
	return &decoder{file: file, lines: bytes.Split(src, []byte("\n"))}
}

// fault notes that something is wrong at n.
func (d *decoder) fault(n *yaml.Node, format string, args ...any) {
	d.faultAt(n.Line, n.Column, format, args...)
}

func (d *decoder) faultAt(line, column int, format string, args ...any) {
	e := &Error{File: d.file, Line: line, Column: column, Msg: fmt.Sprintf(format, args...)}
	if line > 0 && line <= len(d.lines) {
		e.Source = strings.TrimRight(string(d.lines[line-1]), "\r")
	}
	d.faults = append(d.faults, e)
}

// err is nil if nothing was wrong.
func (d *decoder) err() error {
	if len(d.faults) == 0 {
		return nil
	}
	slices.SortStableFunc(d.faults, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
	return d.faults
}

// root parses the document and returns its mapping, or nil if it is empty or
// if that went wrong.
func (d *decoder) root(src []byte) *yaml.Node {
	var doc yaml.Node
	if err := yaml.Unmarshal(src, &doc); err != nil {
		d.syntax(err)
		return nil
	}
	if len(doc.Content) == 0 {
		return nil
	}
	n := d.follow(doc.Content[0])
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		d.fault(n, "yaml: unmarshal errors: line %d: cannot unmarshal %s into a task", n.Line, kind(n))
		return nil
	}
	return n
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntax finds the line in what the YAML parser says.
func (d *decoder) syntax(err error) {
	text := err.Error()
	m := yamlLine.FindStringSubmatch(text)
	line := 1
	if m != nil {
		line, _ = strconv.Atoi(cmp.Or(m[1], "1"))
	}
	line = min(max(line, 1), len(d.lines))
	column := 1 + len(d.lines[line-1]) - len(bytes.TrimLeft(d.lines[line-1], " "))
	d.faultAt(line, column, "%s", text)
}

func (d *decoder) follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// fields calls the function that is registered for each key. The last of
// several equal keys counts, and keys that nobody knows are left out, as in
// acb.
func (d *decoder) fields(n *yaml.Node, known map[string]func(*yaml.Node)) {
	last := map[string]*yaml.Node{}
	var order []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], d.follow(n.Content[i+1])
		if key.Tag == "!!merge" {
			continue
		}
		if _, ok := last[key.Value]; !ok {
			order = append(order, key.Value)
		}
		last[key.Value] = value
	}
	for _, key := range order {
		if set := known[key]; set != nil && !isNull(last[key]) {
			set(last[key])
		}
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func (d *decoder) text(into *string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Kind != yaml.ScalarNode {
			d.mismatch(n, "string")
			return
		}
		*into = n.Value
	}
}

func (d *decoder) integer(into *int) func(*yaml.Node) {
	return func(n *yaml.Node) {
		v, err := integer(n)
		if err != nil {
			d.mismatch(n, "int")
			return
		}
		*into = v
	}
}

// integer truncates a float, as yaml.v2 does.
func integer(n *yaml.Node) (int, error) {
	var v int
	switch n.Tag {
	case "!!int":
		return v, n.Decode(&v)
	case "!!float":
		var f float64
		if err := n.Decode(&f); err != nil || math.Abs(f) > math.MaxInt32 {
			return 0, errors.New("out of range")
		}
		return int(f), nil
	}
	return 0, errors.New("not a number")
}

// boolean takes what YAML 1.1 called booleans.
func (d *decoder) boolean(into *bool) func(*yaml.Node) {
	return func(n *yaml.Node) {
		plain := n.Kind == yaml.ScalarNode && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0
		switch strings.ToLower(n.Value) {
		case "y", "yes", "true", "on":
			*into = true
		case "n", "no", "false", "off":
			*into = false
		default:
			plain = false
		}
		if !plain {
			d.mismatch(n, "bool")
		}
	}
}

func (d *decoder) texts(into *[]string) func(*yaml.Node) {
	return d.each("[]string", func(n *yaml.Node) {
		var s string
		d.text(&s)(n)
		*into = append(*into, s)
	})
}

func (d *decoder) integers(into *[]int) func(*yaml.Node) {
	return d.each("[]int", func(n *yaml.Node) {
		var i int
		d.integer(&i)(n)
		*into = append(*into, i)
	})
}

// each calls item for every entry of a list.
func (d *decoder) each(want string, item func(*yaml.Node)) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Kind != yaml.SequenceNode {
			d.mismatch(n, want)
			return
		}
		for _, c := range n.Content {
			item(d.follow(c))
		}
	}
}

// textMap reads a mapping of names to texts.
func (d *decoder) textMap(into map[string]string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		d.mapping(n, "map[string]string", func(n *yaml.Node) {
			for i := 0; i+1 < len(n.Content); i += 2 {
				var value string
				d.text(&value)(d.follow(n.Content[i+1]))
				into[n.Content[i].Value] = value
			}
		})
	}
}

// mapping calls f if n is one.
func (d *decoder) mapping(n *yaml.Node, want string, f func(*yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.mismatch(n, want)
		return
	}
	f(n)
}

// mismatch is in yaml.v2's words, which users have met.
func (d *decoder) mismatch(n *yaml.Node, want string) {
	d.fault(n, "yaml: unmarshal errors: line %d: cannot unmarshal %s into %s", n.Line, kind(n), want)
}

func kind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "!!map"
	case yaml.SequenceNode:
		return "!!seq"
	}
	value := n.Value
	if len(value) > 10 {
		value = value[:7] + "..."
	}
	return n.ShortTag() + " `" + value + "`"
}
