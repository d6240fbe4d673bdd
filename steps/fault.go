package steps

import (
	"fmt"
	"strings"
)

// An Error is one fault in a task file, to be shown to whoever wrote it.
type Error struct {
	File string
	// Line and Column count from 1; 0 is unknown.
	Line, Column int
	Msg          string
	// Source is the line of the file, if there is one.
	Source string
}

// Error is "file:line:column: message", and below it the line with a caret.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
		if e.Column > 0 {
			fmt.Fprintf(&b, ":%d", e.Column)
		}
	}
	b.WriteString(": " + e.Msg)
	if e.Source != "" {
		fmt.Fprintf(&b, "\n%5d | %s", e.Line, strings.ReplaceAll(e.Source, "\t", " "))
		if e.Column > 0 {
			fmt.Fprintf(&b, "\n      | %s^", strings.Repeat(" ", e.Column-1))
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
