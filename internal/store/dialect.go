package store

import "strings"

// A dialect is what the two databases do not have in common.
type dialect struct {
	name string
	// replace turns the statements of this package, which are PostgreSQL's
	// with words in braces, into the database's own. {list(}$1{)} are the elements
	// of a JSON array as texts, in the column value; {rows(}$1{)} as JSON.
	replace *strings.Replacer
	// notifies says that daemons can call each other.
	notifies bool
	// kind finds the error of package runner that err means, or nil; again
	// says that the transaction has to be done again.
	kind  func(err error) error
	again func(err error) bool
}

func (d dialect) sql(query string) string { return d.replace.Replace(query) }
