package eventing

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The content types of what is delivered.
const (
	EventGridType       = "application/json; charset=utf-8"
	CloudEventType      = "application/cloudevents+json; charset=utf-8"
	CloudEventBatchType = "application/cloudevents-batch+json; charset=utf-8"
	WebhookType         = "application/json"
)

// ConnectedTopics begins the topics of other registries, below this one.
const ConnectedTopics = "/connectedRegistries/"

// Topic is the whole of what an event comes from, given the registry's own
// resource id. What a publisher says of itself is whole, even if it begins with
// a slash: it does not speak for the registry.
func Topic(registry, topic string) string {
	if topic == "" || strings.HasPrefix(topic, ConnectedTopics) {
		return registry + topic
	}
	return topic
}

// EncodeBatch is the body of a request that delivers d, and its content type.
// Event Grid's schema is always an array. CloudEvents are an array if they are
// several, as their receivers tell the two by the content type. A webhook gets
// one event.
func EncodeBatch(d Delivery) (body []byte, contentType string, err error) {
	if len(d.Events) == 1 && d.Schema != EventGridSchema {
		body, err = Encode(d, d.Events[0])
		if d.Schema == WebhookSchema {
			return body, WebhookType, err
		}
		return body, CloudEventType, err
	}
	if d.Schema == WebhookSchema || len(d.Events) == 0 {
		return nil, "", errors.New("encode delivery: not one event")
	}
	o := newObject(d.Events)
	o = append(o, '[')
	for i, a := range d.Events {
		if i > 0 {
			o = append(o, ',')
		}
		if err := o.event(d, a); err != nil {
			return nil, "", err
		}
	}
	o = append(o, ']')
	if d.Schema == CloudEvents10 {
		return o, CloudEventBatchType, nil
	}
	return o, EventGridType, nil
}

// Encode is one event of d as a JSON object.
func Encode(d Delivery, a Attempted) ([]byte, error) {
	if d.Schema == WebhookSchema {
		return webhookBody(a.Event, d.Tags)
	}
	o := newObject([]Attempted{a})
	err := o.event(d, a)
	return o, err
}

// event adds an event in one of the schemas that have an envelope.
func (o *object) event(d Delivery, a Attempted) error {
	if d.Schema == CloudEvents10 {
		return o.cloudEvent(d.Registry, a)
	}
	o.eventGrid(d.Registry, a)
	return nil
}

func (o *object) eventGrid(registry string, a Attempted) {
	o.begin()
	o.text("id", a.ID)
	o.text("topic", Topic(registry, a.Topic))
	o.text("subject", a.Subject)
	o.text("eventType", a.Type)
	o.time("eventTime", a.Time)
	o.raw("data", a.Data)
	if a.DataVersion == "" {
		a.DataVersion = "1.0"
	}
	o.text("dataVersion", a.DataVersion)
	o.text("metadataVersion", "1")
	if d := a.Dead; d != nil {
		o.text("deadLetterReason", string(d.Reason))
		o.raw("deliveryAttempts", strconv.AppendInt(nil, int64(d.Attempts), 10))
		o.text("lastDeliveryOutcome", string(d.Outcome))
		o.time("publishTime", d.Published)
		if !d.Tried.IsZero() {
			o.time("lastDeliveryAttemptTime", d.Tried)
		}
	}
	o.end()
}

func (o *object) cloudEvent(registry string, a Attempted) error {
	o.begin()
	o.text("id", a.ID)
	o.text("source", Topic(registry, a.Topic))
	o.text("subject", a.Subject)
	o.text("type", a.Type)
	o.time("time", a.Time)
	o.text("specversion", "1.0")
	if err := o.extensions(a.Extensions); err != nil {
		return err
	}
	if d := a.Dead; d != nil {
		o.text("deadletterreason", string(d.Reason))
		o.raw("deliveryattempts", strconv.AppendInt(nil, int64(d.Attempts), 10))
		o.text("lastdeliveryoutcome", string(d.Outcome))
		o.time("publishtime", d.Published)
		if !d.Tried.IsZero() {
			o.time("lastdeliveryattempttime", d.Tried)
		}
	}
	o.raw("data", a.Data)
	o.end()
	return nil
}

// webhookBody is what ACR's webhooks tell of e: its data alone, without what
// only Event Grid tells.
func webhookBody(e Event, tags bool) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(e.Data))
	decoder.DisallowUnknownFields()
	var d RegistryData
	if decoder.Decode(&d) != nil || d.Action == "" {
		return e.Data, nil // not a registry's
	}
	d.Location, d.Actor = "", nil
	if d.Target != nil && !tags {
		d.Target.Tags = nil
	}
	return plainJSON(d)
}

// An object is JSON that is being written: objects, and what is around them.
type object []byte

// newObject has room for events.
func newObject(events []Attempted) object {
	size := 2
	for i := range events {
		size += weight(&events[i].Event) + len(events[i].Extensions)
	}
	return make(object, 0, size)
}

func (o *object) begin() { *o = append(*o, '{') }
func (o *object) end()   { *o = append(*o, '}') }

func (o *object) key(name string) {
	if last := (*o)[len(*o)-1]; last != '{' {
		*o = append(*o, ',')
	}
	o.quote(name)
	*o = append(*o, ':')
}

func (o *object) time(name string, t time.Time) {
	o.key(name)
	*o = append(*o, '"')
	*o = t.UTC().AppendFormat(*o, timeLayout)
	*o = append(*o, '"')
}

func (o *object) text(name, value string) {
	o.key(name)
	o.quote(value)
}

func (o *object) raw(name string, value []byte) {
	if len(value) == 0 {
		value = []byte("{}")
	}
	o.key(name)
	*o = append(*o, value...)
}

func (o *object) quote(s string) {
	if plain(s) {
		*o = append(*o, '"')
		*o = append(*o, s...)
		*o = append(*o, '"')
		return
	}
	b, _ := plainJSON(s) // a string is never refused
	*o = append(*o, b...)
}

// plain says that s is itself in JSON.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// extensions adds the members of an object.
func (o *object) extensions(b json.RawMessage) error {
	if len(b) == 0 {
		return nil
	}
	inside, ok := bytes.CutPrefix(bytes.TrimSpace(b), []byte{'{'})
	if !ok || !json.Valid(b) {
		return errors.New("encode event: its extensions are not a JSON object")
	}
	if inside = bytes.TrimSpace(bytes.TrimSuffix(inside, []byte{'}'})); len(inside) > 0 {
		*o = append(append(*o, ','), inside...)
	}
	return nil
}

// plainJSON is v without escapes that only HTML needs.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), err
}
