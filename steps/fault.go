package steps

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// An Error is one fault in a task file, to be shown to whoever wrote it.
type Error struct {
	File string
	// Line and Column count from 1, columns in characters; 0 is unknown.
	Line, Column int
	Msg          string
	// Source is the line of the file, if there is one, or what of it is near
	// the fault. It has no tabs or control characters.
	Source string
	// Caret is how many columns of a terminal are in front of the fault in
	// Source.
	Caret int
}

// NewError is a fault at a place of a text. Columns count characters; column 0
// shows the line without a caret.
func NewError(file string, src []byte, line, column int, msg string) *Error {
	return (&decoder{file: file, src: src}).locate(line, column, msg)
}

// Error is "file:line:column: message", and below it the line with a caret.
func (e *Error) Error() string { return e.format("") }

func (e *Error) format(kind string) string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
		if e.Column > 0 {
			fmt.Fprintf(&b, ":%d", e.Column)
		}
	}
	b.WriteString(": " + kind + e.Msg)
	if e.Source != "" {
		fmt.Fprintf(&b, "\n%5d | %s", e.Line, e.Source)
		if e.Column > 0 {
			fmt.Fprintf(&b, "\n      | %s^", strings.Repeat(" ", e.Caret))
		}
	}
	return b.String()
}

// Errors are all faults of a file, in the order of their lines.
type Errors []*Error

func (e Errors) Error() string {
	var lines []string
	for _, one := range e {
		lines = append(lines, one.Error())
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes each fault visible to errors.As.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i := range e {
		all[i] = e[i]
	}
	return all
}

// What of a long line is shown: so much before the caret, and so much in all.
const (
	shownBefore = 60
	shownWidth  = 100
	ellipsis    = "..."
)

// excerpt is what to show of a line, and how far in it the fault is, which is
// between before and after.
func excerpt(before, after string) (source string, caret int) {
	if cut := last(before, shownBefore); len(cut) < len(before) {
		before = ellipsis + last(before, shownBefore-len(ellipsis))
	}
	before = printable(before)
	caret = width(before)
	if cut := first(after, shownWidth-caret); len(cut) < len(after) {
		after = first(after, shownWidth-caret-len(ellipsis)) + ellipsis
	}
	return before + printable(after), caret
}

// first is as much of s as a number of columns has room for.
func first(s string, columns int) string {
	for i, r := range s {
		if columns -= runeWidth(r); columns < 0 {
			return s[:i]
		}
	}
	return s
}

// last is the same from the end.
func last(s string, columns int) string {
	for at := len(s); at > 0; {
		r, size := utf8.DecodeLastRuneInString(s[:at])
		if columns -= runeWidth(r); columns < 0 {
			return s[at:]
		}
		at -= size
	}
	return s
}

// splitAt divides a line in front of a column, which counts characters from 1.
func splitAt(line string, column int) (before, after string) {
	at := 0
	for range column - 1 {
		_, size := utf8.DecodeRuneInString(line[at:])
		at += size
	}
	return line[:at], line[at:]
}

// printable replaces what would move a terminal's cursor, or hide text.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Co, r):
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// width is how many columns of a terminal a text takes.
func width(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

func runeWidth(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case unicode.Is(wide, r):
		return 2
	}
	return 1
}

// wide are the characters that take two columns, from Unicode's table of East
// Asian widths.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x1100, 0x115f, 1},
		{0x231a, 0x231b, 1},
		{0x23e9, 0x23ec, 1},
		{0x25fd, 0x25fe, 1},
		{0x2614, 0x2615, 1},
		{0x26a1, 0x26a1, 1},
		{0x2705, 0x2705, 1},
		{0x274c, 0x274c, 1},
		{0x2757, 0x2757, 1},
		{0x2b50, 0x2b50, 1},
		{0x2e80, 0x303e, 1},
		{0x3041, 0xa4cf, 1},
		{0xa960, 0xa97f, 1},
		{0xac00, 0xd7a3, 1},
		{0xf900, 0xfaff, 1},
		{0xfe30, 0xfe6f, 1},
		{0xff00, 0xff60, 1},
		{0xffe0, 0xffe6, 1},
	},
	R32: []unicode.Range32{{0x1f300, 0x1f64f, 1}, {0x1f680, 0x1f6ff, 1}, {0x1f900, 0x1faff, 1}, {0x20000, 0x3fffd, 1}},
}
