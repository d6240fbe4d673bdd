package eventing

import (
	"encoding/json"
	"strings"
)

// A Decoded event has been read once, for the filters of all subscriptions.
// It is safe for concurrent use, and must not be changed.
type Decoded struct {
	*Event
	topic        string
	lowerSubject string
	data         any
	extensions   map[string]any
}

// Decode reads the event's data. Registry is the resource id that topics are
// below of. Data that is not JSON has no fields.
func (e *Event) Decode(registry string) *Decoded {
	d := &Decoded{Event: e, topic: Topic(registry, e.Topic), lowerSubject: strings.ToLower(e.Subject)}
	if json.Unmarshal(e.Data, &d.data) != nil {
		d.data = nil
	}
	if len(e.Extensions) > 0 && json.Unmarshal(e.Extensions, &d.extensions) != nil {
		d.extensions = nil
	}
	return d
}

// A field is what a key of Event Grid names: an attribute of the event, or
// something in its data.
type field struct {
	attribute string   // in lower case; empty is data
	key       string   // the attribute as it was written
	path      []string // below data
}

// parseField reads a key: Subject, data.target.tag. Letters may be of any case.
func parseField(key string) field {
	first, rest, more := strings.Cut(key, ".")
	if !strings.EqualFold(first, "data") {
		return field{attribute: strings.ToLower(key), key: key}
	}
	if !more {
		return field{}
	}
	return field{path: strings.Split(rest, ".")}
}

// in is the field's value in an event, nil if there is none or it is null.
func (f *field) in(d *Decoded) any {
	if f.attribute != "" {
		return f.context(d)
	}
	v := d.data
	for _, name := range f.path {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = member(object, name)
	}
	return v
}

// context are the names of Event Grid's schema and of CloudEvents.
func (f *field) context(d *Decoded) any {
	switch f.attribute {
	case "id", "eventid":
		return d.ID
	case "topic", "source":
		return d.topic
	case "subject":
		return d.Subject
	case "eventtype", "type":
		return d.Type
	case "dataversion", "eventtypeversion":
		if d.DataVersion == "" {
			return "1.0"
		}
		return d.DataVersion
	case "specversion":
		return "1.0"
	}
	return member(d.extensions, f.key)
}

// member is what an object has under a name, or else under one that differs in
// case: the first of them in order.
func member(object map[string]any, name string) any {
	if v, ok := object[name]; ok {
		return v
	}
	first, found := "", any(nil)
	for other, v := range object {
		if strings.EqualFold(other, name) && (first == "" || other < first) {
			first, found = other, v
		}
	}
	return found
}
