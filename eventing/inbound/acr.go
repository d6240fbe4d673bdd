package inbound

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"acrd/eventing"
)

const acrPrefix = "Microsoft.ContainerRegistry."

// acrData is what ACR says of an image or a chart: the whole of its webhooks,
// and the data of its events.
type acrData struct {
	ID        string    `json:"id"`
	Timestamp time.Time `json:"timestamp"`
	Action    string    `json:"action"`
	Target    struct {
		MediaType  string `json:"mediaType"`
		Size       int64  `json:"size"`
		Digest     string `json:"digest"`
		Repository string `json:"repository"`
		Tag        string `json:"tag"`
		Name       string `json:"name"`
		Version    string `json:"version"`
	} `json:"target"`
	Request struct {
		Host string `json:"host"`
	} `json:"request"`
}

// parseACR reads a webhook of ACR. An image in quarantine is not pushed yet.
func parseACR(_ http.Header, body []byte) ([]Notice, error) { return acrNotices("", "", body) }

// acrNotices reads the data of an event, whose id and type may be unknown.
func acrNotices(id, eventType string, data []byte) ([]Notice, error) {
	var d acrData
	if err := decode(data, &d); err != nil {
		return nil, err
	}
	if id == "" {
		id = d.ID
	}
	n := Notice{
		ID: id, Host: d.Request.Host, Repository: d.Target.Repository, Tag: d.Target.Tag, Digest: d.Target.Digest,
		MediaType: d.Target.MediaType, Size: d.Target.Size, Time: d.Timestamp,
	}
	switch cmp.Or(acrActions()[eventType], d.Action) {
	case "push":
		n.Action = Push
	case "delete":
		n.Action, n.Tag = Delete, ""
	case "untag":
		n.Action = Untag
	case "chart_push":
		n.Action = Push
		n.chart(d)
	case "chart_delete":
		n.Action = Untag
		n.chart(d)
	default:
		return nil, nil
	}
	return []Notice{n}, nil
}

// acrActions are the actions of events by their types.
func acrActions() map[string]string {
	return map[string]string{
		eventing.ImagePushed: "push", eventing.ImageDeleted: "delete", eventing.ImageUntagged: "untag",
		eventing.ChartPushed: "chart_push", eventing.ChartDeleted: "chart_delete",
	}
}

// chart makes of what ACR says of a chart what a registry knows: ACR's tag is
// the name of a file, and its digest that of the package.
func (n *Notice) chart(d acrData) {
	n.Chart = &Chart{Name: d.Target.Name, Version: d.Target.Version, Digest: d.Target.Digest, Size: d.Target.Size}
	n.Tag, n.Digest, n.MediaType, n.Size = strings.ReplaceAll(d.Target.Version, "+", "_"), "", "", 0
}

// gridEvent is an event in Event Grid's own schema.
type gridEvent struct {
	ID        string          `json:"id"`
	EventType string          `json:"eventType"`
	Data      json.RawMessage `json:"data"`
}

// parseEventGrid reads events of ACR, or of another acrd, in Event Grid's
// schema or as CloudEvents.
func parseEventGrid(h http.Header, body []byte) ([]Notice, error) {
	if !isArray(body) || strings.Contains(h.Get("Content-Type"), "cloudevents") {
		return parseCloudEvents(h, body)
	}
	var events []gridEvent
	if err := decode(body, &events); err != nil {
		return nil, err
	}
	var all []Notice
	for _, e := range events {
		if _, ok := acrActions()[e.EventType]; !ok {
			continue
		}
		some, err := acrNotices(e.ID, e.EventType, e.Data)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

func isArray(body []byte) bool {
	return strings.HasPrefix(strings.TrimLeft(string(body[:min(len(body), 64)]), " \t\r\n"), "[")
}
