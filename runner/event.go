package runner

import (
	"crypto/rand"
	"encoding/json"
	"time"
)

// An Event tells others of a change. A store writes it in the transaction of
// the change itself, so that there is never one without the other.
type Event struct {
	// ID tells a receiver that it has had this event already.
	ID   string
	Type string
	// Subject is what has changed: a run's id.
	Subject string
	Time    time.Time
	Data    json.RawMessage
}

// The types of events about runs.
const (
	RunQueued   = "run.queued"
	RunStarted  = "run.started"
	RunRequeued = "run.requeued"
	RunFinished = "run.finished"
)

// NewRunEvent is an event about r as it is now. What it says of r anybody may
// read.
func NewRunEvent(what string, r *Run) Event {
	data, _ := json.Marshal(struct { // cannot fail: only plain values
		Run        string  `json:"runId"`
		Type       Type    `json:"runType"`
		Task       string  `json:"task,omitempty"`
		Status     Status  `json:"status"`
		Attempt    int     `json:"attempt,omitempty"`
		Err        string  `json:"runErrorMessage,omitempty"`
		FailedStep string  `json:"failedStep,omitempty"`
		ExitCode   *int    `json:"exitCode,omitempty"`
		Images     []image `json:"outputImages,omitempty"`
	}{r.ID, r.Type, r.Request.Task, r.Status, r.Attempt, r.Err, r.FailedStep, r.ExitCode, pushedImages(r)})
	return Event{ID: rand.Text(), Type: what, Subject: r.ID, Time: r.Updated, Data: data}
}

type image struct {
	Ref    string `json:"ref"`
	Digest string `json:"digest"`
}

func pushedImages(r *Run) []image {
	var all []image
	for _, p := range r.Pushed {
		all = append(all, image{p.Ref, p.Digest})
	}
	return all
}
