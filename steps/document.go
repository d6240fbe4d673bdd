package steps

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// document is the file's mapping, measured, or nil if there is none or
// something was wrong.
func (d *decoder) document() *yaml.Node {
	if len(d.src) > maxSource {
		d.faultAt(1, 1, "the file is larger than 1 MiB")
		return nil
	}
	stream := yaml.NewDecoder(bytes.NewReader(d.src))
	var doc yaml.Node
	switch err := stream.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		d.syntax(err)
		return nil
	}
	d.more(stream)
	n := doc.Content[0]
	switch {
	case d.isNull(n):
		return nil
	case n.Kind != yaml.MappingNode:
		d.fault(n, "yaml: unmarshal errors: line %d: cannot unmarshal %s into graph.Task", n.Line, d.kind(n))
		return nil
	}
	if d.measure(n); len(d.faults) > 0 {
		return nil
	}
	return n
}

// more judges what comes after the first document. acb does not look at it,
// and so takes a file whose first line is indented for one of a single line.
func (d *decoder) more(stream *yaml.Decoder) {
	var next yaml.Node
	switch err := stream.Decode(&next); {
	case errors.Is(err, io.EOF):
	case err != nil && strings.Contains(err.Error(), "document start"):
		line, _ := position(d.src, d.reach())
		d.faultAt(line, 1, "yaml: the document has ended above this line: begin every key of the task in the first column")
	case err != nil:
		d.syntax(err)
	default:
		d.lint.warn("second-document", &next, "only the first document of a file is read")
	}
}

// position is the line and column of a byte of the text.
func position(src []byte, offset int) (line, column int) {
	line = 1
	for rest := src[:offset]; ; line++ {
		_, next, found := cutLine(rest)
		if !found {
			return line, 1 + utf8.RuneCount(rest)
		}
		rest = next
	}
}

// sourceLine is a line by its number, without its end.
func sourceLine(src []byte, line int) string {
	for n := 1; n < line; n++ {
		_, rest, found := cutLine(src)
		if !found {
			return ""
		}
		src = rest
	}
	if line < 1 {
		return ""
	}
	text, _, _ := cutLine(src)
	return string(text)
}

// cutLine divides a text at what YAML takes for the end of a line.
func cutLine(src []byte) (line, rest []byte, found bool) {
	for i := range src {
		switch {
		case src[i] == '\n':
			return src[:i], src[i+1:], true
		case src[i] == '\r':
			return src[:i], bytes.TrimPrefix(src[i+1:], []byte("\n")), true
		case src[i] < 0xc2:
		case bytes.HasPrefix(src[i:], []byte("\u0085")):
			return src[:i], src[i+2:], true
		case bytes.HasPrefix(src[i:], []byte("\u2028")), bytes.HasPrefix(src[i:], []byte("\u2029")):
			return src[:i], src[i+3:], true
		}
	}
	return src, nil, false
}
