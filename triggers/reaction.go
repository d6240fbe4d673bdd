package triggers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"acrd/eventing"
	"acrd/runner"
)

// A Reaction is where the events of a subscription go whose destination is a
// task: each starts a run of it, once, however often it is delivered. It
// implements [eventing.Sink].
//
// A task is not started by what its own runs have pushed, nor by what came of
// that: it would never end.
type Reaction struct {
	Task    string
	Intents Intents
	Tasks   Tasks
	Runs    interface {
		// Run is runner.ErrNotFound if there is none.
		Run(ctx context.Context, id string) (*runner.Run, error)
	}
}

var _ eventing.Sink = (*Reaction)(nil)

// Deliver keeps an intent for each event.
func (r *Reaction) Deliver(ctx context.Context, d eventing.Delivery) (*eventing.Exchange, error) {
	t, err := r.Tasks.Task(ctx, r.Task)
	switch {
	case errors.Is(err, runner.ErrNotFound):
		return nil, &eventing.DeliveryError{Outcome: eventing.NotFound, Err: fmt.Errorf("there is no task %s", r.Task)}
	case err != nil:
		return nil, &eventing.DeliveryError{Outcome: eventing.Busy, Err: err}
	case !t.Status.Active():
		return nil, &eventing.DeliveryError{Outcome: eventing.Disabled, Err: fmt.Errorf("task %s is disabled", r.Task)}
	}
	var intents []Intent
	for _, e := range d.Events {
		in, err := r.intent(ctx, &e.Event)
		if err != nil {
			return nil, &eventing.DeliveryError{Outcome: eventing.Busy, Err: err}
		}
		intents = append(intents, in)
	}
	if _, err := r.Intents.Intend(ctx, intents...); err != nil {
		return nil, &eventing.DeliveryError{Outcome: eventing.Busy, Err: err}
	}
	return nil, nil
}

// Close does nothing.
func (r *Reaction) Close() error { return nil }

// told is what a reaction reads of an event of a registry.
type told struct {
	Target struct {
		Repository, Tag, Digest, Name, Version string
	}
	Actor struct{ Name string }
}

func (r *Reaction) intent(ctx context.Context, e *eventing.Event) (Intent, error) {
	var data told
	_ = json.Unmarshal(e.Data, &data) // another event has no such fields
	short := e.Type[strings.LastIndexByte(e.Type, '.')+1:]
	in := Intent{
		Task: r.Task, Kind: Event, Key: "event " + e.ID, At: time.Now(),
		Reason: fmt.Sprintf("event %s %s", short, e.Subject),
		Cause:  &runner.Cause{Event: &runner.EventCause{ID: e.ID, Type: e.Type, Subject: e.Subject, Time: e.Time}},
		Values: map[string]string{
			"eventId": e.ID, "eventType": e.Type, "eventSubject": e.Subject,
			"eventRepository": data.Target.Repository, "eventTag": data.Target.Tag, "eventDigest": data.Target.Digest,
			"eventName": data.Target.Name, "eventVersion": data.Target.Version,
		},
	}
	id, byRun := strings.CutPrefix(data.Actor.Name, "run ")
	if !byRun || e.Topic != "" {
		return in, nil
	}
	run, err := r.Runs.Run(ctx, id)
	if errors.Is(err, runner.ErrNotFound) {
		return in, nil
	}
	if err != nil {
		return in, err
	}
	in.Lineage = union(run.Request.Lineage, in.Lineage)
	if run.Request.Task != "" {
		in.Lineage = union(in.Lineage, []string{run.Request.Task})
	}
	return in, nil
}

// endless says why an event starts nothing: the task itself is what led to it.
func (in *Intent) endless() string {
	if in.Kind != Event || !slices.Contains(in.Lineage, in.Task) {
		return ""
	}
	return "skipped: the event came of this task's own run, so this would never end (" + strings.Join(append(slices.Clone(in.Lineage), in.Task), " -> ") + ")"
}
