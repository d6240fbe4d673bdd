package eventing

import (
	"cmp"
	"time"
)

// RegistryData is what an event of a registry says: the data of Event Grid's
// events, and the whole body of ACR's webhooks.
type RegistryData struct {
	ID        string `json:"id"`
	Timestamp string `json:"timestamp"`
	Action    string `json:"action"`
	// Location is Event Grid's; ACR's webhooks do not have it.
	Location string        `json:"location,omitempty"`
	Target   *Target       `json:"target,omitempty"`
	Request  *Request      `json:"request,omitempty"`
	Actor    *Actor        `json:"actor,omitempty"`
	Source   *SourceRecord `json:"source,omitempty"`
	// Connected and ConnectedLower are the same: Azure's documents spell the
	// key in one way, and its SDKs in the other.
	Connected      *Connected `json:"connectedRegistry,omitempty"`
	ConnectedLower *Connected `json:"connectedregistry,omitempty"`
}

// A Target is what was pushed or deleted. Of a chart, Size and Digest are
// those of its package.
type Target struct {
	MediaType  string `json:"mediaType,omitempty"`
	Size       int64  `json:"size,omitempty"`
	Digest     string `json:"digest,omitempty"`
	Length     int64  `json:"length,omitempty"`
	Repository string `json:"repository"`
	URL        string `json:"url,omitempty"`
	Tag        string `json:"tag,omitempty"`
	Name       string `json:"name,omitempty"`    // of a chart
	Version    string `json:"version,omitempty"` // of a chart
	// Tags are those that a deleted manifest had. ACR does not tell them.
	Tags []string `json:"tags,omitempty"`
}

// A Request is what a client asked of the registry.
type Request struct {
	ID        string `json:"id"`
	Addr      string `json:"addr,omitempty"`
	Host      string `json:"host"`
	Method    string `json:"method"`
	UserAgent string `json:"useragent,omitempty"`
}

// An Actor is who asked.
type Actor struct {
	Name string `json:"name"`
}

// A SourceRecord is the instance of a registry that was asked.
type SourceRecord struct {
	Addr       string `json:"addr,omitempty"`
	InstanceID string `json:"instanceID,omitempty"`
}

// Connected names the registry, other than the one that tells, where it
// happened.
type Connected struct {
	Name string `json:"name"`
}

// ChartMediaType is what events call a chart.
const ChartMediaType = "application/vnd.acr.helm.chart"

// The layouts of the times that Azure tells.
const (
	timeLayout      = "2006-01-02T15:04:05.0000000Z"      // of an envelope
	imageTimeLayout = "2006-01-02T15:04:05.000000000Z"    // in the data
	chartTimeLayout = "2006-01-02T15:04:05.0000000-07:00" // in the data
)

// An Origin is where an event of a registry comes from.
type Origin struct {
	// ID is the event's; empty makes one.
	ID       string
	Location string
	// Connected is the name of another registry, empty for this one.
	Connected string
	Request   *Request
	// Actor is who asked, empty if that is not known: "run ca1".
	Actor string
}

// NewRegistryEvent is an event of one of the types of a registry about t. Of
// t, what the type does not tell is left out.
func NewRegistryEvent(eventType string, at time.Time, t Target, o Origin) Event {
	at = at.UTC()
	e := Event{ID: cmp.Or(o.ID, NewID()), Type: eventType, Subject: t.Repository, Key: t.Repository, Time: at}
	d := RegistryData{ID: e.ID, Timestamp: at.Format(imageTimeLayout), Action: hookAction(eventType), Location: o.Location, Target: &t, Request: o.Request}
	switch eventType {
	case ImagePushed:
		e.Subject += ":" + t.Tag
		t.Length = t.Size
	case ImageQuarantined:
		e.Subject += ":" + t.Tag
		t.MediaType, t.Length = "", t.Size
		d.Timestamp = at.Format(timeLayout)
		if o.Request != nil {
			d.Request = &Request{ID: o.Request.ID, Host: o.Request.Host, Method: o.Request.Method}
		}
	case ImageUntagged:
		e.Subject += ":" + t.Tag
		t.Size, t.Length = 0, 0
	case ImageDeleted:
		t.Size, t.Length, t.Tag = 0, 0, ""
	case ChartPushed, ChartDeleted:
		e.Subject += ":" + t.Version
		t.MediaType, t.Tag, t.Length = ChartMediaType, t.Name+"-"+t.Version+".tgz", 0
		d.Timestamp, d.Request = at.Format(chartTimeLayout), nil
	}
	if o.Actor != "" {
		d.Actor = &Actor{o.Actor}
	}
	if o.Connected != "" {
		e.Topic, e.DataVersion = ConnectedTopics+o.Connected, "2.0"
		d.Connected = &Connected{o.Connected}
		d.ConnectedLower, d.Request = d.Connected, nil
	}
	e.Data, _ = plainJSON(d) // cannot fail: only plain values
	return e
}
