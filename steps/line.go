package steps

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A lineError is one fault of a "cmd:" or "build:" line.
type lineError struct {
	// Offset is the byte of the line that the fault begins at. It is
	// negative if there is no such place.
	Offset int
	Msg    string
}

func (e *lineError) Error() string { return e.Msg }

// lineErrors are all faults of a line, in its order.
type lineErrors []*lineError

// maxLineErrors bounds how much is said about one line.
const maxLineErrors = 20

func (e lineErrors) Error() string {
	texts := make([]string, len(e))
	for i, one := range e {
		texts[i] = one.Msg
	}
	return strings.Join(texts, "; ")
}

// Unwrap makes each fault visible to errors.As.
func (e lineErrors) Unwrap() []error {
	all := make([]error, len(e))
	for i := range e {
		all[i] = e[i]
	}
	return all
}

func (e *lineErrors) add(at int, format string, args ...any) {
	*e = append(*e, &lineError{at, fmt.Sprintf(format, args...)})
}

// err is nil if there are none.
func (e lineErrors) err() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// lineFaults takes the error of a line apart, so that each fault can be shown
// where it is.
func lineFaults(err error) []*lineError {
	var many lineErrors
	var one *lineError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &many):
		return many
	case errors.As(err, &one):
		return []*lineError{one}
	}
	return []*lineError{{Offset: -1, Msg: err.Error()}}
}

// brief is a value as an error quotes it: not all of it if it is long.
func brief(v string) string {
	const most = 60
	if len(v) <= most {
		return v
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(v[cut]) {
		cut--
	}
	return v[:cut] + "..."
}
