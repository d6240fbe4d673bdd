package dockerfile

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"acrd/steps"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// source is the text of a Dockerfile, to say where in it a fault is.
type source struct {
	name string
	text []byte
}

// maxMsg is how much of a message is shown: it may quote the file.
const maxMsg = 600

// maxShown is how much of a word is.
const maxShown = 200

// fault is an error at a word of an instruction. If the word is not found, the
// instruction's first line is what is shown.
func (s *source) fault(where []parser.Range, word, msg string) *steps.Error {
	first, last := 1, 1
	if len(where) > 0 {
		first, last = max(where[0].Start.Line, 1), where[len(where)-1].End.Line
	}
	msg = shorten(msg, maxMsg)
	if word == "" {
		return steps.NewError(s.name, s.text, first, 0, msg)
	}
	for n, line := range s.lines(first, last) {
		at := bytes.Index(line, []byte(word))
		if at < 0 || first < last && isComment(line) {
			continue
		}
		return steps.NewError(s.name, s.text, n, utf8.RuneCount(line[:at])+1, msg)
	}
	return steps.NewError(s.name, s.text, first, 0, msg)
}

// located turns an error of BuildKit's parser into ours. It has lines, and no
// columns.
func (s *source) located(err error) error {
	var at *parser.LocationError
	if !errors.As(err, &at) {
		return &steps.Error{File: s.name, Msg: shorten(err.Error(), maxMsg)}
	}
	var where []parser.Range
	if len(at.Locations) > 0 {
		where = at.Locations[0]
	}
	return s.fault(where, "", at.Error())
}

// lines are those from first to last, by number.
func (s *source) lines(first, last int) func(yield func(int, []byte) bool) {
	return func(yield func(int, []byte) bool) {
		n := 0
		for line := range bytes.Lines(s.text) {
			if n++; n < first {
				continue
			}
			if n > last || !yield(n, bytes.TrimRight(line, "\r\n")) {
				return
			}
		}
	}
}

func isComment(line []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(line), []byte("#")) }

func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}
