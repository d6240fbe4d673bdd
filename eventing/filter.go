package eventing

// A Filter says which events a subscription wants, as Event Grid does: all of
// what it names must hold.
type Filter struct {
	// Types are wanted; none are the four of ACR's registry.
	Types []string
	// SubjectBegins and SubjectEnds are compared without case unless
	// CaseSensitive.
	SubjectBegins, SubjectEnds string
	CaseSensitive              bool
	Advanced                   []Condition
	// Arrays says that conditions look into arrays
	// (enableAdvancedFilteringOnArrays).
	Arrays bool
}

// A Condition is one of Event Grid's advanced filters.
type Condition struct {
	Operator string // StringIn, NumberInRange, ...
	Key      string // subject, data.target.tag, ...
	// Values are strings, float64s, bools, or pairs of float64s.
	Values []any
}
