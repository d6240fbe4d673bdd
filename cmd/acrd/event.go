package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"acrd/eventing"
)

func eventCommands() []command {
	return []command{
		{name: "publish", summary: "Publish an event that is made by hand, or a file of them", run: publishEvent},
	}
}

// A handMade event is what the flags of event publish say.
type handMade struct {
	id, kind, subject, source, data, dataFile, schema string
}

func publishEvent(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "event publish [FLAGS]", `Publish an event to whoever has subscribed to its type, or with --file a file
of events as it would be sent to an Event Grid topic: an array in Event Grid's
schema; or, in the schema of CloudEvents, one event or an array.

With a token that allows event-publish, types of acrd's own and of Azure
(Acrd.*, Microsoft.*) are refused: the owner alone may publish those.`)
	var e handMade
	fs.StringVar(&e.kind, "type", "", "type of the event, such as com.example.deployed")
	fs.StringVar(&e.subject, "subject", "", "what it is about")
	fs.StringVar(&e.data, "data", "", "its data, as JSON")
	fs.StringVar(&e.dataFile, "data-file", "", "file with its data; - is standard input")
	fs.StringVar(&e.id, "id", "", "its id (default: a new one)")
	fs.StringVar(&e.source, "source", "acrd", "where it comes from, in the schema of CloudEvents")
	fs.StringVar(&e.schema, "schema", string(eventing.EventGridSchema), "EventGridSchema or CloudEventSchemaV1_0")
	file := fs.StringP("file", "f", "", "file of whole events, in place of one made of flags; - is standard input")
	where := serverFlags(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	cloud := strings.EqualFold(e.schema, string(eventing.CloudEvents10)) || strings.EqualFold(e.schema, "cloudeventschemav1")
	if !cloud && !strings.EqualFold(e.schema, string(eventing.EventGridSchema)) {
		return &usageError{fmt.Sprintf("--schema %s: there are %s and %s", e.schema, eventing.EventGridSchema, eventing.CloudEvents10)}
	}
	if (*file == "") == (e.kind == "") {
		return &usageError{"either --type, for one event, or --file is needed: acrd event publish"}
	}
	body, err := readEvents(s, *file, e, cloud)
	if err != nil {
		return err
	}
	c, err := where.client()
	if err != nil {
		return err
	}
	return c.Publish(ctx, eventsType(body, cloud), body)
}

func eventsType(body []byte, cloud bool) string {
	switch {
	case !cloud:
		return "application/json; charset=utf-8"
	case strings.HasPrefix(strings.TrimLeft(string(body[:min(len(body), 64)]), " \t\r\n"), "["):
		return "application/cloudevents-batch+json; charset=utf-8"
	}
	return "application/cloudevents+json; charset=utf-8"
}

func readEvents(s *session, file string, e handMade, cloud bool) ([]byte, error) {
	if file != "" {
		return readInput(s, file)
	}
	var data json.RawMessage
	switch {
	case e.data != "" && e.dataFile != "":
		return nil, &usageError{"--data and --data-file are the same: give one"}
	case e.data != "":
		data = json.RawMessage(e.data)
	case e.dataFile != "":
		b, err := readInput(s, e.dataFile)
		if err != nil {
			return nil, err
		}
		data = b
	}
	if len(data) > 0 && !json.Valid(data) {
		return nil, &usageError{"the data is not JSON"}
	}
	return e.encode(data, cloud)
}

// encode makes the request that publishes one event.
func (e *handMade) encode(data json.RawMessage, cloud bool) ([]byte, error) {
	if e.id == "" {
		e.id = eventing.NewID()
	}
	at := time.Now().UTC()
	if cloud {
		return json.Marshal(struct {
			SpecVersion string          `json:"specversion"`
			ID          string          `json:"id"`
			Source      string          `json:"source"`
			Type        string          `json:"type"`
			Subject     string          `json:"subject,omitempty"`
			Time        time.Time       `json:"time"`
			Data        json.RawMessage `json:"data,omitempty"`
		}{"1.0", e.id, e.source, e.kind, e.subject, at, data})
	}
	type event struct {
		ID          string          `json:"id"`
		Subject     string          `json:"subject"`
		EventType   string          `json:"eventType"`
		EventTime   time.Time       `json:"eventTime"`
		Data        json.RawMessage `json:"data,omitempty"`
		DataVersion string          `json:"dataVersion"`
	}
	return json.Marshal([]event{{e.id, e.subject, e.kind, at, data, "1.0"}})
}

func readInput(s *session, file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(s.stdin)
	}
	return os.ReadFile(file)
}
