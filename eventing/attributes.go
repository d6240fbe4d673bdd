package eventing

import (
	"encoding/json"
	"strconv"
)

// longestValue is the most bytes that Event Grid lets an attribute have.
const longestValue = 4096

// values finds the subscription's delivery attributes. Dynamic ones whose field
// an event has not, or not as text, number or bool, or too long, are left out.
func (s *Subscription) values(e *Event, registry string) map[string]string {
	if len(s.Destination.Attributes) == 0 {
		return nil
	}
	found := map[string]string{}
	var decoded *Decoded
	for _, a := range s.Destination.Attributes {
		if a.Field == "" {
			found[a.Name] = a.Value
			continue
		}
		if decoded == nil {
			decoded = e.Decode(registry)
		}
		f := parseField(a.Field)
		if v, ok := attributeText(f.in(decoded)); ok && len(v) <= longestValue {
			found[a.Name] = v
		}
	}
	return found
}

func attributeText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}
