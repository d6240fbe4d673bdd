package runner

import (
	"cmp"
	"encoding/json"

	"acrd/eventing"
)

// RunFinished stands for how a run has ended: [NewRunEvent] makes
// [eventing.RunSucceeded] or [eventing.RunFailed] of it.
const RunFinished = "finished"

// NewRunEvent is an event about r as it is now, of one of the types of package
// eventing or [RunFinished]. What it says of r anybody may read.
func NewRunEvent(what string, r *Run) eventing.Event {
	if what == RunFinished {
		what = eventing.RunFailed
		if r.Status == Succeeded {
			what = eventing.RunSucceeded
		}
	}
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
		Log        string  `json:"logLink,omitempty"`
	}{r.ID, r.Type, r.Request.Task, r.Status, r.Attempt, r.Err, r.FailedStep, r.ExitCode, pushedImages(r), r.LogURL})
	return eventing.Event{ID: eventing.NewID(), Type: what, Subject: r.ID, Key: cmp.Or(r.Request.Task, r.ID), Time: r.Updated, Data: data}
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
