package steps

import (
	"slices"

	"gopkg.in/yaml.v3"
)

// A key says what one key of a mapping takes and where that goes.
type key[T any] struct {
	kind string // in the words of docs/task-reference.md
	read func(d *decoder, into *T, n *yaml.Node)
}

// An item is a text of the file and where it stands.
type item struct {
	text string
	node *yaml.Node
}

func text[T any](field func(*T) *string) key[T] {
	return key[T]{"string", func(d *decoder, into *T, n *yaml.Node) { *field(into) = d.text(n) }}
}

func commandLine[T any](field func(*T) *string) key[T] {
	return key[T]{"string", func(d *decoder, into *T, n *yaml.Node) { *field(into) = d.textOf(n, d.commandLine) }}
}

func number[T any](field func(*T) *int) key[T] {
	return key[T]{"integer", func(d *decoder, into *T, n *yaml.Node) { *field(into) = d.number(n) }}
}

func toggle[T any](field func(*T) *bool) key[T] {
	return key[T]{"boolean", func(d *decoder, into *T, n *yaml.Node) { *field(into) = d.toggle(n) }}
}

func texts[T any](field func(*T) *[]item) key[T] {
	return key[T]{"list of strings", func(d *decoder, into *T, n *yaml.Node) { *field(into) = d.items(n) }}
}

// textOrTexts takes one text for a list of one.
func textOrTexts[T any](field func(*T) *[]item) key[T] {
	return key[T]{"string or list of strings", func(d *decoder, into *T, n *yaml.Node) {
		if n.Kind == yaml.ScalarNode && !d.isNull(n) {
			*field(into) = []item{{d.text(n), n}}
			return
		}
		*field(into) = d.items(n)
	}}
}

func (d *decoder) items(n *yaml.Node) []item {
	var items []item
	for _, c := range d.list(n, "[]string") {
		c = d.follow(c)
		items = append(items, item{d.text(c), c})
	}
	return items
}

func numbers[T any](field func(*T) *[]int) key[T] {
	return key[T]{"list of integers", func(d *decoder, into *T, n *yaml.Node) {
		*field(into) = nil
		for _, c := range d.list(n, "[]int") {
			*field(into) = append(*field(into), d.number(d.follow(c)))
		}
	}}
}

// A spot is where a mapping stands. It is spoilt if not all of it could be
// read, so that what is missing is not held against it.
type spot struct {
	node   *yaml.Node
	spoilt bool
}

func (s *spot) put(n *yaml.Node, spoilt bool) { s.node, s.spoilt = n, spoilt }

// objects are a list of mappings. An entry that is null is there, and empty:
// to miss something is then what is wrong with it.
func objects[T, E any, P interface {
	*E
	put(n *yaml.Node, spoilt bool)
}](name string, known map[string]key[E], field func(*T) *[]*E,
) key[T] {
	return key[T]{"list of mappings", func(d *decoder, into *T, n *yaml.Node) {
		*field(into) = nil
		for _, c := range d.list(n, "[]*"+name) {
			c = d.follow(c)
			e, before := new(E), len(d.faults)
			object(d, name, known, c, e)
			P(e).put(c, len(d.faults) > before)
			*field(into) = append(*field(into), e)
		}
	}}
}

func object[T any](d *decoder, name string, known map[string]key[T], n *yaml.Node, into *T) {
	switch {
	case n.Kind == yaml.MappingNode:
		fields(d, name, known, n, into)
	case !d.isNull(n):
		d.mismatch(n, name)
	}
}

// fields reads a mapping: first what it merges with <<, then its own keys, of
// which the last of several equal ones counts. Keys that nobody knows are left
// out, as in acb.
func fields[T any](d *decoder, name string, known map[string]key[T], n *yaml.Node, into *T) {
	for _, m := range d.merged(n) {
		fields(d, name, known, m, into)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if isMerge(n.Content[i]) {
			continue
		}
		k, ok := known[d.marks.all(n.Content[i].Value)]
		if ok {
			k.read(d, into, d.follow(n.Content[i+1]))
		}
	}
	if d.lint != nil {
		lintKeys(d.lint, name, known, n)
	}
}

func isMerge(n *yaml.Node) bool { return n.Tag == "!!merge" }

// merged are the mappings that n merges, the one that counts least first.
func (d *decoder) merged(n *yaml.Node) []*yaml.Node {
	var all []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		if !isMerge(n.Content[i]) {
			continue
		}
		from := d.follow(n.Content[i+1])
		if from.Kind == yaml.MappingNode {
			all = append(all, from)
			continue
		}
		if from.Kind != yaml.SequenceNode {
			d.fault(from, "yaml: map merge requires map or sequence of maps as the value")
			continue
		}
		for _, v := range slices.Backward(from.Content) {
			one := d.follow(v)
			if one.Kind != yaml.MappingNode {
				d.fault(one, "yaml: map merge requires map or sequence of maps as the value")
				continue
			}
			all = append(all, one)
		}
	}
	return all
}

// find is the value of a key of n as fields has read it, or n itself if it has
// no such key.
func (d *decoder) find(n *yaml.Node, name string) *yaml.Node {
	if v := d.lookup(n, name); v != nil {
		return v
	}
	return n
}

func (d *decoder) lookup(n *yaml.Node, name string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := len(n.Content) - 2; i >= 0; i -= 2 {
		if !isMerge(n.Content[i]) && d.marks.all(n.Content[i].Value) == name {
			return d.follow(n.Content[i+1])
		}
	}
	from := d.merged(n)
	for _, f := range slices.Backward(from) {
		if v := d.lookup(f, name); v != nil {
			return v
		}
	}
	return nil
}
