// Package pattern has regular expressions that are compiled when they are
// first needed. Compiling all of acrd's took a tenth of the time of a short
// command.
package pattern

import (
	"regexp"
	"sync"
)

// New is regexp.MustCompile, later. What it returns is safe for concurrent use.
func New(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
