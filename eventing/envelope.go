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
	body = []byte{'['}
	for i, a := range d.Events {
		one, err := Encode(d, a)
		if err != nil {
			return nil, "", err
		}
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, one...)
	}
	body = append(body, ']')
	if d.Schema == CloudEvents10 {
		return body, CloudEventBatchType, nil
	}
	return body, EventGridType, nil
}

// Encode is one event of d as a JSON object.
func Encode(d Delivery, a Attempted) ([]byte, error) {
	switch d.Schema {
	case CloudEvents10:
		return encodeCloudEvent(d.Registry, a)
	case WebhookSchema:
		return webhookBody(a.Event, d.Tags)
	}
	return encodeEventGrid(d.Registry, a), nil
}

func encodeEventGrid(registry string, a Attempted) []byte {
	o := newObject(a.Event)
	o.text("id", a.ID)
	o.text("topic", Topic(registry, a.Topic))
	o.text("subject", a.Subject)
	o.text("eventType", a.Type)
	o.text("eventTime", azureTime(a.Time))
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
		o.text("publishTime", azureTime(d.Published))
		if !d.Tried.IsZero() {
			o.text("lastDeliveryAttemptTime", azureTime(d.Tried))
		}
	}
	return o.end()
}

func encodeCloudEvent(registry string, a Attempted) ([]byte, error) {
	o := newObject(a.Event)
	o.text("id", a.ID)
	o.text("source", Topic(registry, a.Topic))
	o.text("subject", a.Subject)
	o.text("type", a.Type)
	o.text("time", azureTime(a.Time))
	o.text("specversion", "1.0")
	if err := o.extensions(a.Extensions); err != nil {
		return nil, err
	}
	if d := a.Dead; d != nil {
		o.text("deadletterreason", string(d.Reason))
		o.raw("deliveryattempts", strconv.AppendInt(nil, int64(d.Attempts), 10))
		o.text("lastdeliveryoutcome", string(d.Outcome))
		o.text("publishtime", azureTime(d.Published))
		if !d.Tried.IsZero() {
			o.text("lastdeliveryattempttime", azureTime(d.Tried))
		}
	}
	o.raw("data", a.Data)
	return o.end(), nil
}

func azureTime(t time.Time) string { return t.UTC().Format(timeLayout) }

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

// An object is a JSON object that is being written.
type object []byte

func newObject(e Event) *object {
	o := make(object, 0, 512+len(e.Data))
	o = append(o, '{')
	return &o
}

func (o *object) key(name string) {
	if len(*o) > 1 {
		*o = append(*o, ',')
	}
	o.quote(name)
	*o = append(*o, ':')
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

func (o *object) end() []byte { return append(*o, '}') }

// plainJSON is v without escapes that only HTML needs.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), err
}
