package eventing

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Condition is one of Event Grid's advanced filters.
type Condition struct {
	Operator string // StringIn, NumberInRange, ...
	Key      string // subject, data.target.tag, ...
	// Values are strings, float64s, bools, or pairs of float64s.
	Values []any
}

// An Operator is what Event Grid calls operatorType.
type Operator struct {
	Name string
	Of   ValueKind
	// Single says that there is one value, and JSON has it in "value".
	Single bool
	// negative operators hold if none of the values hits.
	negative bool
	// missing is what holds for an event that lacks the key.
	missing bool
}

// A ValueKind says what an operator compares with.
type ValueKind int

// The kinds of values.
const (
	NoValue ValueKind = iota
	OfNumbers
	OfRanges
	OfBools
	OfStrings
)

// Operators are all of them. That the six string operators on parts do not
// hold if the key is missing, be they negative or not, is Event Grid's.
func Operators() []Operator {
	return []Operator{
		{Name: "NumberIn", Of: OfNumbers},
		{Name: "NumberNotIn", Of: OfNumbers, negative: true, missing: true},
		{Name: "NumberLessThan", Of: OfNumbers, Single: true},
		{Name: "NumberGreaterThan", Of: OfNumbers, Single: true},
		{Name: "NumberLessThanOrEquals", Of: OfNumbers, Single: true},
		{Name: "NumberGreaterThanOrEquals", Of: OfNumbers, Single: true},
		{Name: "NumberInRange", Of: OfRanges},
		{Name: "NumberNotInRange", Of: OfRanges, negative: true, missing: true},
		{Name: "BoolEquals", Of: OfBools, Single: true},
		{Name: "StringIn", Of: OfStrings},
		{Name: "StringNotIn", Of: OfStrings, negative: true, missing: true},
		{Name: "StringContains", Of: OfStrings},
		{Name: "StringNotContains", Of: OfStrings, negative: true},
		{Name: "StringBeginsWith", Of: OfStrings},
		{Name: "StringNotBeginsWith", Of: OfStrings, negative: true},
		{Name: "StringEndsWith", Of: OfStrings},
		{Name: "StringNotEndsWith", Of: OfStrings, negative: true},
		{Name: "IsNullOrUndefined", missing: true},
		{Name: "IsNotNull", negative: true},
	}
}

// FindOperator is the one of a name, in letters of any case.
func FindOperator(name string) (Operator, bool) {
	all := Operators()
	i := slices.IndexFunc(all, func(o Operator) bool { return strings.EqualFold(o.Name, name) })
	if i < 0 {
		return Operator{}, false
	}
	return all[i], true
}

// compile makes a test of a condition. A value of another type than the
// operator's is none that could hit. An array is looked into only if arrays
// says so, and else holds for nothing, negative or not.
func (c *Condition) compile(arrays bool) (test, error) {
	op, ok := FindOperator(c.Operator)
	if !ok {
		return nil, fmt.Errorf("there is no operator %q", c.Operator)
	}
	f := parseField(c.Key)
	if op.Of == NoValue {
		return func(d *Decoded) bool { return (f.in(d) == nil) != op.negative }, nil
	}
	hits, err := op.hits(c.Values, f.attribute != "")
	if err != nil {
		return nil, err
	}
	return func(d *Decoded) bool {
		switch v := f.in(d).(type) {
		case nil:
			return op.missing
		case []any:
			return arrays && slices.ContainsFunc(v, hits) != op.negative
		default:
			return hits(v) != op.negative
		}
	}, nil
}

// hits is whether one value of an event is any of the condition's. An
// attribute of the event that is a number is a string too.
func (o Operator) hits(values []any, attribute bool) (func(any) bool, error) {
	switch o.Of {
	case OfNumbers:
		return o.numberHits(values)
	case OfRanges:
		return rangeHits(values)
	case OfBools:
		want, err := each[bool](values)
		return func(v any) bool {
			b, ok := v.(bool)
			return ok && slices.Contains(want, b)
		}, err
	}
	return o.stringHits(values, attribute)
}

func (o Operator) numberHits(values []any) (func(any) bool, error) {
	want, err := each[float64](values)
	if err != nil {
		return nil, err
	}
	return func(v any) bool {
		n, ok := v.(float64)
		return ok && slices.ContainsFunc(want, func(w float64) bool { return o.compares(n, w) })
	}, nil
}

func (o Operator) compares(n, want float64) bool {
	switch o.Name {
	case "NumberLessThan":
		return n < want
	case "NumberGreaterThan":
		return n > want
	case "NumberLessThanOrEquals":
		return n <= want
	case "NumberGreaterThanOrEquals":
		return n >= want
	}
	return n == want
}

func rangeHits(values []any) (func(any) bool, error) {
	var ranges [][2]float64
	for _, v := range values {
		r, ok := pair(v)
		if !ok {
			return nil, fmt.Errorf("%v is not a pair of numbers", v)
		}
		ranges = append(ranges, r)
	}
	return func(v any) bool {
		n, ok := v.(float64)
		return ok && slices.ContainsFunc(ranges, func(r [2]float64) bool { return r[0] <= n && n <= r[1] })
	}, nil
}

// pair is a range as it was made, or as JSON has it.
func pair(v any) ([2]float64, bool) {
	switch v := v.(type) {
	case [2]float64:
		return v, true
	case []any:
		both, err := each[float64](v)
		if err == nil && len(both) == 2 {
			return [2]float64(both), true
		}
	}
	return [2]float64{}, false
}

func (o Operator) stringHits(values []any, attribute bool) (func(any) bool, error) {
	want, err := each[string](values)
	if err != nil {
		return nil, err
	}
	for i := range want {
		want[i] = strings.ToLower(want[i])
	}
	compares := o.comparesStrings()
	return func(v any) bool {
		s, ok := text(v, attribute)
		s = strings.ToLower(s)
		return ok && slices.ContainsFunc(want, func(w string) bool { return compares(s, w) })
	}, nil
}

func (o Operator) comparesStrings() func(s, want string) bool {
	switch o.Name {
	case "StringContains", "StringNotContains":
		return strings.Contains
	case "StringBeginsWith", "StringNotBeginsWith":
		return strings.HasPrefix
	case "StringEndsWith", "StringNotEndsWith":
		return strings.HasSuffix
	}
	return func(s, want string) bool { return s == want }
}

// text is a value as a string: what is none is one only in an attribute.
func text(v any, attribute bool) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), attribute
	case bool:
		return strconv.FormatBool(v), attribute
	}
	return "", false
}

// each wants all values to be of one type.
func each[T any](values []any) ([]T, error) {
	all := make([]T, 0, len(values))
	for _, v := range values {
		one, ok := v.(T)
		if !ok {
			return nil, fmt.Errorf("%v is a %T, not a %T", v, v, one)
		}
		all = append(all, one)
	}
	return all, nil
}
