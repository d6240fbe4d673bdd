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

// A fault shows no more of a line, or of a word, than this.
const (
	maxShown = 200
	maxMsg   = 600
)

// fault is an error at a word of an instruction. If the word is not found, the
// instruction's first line is what is shown.
func (s *source) fault(where []parser.Range, word, msg string) *steps.Error {
	first, last := 1, 1
	if len(where) > 0 {
		first, last = max(where[0].Start.Line, 1), where[len(where)-1].End.Line
	}
	e := &steps.Error{File: s.name, Line: first, Msg: shorten(msg, maxMsg)}
	e.Source, _ = shown(s.line(first))
	if word == "" {
		return e
	}
	for n, line := range s.lines(first, last) {
		at := bytes.Index(line, []byte(word))
		if at < 0 || first < last && isComment(line) {
			continue
		}
		e.Line, e.Column = n, utf8.RuneCount(line[:at])+1
		whole := false
		if e.Source, whole = shown(line); !whole && e.Column > maxShown {
			e.Source = ""
		}
		return e
	}
	return e
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

func (s *source) line(n int) []byte {
	for i, line := range s.lines(n, n) {
		if i == n {
			return line
		}
	}
	return nil
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

// shown is a line as an error quotes it, and whether that is all of it.
func shown(line []byte) (text string, whole bool) {
	text = strings.ToValidUTF8(string(line), "?")
	short := shorten(text, maxShown)
	return short, short == text
}

func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}
