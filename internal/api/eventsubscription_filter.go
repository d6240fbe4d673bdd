package api

import (
	"fmt"
	"strings"

	"acrd/eventing"
)

// Event Grid's limits on filters.
const (
	maxAdvancedFilters = 25
	maxFilterValues    = 25
	maxFilterText      = 512
)

// filter reads one, and makes sure that it can be compiled.
func (r *eventReader) filter(at string, p *EventFilter) eventing.Filter {
	f := eventing.Filter{
		SubjectBegins: p.SubjectBeginsWith, SubjectEnds: p.SubjectEndsWith, CaseSensitive: p.IsSubjectCaseSensitive,
		Arrays: p.FilterArrays, Types: p.IncludedEventTypes,
	}
	r.short(at+".subjectBeginsWith", f.SubjectBegins)
	r.short(at+".subjectEndsWith", f.SubjectEnds)
	for i, t := range f.Types {
		if t == "" {
			r.fault(fmt.Sprintf("%s.includedEventTypes[%d]", at, i), "It is empty.")
		}
		r.short(fmt.Sprintf("%s.includedEventTypes[%d]", at, i), t)
	}
	if len(f.Types) == 1 && strings.EqualFold(f.Types[0], eventing.AllTypes) {
		f.Types = nil
	}
	at += ".advancedFilters"
	if len(p.AdvancedFilters) > maxAdvancedFilters {
		r.fault(at, "There are %d, and %d are allowed.", len(p.AdvancedFilters), maxAdvancedFilters)
	}
	values := 0
	for i := range p.AdvancedFilters {
		c := r.condition(fmt.Sprintf("%s[%d]", at, i), &p.AdvancedFilters[i])
		values += len(c.Values)
		f.Advanced = append(f.Advanced, c)
	}
	if values > maxFilterValues {
		r.fault(at, "They have %d values together, and %d are allowed.", values, maxFilterValues)
	}
	return f
}

func (r *eventReader) short(target, text string) {
	if len([]rune(text)) > maxFilterText {
		r.fault(target, "It is longer than %d characters.", maxFilterText)
	}
}

func (r *eventReader) condition(at string, p *AdvancedFilter) eventing.Condition {
	c := eventing.Condition{Operator: p.OperatorType, Key: p.Key}
	r.checkKey(at+".key", p.Key)
	op, ok := eventing.FindOperator(p.OperatorType)
	if !ok {
		var names []string
		for _, o := range eventing.Operators() {
			names = append(names, o.Name)
		}
		r.fault(at+".operatorType", "'%s' is not one of %s.", p.OperatorType, strings.Join(names, ", "))
		return c
	}
	c.Operator = op.Name
	c.Values = r.values(at, op, p)
	return c
}

// checkKey wants an attribute of an event, or a path in its data. What has a
// dot in its own name cannot be named.
func (r *eventReader) checkKey(at, key string) {
	first, rest, dotted := strings.Cut(key, ".")
	switch {
	case key == "":
		r.fault(at, "It is missing.")
	case dotted && !strings.EqualFold(first, "data"):
		r.fault(at, "'%s' is neither an attribute of an event, such as subject, nor in its data, such as data.target.tag.", key)
	case dotted && (rest == "" || strings.Contains("."+rest+".", "..")):
		r.fault(at, "'%s' has an empty name in it.", key)
	}
	r.short(at, key)
}

// values are those that the operator wants, and of the type that it wants.
func (r *eventReader) values(at string, op eventing.Operator, p *AdvancedFilter) []any {
	if op.Of == eventing.NoValue {
		return nil
	}
	all, at := p.Values, at+".values"
	if op.Single {
		at = strings.TrimSuffix(at, "s")
		if all == nil && p.Value != nil {
			all = []any{p.Value}
		}
		if len(all) != 1 {
			r.fault(at, "%s has one value.", op.Name)
			return nil
		}
		r.value(at, op, all[0])
		return all
	}
	if len(all) == 0 {
		r.fault(at, "%s has at least one value.", op.Name)
	}
	for i, v := range all {
		r.value(fmt.Sprintf("%s[%d]", at, i), op, v)
	}
	return all
}

func (r *eventReader) value(at string, op eventing.Operator, v any) {
	ok, want := false, "a string"
	switch op.Of {
	case eventing.OfNumbers:
		_, ok = v.(float64)
		want = "a number"
	case eventing.OfRanges:
		ok, want = isRange(v), "a pair of numbers, the lower one first"
	case eventing.OfBools:
		_, ok = v.(bool)
		want = "true or false"
	default:
		var text string
		text, ok = v.(string)
		r.short(at, text)
	}
	if !ok {
		r.fault(at, "%s wants %s.", op.Name, want)
	}
}

func isRange(v any) bool {
	both, ok := v.([]any)
	if !ok || len(both) != 2 {
		return false
	}
	low, ok1 := both[0].(float64)
	high, ok2 := both[1].(float64)
	return ok1 && ok2 && low <= high
}
