package eventing

import (
	"encoding/json"
	"fmt"
	"testing"
)

const registry = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/r"

// filterEvent has a key of every sort.
var filterEvent = Event{
	ID: "e-1", Type: ImagePushed, Subject: "Team/App:V1", Topic: "/connectedRegistries/edge",
	Data: json.RawMessage(`{"n": 5, "f": 3.10, "big": 100, "zero": 0, "s": "Contoso Data", "five": "5", "yes": true, "no": false, "nil": null,
		"ns": [1, 5, "x"], "ss": ["Alpha", 7, "beta"], "bs": [false, true], "empty": [], "os": [{"n": 5}],
		"target": {"tag": "v1", "Tag": "V2", "Digest": "sha256:ab"}, "connectedRegistry": {"name": "edge"}}`),
	Extensions: json.RawMessage(`{"count": 5, "flag": true, "region": "EU", "none": null}`),
}

// TestOperators has a row for every operator, and in it what Event Grid
// documents for a key that hits, one that does not, one that is missing, one
// that is null, one of another type, and arrays that hit, that do not, that
// have nothing of the type, and that are not to be looked into.
func TestOperators(t *testing.T) {
	const (
		yes, no = true, false
	)
	strings := []string{"s", "target.tag", "missing", "nil", "n", "ss", "empty", "os"}
	numbers := []string{"n", "big", "missing", "nil", "s", "ns", "empty", "os"}
	bools := []string{"yes", "no", "missing", "nil", "s", "bs", "empty", "os"}
	for _, row := range []struct {
		operator string
		values   []any
		keys     []string
		//       hit, miss, missing, null, mismatch, array, empty, objects
		want [8]bool
	}{
		{"NumberIn", []any{5.0, 1.0}, numbers, [8]bool{yes, no, no, no, no, yes, no, no}},
		{"NumberNotIn", []any{5.0, 1.0}, numbers, [8]bool{no, yes, yes, yes, yes, no, yes, yes}},
		{"NumberLessThan", []any{6.0}, numbers, [8]bool{yes, no, no, no, no, yes, no, no}},
		{"NumberLessThanOrEquals", []any{5.0}, numbers, [8]bool{yes, no, no, no, no, yes, no, no}},
		{"NumberGreaterThan", []any{4.0}, []string{"n", "zero", "missing", "nil", "five", "ns", "empty", "os"}, [8]bool{yes, no, no, no, no, yes, no, no}},
		{"NumberGreaterThanOrEquals", []any{5.0}, []string{"n", "f", "missing", "nil", "five", "ns", "empty", "os"}, [8]bool{yes, no, no, no, no, yes, no, no}},
		{"NumberInRange", []any{[2]float64{5, 7}, []any{20.0, 30.0}}, numbers, [8]bool{yes, no, no, no, no, yes, no, no}},
		{"NumberNotInRange", []any{[2]float64{5, 7}, []any{20.0, 30.0}}, numbers, [8]bool{no, yes, yes, yes, yes, no, yes, yes}},
		{"BoolEquals", []any{true}, bools, [8]bool{yes, no, no, no, no, yes, no, no}},
		{"StringIn", []any{"contoso data", "ALPHA"}, strings, [8]bool{yes, no, no, no, no, yes, no, no}},
		{"StringNotIn", []any{"contoso data", "ALPHA"}, strings, [8]bool{no, yes, yes, yes, yes, no, yes, yes}},
		{"StringContains", []any{"OSO", "lph"}, strings, [8]bool{yes, no, no, no, no, yes, no, no}},
		{"StringNotContains", []any{"OSO", "lph"}, strings, [8]bool{no, yes, no, no, yes, no, yes, yes}},
		{"StringBeginsWith", []any{"CONT", "be"}, strings, [8]bool{yes, no, no, no, no, yes, no, no}},
		{"StringNotBeginsWith", []any{"CONT", "be"}, strings, [8]bool{no, yes, no, no, yes, no, yes, yes}},
		{"StringEndsWith", []any{"TA"}, strings, [8]bool{yes, no, no, no, no, yes, no, no}},
		{"StringNotEndsWith", []any{"TA"}, strings, [8]bool{no, yes, no, no, yes, no, yes, yes}},
		{"IsNullOrUndefined", nil, strings, [8]bool{no, no, yes, yes, no, no, no, no}},
		{"IsNotNull", nil, strings, [8]bool{yes, yes, no, no, yes, yes, yes, yes}},
	} {
		for i, key := range row.keys {
			c := Condition{Operator: row.operator, Key: "data." + key, Values: row.values}
			if got := matches(t, Filter{Arrays: true, Advanced: []Condition{c}}); got != row.want[i] {
				t.Errorf("%s %s %v: got %t, want %t", row.operator, key, row.values, got, row.want[i])
			}
			array := i >= 5 && row.values != nil
			if got, want := matches(t, Filter{Advanced: []Condition{c}}), row.want[i] && !array; got != want {
				t.Errorf("%s %s %v without arrays: got %t, want %t", row.operator, key, row.values, got, want)
			}
		}
	}
	if n := len(Operators()); n != 19 {
		t.Errorf("%d operators, and 19 rows", n)
	}
}

func matches(t *testing.T, f Filter) bool {
	t.Helper()
	m, err := f.Compile()
	if err != nil {
		t.Fatalf("%+v: %v", f, err)
	}
	return m.Match(filterEvent.Decode(registry))
}

// TestKeys has every name that a key may have.
func TestKeys(t *testing.T) {
	for _, c := range []struct{ key, value string }{
		{"id", "e-1"},
		{"ID", "e-1"},
		{"eventid", "e-1"},
		{"Topic", registry + "/connectedRegistries/edge"},
		{"source", registry + "/connectedRegistries/edge"},
		{"Subject", "team/app:v1"},
		{"EventType", ImagePushed},
		{"type", ImagePushed},
		{"DataVersion", "1.0"},
		{"specversion", "1.0"},
		{"region", "eu"},
		{"Region", "EU"},
		{"count", "5"}, // an attribute that is no string is compared as one
		{"flag", "true"},
		{"data.target.tag", "v1"}, // exactly this one, and not Tag
		{"data.target.Tag", "v2"},
		{"data.target.TAG", "v2"}, // of two that differ in case, the first
		{"Data.Target.digest", "sha256:ab"},
		{"data.connectedregistry.name", "edge"},
	} {
		f := Filter{Advanced: []Condition{{Operator: "StringIn", Key: c.key, Values: []any{c.value}}}}
		if !matches(t, f) {
			t.Errorf("%s is not %s", c.key, c.value)
		}
	}
	for _, key := range []string{"data.target.tag.x", "data.s.x", "data.ss.0", "other", "none", "data.", "data.n.", "subject.x"} {
		if !matches(t, Filter{Advanced: []Condition{{Operator: "IsNullOrUndefined", Key: key}}}) {
			t.Errorf("%s is something", key)
		}
	}
	if matches(t, Filter{Advanced: []Condition{{Operator: "StringIn", Key: "data.n", Values: []any{"5"}}}}) {
		t.Error("a number in the data is a string")
	}
	if !matches(t, Filter{Advanced: []Condition{{Operator: "NumberIn", Key: "count", Values: []any{5.0}}}}) {
		t.Error("an attribute that is a number is none")
	}
}

func TestFilters(t *testing.T) {
	hit := Condition{Operator: "stringin", Key: "data.s", Values: []any{"Contoso Data"}}
	miss := Condition{Operator: "StringIn", Key: "data.s", Values: []any{"Contoso"}}
	for _, c := range []struct {
		f    Filter
		want bool
	}{
		{Filter{}, true},
		{Filter{Types: []string{"All"}}, true},
		{Filter{Types: []string{ChartPushed, "microsoft.containerregistry.imagepushed"}}, true},
		{Filter{Types: []string{ChartPushed}}, false},
		{Filter{Types: []string{RunFailed, "all"}}, true},
		{Filter{SubjectBegins: "team/", SubjectEnds: ":v1"}, true},
		{Filter{SubjectBegins: "team/", CaseSensitive: true}, false},
		{Filter{SubjectBegins: "Team/", SubjectEnds: ":V1", CaseSensitive: true}, true},
		{Filter{SubjectEnds: ":v2"}, false},
		{Filter{Advanced: []Condition{hit, hit}}, true},
		{Filter{Advanced: []Condition{hit, miss}}, false},
	} {
		if got := matches(t, c.f); got != c.want {
			t.Errorf("%+v: got %t, want %t", c.f, got, c.want)
		}
	}
	for _, e := range []Event{{Type: RunFailed}, {Type: "my.own"}, {Type: ImageUntagged, Data: json.RawMessage(`{`)}} {
		m, err := new(Filter).Compile()
		if err != nil || m.Match(e.Decode(registry)) {
			t.Errorf("%s comes without being asked for (%v)", e.Type, err)
		}
	}
}

func TestFaultyConditions(t *testing.T) {
	for _, c := range []Condition{
		{Operator: "StringLike", Key: "subject"},
		{Operator: "StringIn", Key: "subject", Values: []any{1.0}},
		{Operator: "NumberIn", Key: "data.n", Values: []any{"1"}},
		{Operator: "NumberInRange", Key: "data.n", Values: []any{1.0}},
		{Operator: "NumberInRange", Key: "data.n", Values: []any{[]any{1.0}}},
		{Operator: "BoolEquals", Key: "data.n", Values: []any{"true"}},
	} {
		if _, err := (&Filter{Advanced: []Condition{c}}).Compile(); err == nil {
			t.Errorf("%+v compiles", c)
		}
	}
}

// BenchmarkMatch matches one event against 1,000 subscriptions, each with
// advanced filters of its own. The bar is 50,000 matches a second.
func BenchmarkMatch(b *testing.B) {
	var all []*Matcher
	for i := range 1000 {
		s := Subscription{Name: fmt.Sprint("s", i), Filter: Filter{Arrays: true, Advanced: []Condition{
			{Operator: "StringContains", Key: "Subject", Values: []any{"app", fmt.Sprint("other", i)}},
			{Operator: "StringNotBeginsWith", Key: "data.target.digest", Values: []any{fmt.Sprintf("sha256:%d", i)}},
			{Operator: "NumberInRange", Key: "data.n", Values: []any{[2]float64{0, float64(i)}}},
			{Operator: "StringIn", Key: "data.ss", Values: []any{"beta", "gamma", fmt.Sprint(i)}},
			{Operator: "StringEndsWith", Key: "data.TARGET.tag", Values: []any{"1", "2", "3"}},
		}}}
		m, err := s.Matcher()
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, m)
	}
	hits := 0
	for b.Loop() {
		d := filterEvent.Decode(registry)
		for _, m := range all {
			if m.Match(d) {
				hits++
			}
		}
	}
	if hits == 0 {
		b.Error("nothing matches")
	}
	rate := float64(b.N*len(all)) / b.Elapsed().Seconds()
	if b.N >= 10 && rate < 50_000 {
		b.Errorf("%.0f matches a second, and 50,000 are wanted", rate)
	}
	b.ReportMetric(rate, "match/s")
}
