package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"acrd/eventing"
	"acrd/runner"
)

// PublishPath is where events are published, as on an Event Grid topic.
const PublishPath = "/api/events"

// A Publisher takes in events that somebody has made by hand, in Event Grid's
// schema or as CloudEvents. Mount it behind Gate.Publish.
//
// Events of the types of Azure and of acrd are for acrd itself and its owner:
// with an ordinary token nobody can make a subscriber believe that an image
// was pushed.
type Publisher struct {
	Events PublishedEvents
	// Registry is our resource id, the topic of what is published in Event
	// Grid's schema.
	Registry string
	Log      *slog.Logger // nil discards
}

// PublishedEvents is the outbox. internal/store implements it.
type PublishedEvents interface {
	// PublishEvents writes all of them or none. One that was written before
	// is not written again. It is a *TakenError if an id belongs to another
	// event.
	PublishEvents(ctx context.Context, events ...eventing.Event) error
}

// A TakenError says that the event at an index has the id of another one.
type TakenError struct{ Index int }

func (e *TakenError) Error() string {
	return fmt.Sprintf("event %d has the id of another event", e.Index)
}

const (
	// maxPublished is Event Grid's limit for a request.
	maxPublished = 1 << 20
	// mostPublished is Event Grid's limit of events in one.
	mostPublished = 5000
	// longestID, and longestText for types, subjects and sources.
	longestID, longestText = 256, 1024
)

// routes are what it serves.
func (p *Publisher) routes() []route { return []route{{"POST", PublishPath, p.publish}} }

// ServeHTTP implements http.Handler.
func (p *Publisher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "Events are published with POST.")
		return
	}
	if err := p.publish(w, r); err != nil {
		(&Server{Log: p.Log}).fail(w, r, err)
	}
}

func (p *Publisher) publish(w http.ResponseWriter, r *http.Request) error {
	sent := hurry(w)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPublished))
	sent()
	if err != nil {
		return err
	}
	if !utf8.Valid(body) { // data goes to subscribers as it came
		return runner.Faults{{Code: "InvalidRequestContent", Target: "body", Message: "The body is not UTF-8."}}
	}
	events, err := p.read(r, body)
	if err != nil {
		return err
	}
	err = p.Events.PublishEvents(r.Context(), events...)
	if taken, ok := errors.AsType[*TakenError](err); ok {
		return runner.Faults{{Code: "Conflict", Target: fmt.Sprintf("[%d].id", taken.Index), Message: "Another event has this id."}}
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// read finds the events of a body, and everything that is wrong with them.
func (p *Publisher) read(r *http.Request, body []byte) ([]eventing.Event, error) {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // then it is Event Grid's
	var raw []json.RawMessage
	cloud := strings.HasPrefix(media, "application/cloudevents")
	switch {
	case r.Header.Get("Ce-Specversion") != "":
		one, err := fromHeaders(r.Header, body)
		if err != nil {
			return nil, err
		}
		cloud, raw = true, []json.RawMessage{one}
	case media == "application/cloudevents+json":
		raw = []json.RawMessage{body}
	default:
		if err := json.Unmarshal(body, &raw); err != nil {
			return nil, runner.Faults{{Code: "InvalidRequestContent", Target: "body", Message: "The body is not a JSON array of events."}}
		}
	}
	if len(raw) == 0 || len(raw) > mostPublished {
		return nil, runner.Faults{{Code: "InvalidRequestContent", Target: "body", Message: fmt.Sprintf("There are %d events: 1 to %d are taken at a time.", len(raw), mostPublished)}}
	}
	var events []eventing.Event
	c := &publishCheck{registry: p.Registry, owner: owns(r.Context())}
	for i, one := range raw {
		c.at = fmt.Sprintf("[%d]", i)
		if cloud {
			events = append(events, c.cloudEvent(one))
		} else {
			events = append(events, c.gridEvent(one))
		}
	}
	if len(c.faults) > 0 {
		return nil, c.faults
	}
	if c.reserved != "" {
		return nil, &forbiddenError{c.reserved}
	}
	return events, nil
}

// A publishCheck collects what is wrong with events.
type publishCheck struct {
	registry string
	owner    bool
	at       string // the event that is looked at
	faults   runner.Faults
	reserved string // what the owner alone may say
}

// mostFaults is how many are told: whoever has one in each of 5000 events
// knows after ten.
const mostFaults = 10

func (c *publishCheck) fault(field, message string) {
	if len(c.faults) < mostFaults {
		c.faults = append(c.faults, runner.Fault{Code: "InvalidEvent", Target: c.at + field, Message: message})
	}
}

// text checks a field that has to be there.
func (c *publishCheck) text(field, value string, longest int) {
	switch {
	case value == "":
		c.fault("."+field, "It is missing.")
	case len(value) > longest:
		c.fault("."+field, fmt.Sprintf("It is longer than %d bytes.", longest))
	case strings.ContainsFunc(value, unicode.IsControl): // some of them are headers of deliveries
		c.fault("."+field, "It has control characters.")
	}
}

// when reads a time; one that may be missing is now.
func (c *publishCheck) when(field, value string, needed bool) time.Time {
	if value == "" && !needed {
		return time.Now().UTC()
	}
	at, err := time.Parse(time.RFC3339Nano, value)
	at = at.UTC()
	if err != nil || at.Year() < 1 || at.Year() > 9999 { // which a zone can make of a year that is none
		c.fault("."+field, "It is not a time as 2006-01-02T15:04:05Z.")
		return time.Time{}
	}
	return at
}

// allowed checks that whoever publishes may use the type and the source.
func (c *publishCheck) allowed(eventType, source string) {
	lower := folded(eventType)
	if !c.owner && (strings.HasPrefix(lower, "microsoft.") || strings.HasPrefix(lower, "acrd.")) {
		c.reserved = c.at + ".type: events of the type " + eventType + " are acrd's own: its owner alone may publish them"
	}
	place := folded(source) + "/"
	if !c.owner && source != "" && (strings.HasPrefix(place, "/connectedregistries/") || strings.HasPrefix(place, folded(c.registry)+"/")) {
		c.reserved = c.at + ".source: " + source + " is this registry: its owner alone may publish in its name"
	}
}

// folded is a text in one case: texts that are equal without case, as
// subscriptions compare types, are equal then. ToLower alone leaves the long s,
// which is an S to them.
func folded(s string) string { return strings.ToLower(strings.ToUpper(s)) }

func (c *publishCheck) decode(raw json.RawMessage, into any) {
	err := json.Unmarshal(raw, into)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		c.fault("."+wrong.Field, fmt.Sprintf("A %s cannot be here.", wrong.Value))
	} else if err != nil {
		c.fault("", "It is not an event.")
	}
}

// gridEvent reads one in Event Grid's schema. Its topic is ours to say.
func (c *publishCheck) gridEvent(raw json.RawMessage) eventing.Event {
	var e struct {
		ID          string          `json:"id"`
		Topic       string          `json:"topic"`
		Subject     string          `json:"subject"`
		EventType   string          `json:"eventType"`
		EventTime   string          `json:"eventTime"`
		Data        json.RawMessage `json:"data"`
		DataVersion string          `json:"dataVersion"`
		Metadata    string          `json:"metadataVersion"`
	}
	c.decode(raw, &e)
	c.text("id", e.ID, longestID)
	c.text("subject", e.Subject, longestText)
	c.text("eventType", e.EventType, longestText)
	at := c.when("eventTime", e.EventTime, true)
	if e.Topic != "" && !strings.EqualFold(e.Topic, c.registry) {
		c.fault(".topic", "It is not this registry. Leave it out: it is filled in.")
	}
	if e.DataVersion != "" {
		c.text("dataVersion", e.DataVersion, longestID)
	}
	if e.Metadata != "" && e.Metadata != "1" {
		c.fault(".metadataVersion", "It is not 1. Leave it out: it is filled in.")
	}
	c.allowed(e.EventType, "")
	return eventing.Event{ID: e.ID, Type: e.EventType, Subject: e.Subject, Time: at, DataVersion: e.DataVersion, Data: orNull(e.Data)}
}

func orNull(data json.RawMessage) json.RawMessage {
	if len(data) == 0 {
		return json.RawMessage("null")
	}
	return data
}

// cloudEvent reads one of CloudEvents 1.0. What it comes from is for the
// publisher to say, unless that is this registry.
func (c *publishCheck) cloudEvent(raw json.RawMessage) eventing.Event {
	var e struct {
		SpecVersion string          `json:"specversion"`
		ID          string          `json:"id"`
		Source      string          `json:"source"`
		Type        string          `json:"type"`
		Subject     string          `json:"subject"`
		Time        string          `json:"time"`
		Content     string          `json:"datacontenttype"`
		Data        json.RawMessage `json:"data"`
		Base64      *string         `json:"data_base64"`
	}
	c.decode(raw, &e)
	if e.SpecVersion != "1.0" {
		c.fault(".specversion", "It is not 1.0.")
	}
	c.text("id", e.ID, longestID)
	c.text("source", e.Source, longestText)
	c.text("type", e.Type, longestText)
	if e.Subject != "" {
		c.text("subject", e.Subject, longestText)
	}
	if e.Base64 != nil || e.Content != "" && !strings.Contains(e.Content, "json") {
		c.fault(".data", "Data that is not JSON is not taken.")
	}
	c.allowed(e.Type, e.Source)
	return eventing.Event{
		ID: e.ID, Type: e.Type, Topic: c.topic(e.Source), Subject: e.Subject, Time: c.when("time", e.Time, false),
		Data: orNull(e.Data), Extensions: c.extensions(raw),
	}
}

// topic is the source of an event, below the registry if it is.
func (c *publishCheck) topic(source string) string {
	if len(source) < len(c.registry) || !strings.EqualFold(source[:len(c.registry)], c.registry) {
		return source
	}
	rest := source[len(c.registry):]
	if n := len(eventing.ConnectedTopics); len(rest) > n && strings.EqualFold(rest[:n], eventing.ConnectedTopics) {
		return eventing.ConnectedTopics + rest[n:]
	}
	if rest == "" {
		return ""
	}
	return source
}

// placed are the attributes that an Event has a place for.
var placed = []string{"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data", "data_base64"}

// extensions are the other attributes: their names are lower-case letters and
// digits, and their values no objects.
func (c *publishCheck) extensions(raw json.RawMessage) json.RawMessage {
	var all map[string]any
	if json.Unmarshal(raw, &all) != nil {
		return nil
	}
	for _, name := range placed {
		delete(all, name)
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
			c.fault("."+name, "The name of an attribute is lower-case letters and digits.")
		}
		switch all[name].(type) {
		case string, bool, float64:
		default:
			c.fault("."+name, "An attribute is a string, a number or a boolean.")
		}
	}
	if len(all) == 0 {
		return nil
	}
	out, _ := json.Marshal(all) // it was JSON
	return out
}

// fromHeaders makes a structured event of one in binary mode.
func fromHeaders(h http.Header, body []byte) (json.RawMessage, error) {
	e := map[string]any{}
	for name, values := range h {
		if attribute, ok := strings.CutPrefix(strings.ToLower(name), "ce-"); ok {
			e[attribute] = values[0]
		}
	}
	if body = bytes.TrimSpace(body); len(body) > 0 {
		if !json.Valid(body) {
			return nil, runner.Faults{{Code: "InvalidRequestContent", Target: "body", Message: "Data that is not JSON is not taken."}}
		}
		e["data"] = json.RawMessage(body)
	}
	return json.Marshal(e)
}

// Publish lets in who may publish events. Event Grid's clients send their key
// in a header of its own: it is a token.
func (g *Gate) Publish(next http.Handler) http.Handler {
	guarded := g.guard(next, func(*http.Request) Scope { return ScopePublish }, func(w http.ResponseWriter, _ *http.Request, status int, message string) {
		code := "Unauthorized"
		if status == http.StatusForbidden {
			code = "AuthorizationFailed"
		}
		refuse(w, status, code, message)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if key := r.Header.Get("Aeg-Sas-Key"); key != "" {
			r = r.Clone(r.Context())
			r.Header.Set("Authorization", "Bearer "+key)
			r.Header.Del("Aeg-Sas-Key")
		}
		guarded.ServeHTTP(w, r)
	})
}

// Publish publishes events: a body of that content type.
func (c *Client) Publish(ctx context.Context, contentType string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+PublishPath, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := c.http.Do(req)
	if err != nil {
		return unwrapURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return problem(resp)
	}
	return nil
}
