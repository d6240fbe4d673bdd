package eventing

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzMatch matches any data by any key. A negative operator never holds
// together with the positive one; and one of the two does, if the key is there
// and is no array that must not be looked into.
func FuzzMatch(f *testing.F) {
	for _, key := range []string{"data.s", "data.target.TAG", "data.ss", "data.os.n", "data", "Subject", "count", "data..", ""} {
		f.Add(string(filterEvent.Data), key, "contoso", true)
	}
	f.Add(`[1,"a",null]`, "data", "A", true)
	f.Add(`"text"`, "data", "text", false)
	f.Fuzz(func(t *testing.T, data, key, value string, arrays bool) {
		e := Event{Type: ImagePushed, Subject: value, Data: json.RawMessage(data), Extensions: filterEvent.Extensions}
		d := e.Decode(registry)
		holds := func(operator string, values ...any) bool {
			m, err := (&Filter{Arrays: arrays, Advanced: []Condition{{Operator: operator, Key: key, Values: values}}}).Compile()
			if err != nil {
				t.Fatal(err)
			}
			return m.Match(d)
		}
		there := holds("IsNotNull")
		if there == holds("IsNullOrUndefined") {
			t.Errorf("%q is both null and not", key)
		}
		k := parseField(key)
		_, array := k.in(d).([]any)
		for _, op := range Operators() {
			opposite := strings.Replace(op.Name, "Not", "", 1)
			if !op.negative || op.Of == NoValue {
				continue
			}
			values := []any{value}
			switch op.Of {
			case OfNumbers:
				values = []any{5.0}
			case OfRanges:
				values = []any{[2]float64{0, 5}}
			}
			yes, no := holds(opposite, values...), holds(op.Name, values...)
			if yes && no || there && (!array || arrays) && yes == no {
				t.Errorf("%s %q in %s: %t, and %s: %t", opposite, key, data, yes, op.Name, no)
			}
		}
	})
}
