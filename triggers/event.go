package triggers

import (
	"encoding/json"
	"time"

	"acrd/eventing"
)

// NewEvent is an event about an intent. What it says anybody may read: neither
// the source nor what else could hold a credential is in it.
func NewEvent(what string, in Intent, d Decision, at time.Time) eventing.Event {
	data, _ := json.Marshal(struct { // cannot fail: only plain values
		Task   string `json:"task"`
		Kind   Kind   `json:"kind"`
		Key    string `json:"key"`
		Reason string `json:"reason,omitempty"`
		Commit string `json:"commit,omitempty"`
		Run    string `json:"runId,omitempty"`
		Why    string `json:"why,omitempty"`
	}{in.Task, in.Kind, in.Key, in.Reason, in.Commit, d.Run, d.Why})
	return eventing.Event{ID: eventing.NewID(), Type: what, Subject: in.Task, Time: at, Data: data}
}
