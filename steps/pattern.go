package steps

import (
	"regexp"
	"sync"
)

// pattern is a regular expression that is compiled when it is first needed:
// compiling all of them took a tenth of the time of a short command.
func pattern(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
