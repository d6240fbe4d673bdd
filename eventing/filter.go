package eventing

import (
	"fmt"
	"slices"
	"strings"
)

// A Filter says which events a subscription wants, as Event Grid does: all of
// what it names must hold.
type Filter struct {
	// Types are wanted; none are the four of ACR's registry, and so is "All".
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

// AllTypes stands for the types that a subscription gets by itself.
const AllTypes = "All"

// A Matcher is a filter made ready to match many events. It is safe for
// concurrent use.
type Matcher struct{ tests []test }

// A test is one of the things that must hold.
type test func(*Decoded) bool

// Match tells whether an event is wanted.
func (m *Matcher) Match(d *Decoded) bool {
	for _, holds := range m.tests {
		if !holds(d) {
			return false
		}
	}
	return true
}

// Matcher is the subscription's filter, compiled. What Check lets pass is no
// error.
func (s *Subscription) Matcher() (*Matcher, error) {
	if s.Hook != nil {
		return s.Hook.matcher(), nil
	}
	m, err := s.Filter.Compile()
	if err != nil {
		return nil, fmt.Errorf("subscription %s: %w", s.Name, err)
	}
	return m, nil
}

// Compile makes f ready. The cheapest test comes first.
func (f *Filter) Compile() (*Matcher, error) {
	m := &Matcher{tests: []test{typeTest(f.Types)}}
	if f.SubjectBegins != "" {
		m.tests = append(m.tests, f.subjectTest(f.SubjectBegins, strings.HasPrefix))
	}
	if f.SubjectEnds != "" {
		m.tests = append(m.tests, f.subjectTest(f.SubjectEnds, strings.HasSuffix))
	}
	for _, c := range f.Advanced {
		t, err := c.compile(f.Arrays)
		if err != nil {
			return nil, fmt.Errorf("filter on %s: %w", c.Key, err)
		}
		m.tests = append(m.tests, t)
	}
	return m, nil
}

func typeTest(types []string) test {
	standard := len(types) == 0
	var named []string
	for _, t := range types {
		if strings.EqualFold(t, AllTypes) {
			standard = true
			continue
		}
		named = append(named, t)
	}
	return func(d *Decoded) bool {
		if standard && isStandard(d.Type) {
			return true
		}
		return slices.ContainsFunc(named, func(t string) bool { return strings.EqualFold(t, d.Type) })
	}
}

// isStandard says that a subscription gets the type without naming it.
func isStandard(t string) bool {
	return t == ImagePushed || t == ImageDeleted || t == ChartPushed || t == ChartDeleted
}

func (f *Filter) subjectTest(want string, has func(s, part string) bool) test {
	if f.CaseSensitive {
		return func(d *Decoded) bool { return has(d.Subject, want) }
	}
	want = strings.ToLower(want)
	return func(d *Decoded) bool { return has(d.lowerSubject, want) }
}
