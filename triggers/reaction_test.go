package triggers

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acrd/eventing"
	"acrd/runner"

	"github.com/google/go-cmp/cmp"
)

// Run makes a desk what a Reaction asks about runs.
func (d *desk) Run(_ context.Context, id string) (*runner.Run, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.runs {
		if r.id == id {
			return &runner.Run{ID: id, Request: r.req}, nil
		}
	}
	return nil, runner.ErrNotFound
}

func (d *desk) reaction(task string) *Reaction {
	return &Reaction{Task: task, Intents: d, Tasks: d, Runs: d}
}

// pushed is the event of a chart that a run has pushed, or nobody that we know.
func pushed(id, run string) eventing.Delivery {
	data, _ := json.Marshal(map[string]any{
		"target": map[string]string{"repository": "charts/web", "tag": "web-1.2.0.tgz", "digest": "sha256:aa", "name": "web", "version": "1.2.0"},
		"actor":  map[string]string{"name": strings.TrimSpace("run " + run)},
	})
	return eventing.Delivery{Events: []eventing.Attempted{{Event: eventing.Event{ID: id, Type: eventing.ChartPushed, Subject: "web:1.2.0", Data: data}}}}
}

func TestReaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(NewGraph(nil, nil), "deploy")
		d.tasks["deploy"].Step = runner.TaskStep{Type: runner.EncodedTaskStep, Values: []runner.Argument{{Name: "env", Value: "test"}, {Name: "eventVersion", Value: "none"}}}
		d.serve(t, 1)
		for range 3 { // a delivery is repeated when its answer was lost
			if _, err := d.reaction("deploy").Deliver(t.Context(), pushed("1", "")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
		}
		if diff := cmp.Diff([]string{"deploy"}, d.started()); diff != "" {
			t.Fatal(diff)
		}
		req := d.runs[0].req
		want := map[string]string{
			"env": "test", "eventId": "1", "eventType": eventing.ChartPushed, "eventSubject": "web:1.2.0", "eventRepository": "charts/web",
			"eventTag": "web-1.2.0.tgz", "eventDigest": "sha256:aa", "eventName": "web", "eventVersion": "1.2.0",
		}
		if diff := cmp.Diff(want, req.Values); diff != "" || req.Reason != "event ChartPushed web:1.2.0" || req.Cause.Trigger() != "Event" {
			t.Errorf("reason %q, trigger %s, values (-want +got):\n%s", req.Reason, req.Cause.Trigger(), diff)
		}
		foreign := []string{"eventDigest", "eventId", "eventName", "eventRepository", "eventSubject", "eventTag", "eventType", "eventVersion"}
		if diff := cmp.Diff(foreign, req.Foreign); diff != "" { // what a stranger says is one word
			t.Errorf("foreign values (-want +got):\n%s", diff)
		}
	})
}

// TestReactionsEnd: a and b react to what the other has pushed, and a to its
// own, too.
func TestReactionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(NewGraph(nil, nil), "a", "b")
		d.serve(t, 1)
		_, _ = d.reaction("a").Deliver(t.Context(), pushed("first", ""))
		for n := range 10 {
			time.Sleep(2 * time.Second)
			if len(d.started()) == n {
				break
			}
			for _, task := range []string{"a", "b"} {
				_, _ = d.reaction(task).Deliver(t.Context(), pushed("by "+d.runs[n].id, d.runs[n].id))
			}
			d.end(n)
		}
		if diff := cmp.Diff([]string{"a", "b"}, d.started()); diff != "" {
			t.Error(diff)
		}
		why := d.settled[wishID{"a", "event by r2"}].Why
		if !strings.Contains(why, "would never end (a -> b -> a)") {
			t.Errorf("a's reaction to b's push: %q", why)
		}
	})
}

func TestReactionRefuses(t *testing.T) {
	t.Parallel()
	d := newDesk(NewGraph(nil, nil), "off")
	d.tasks["off"].Status = runner.Disabled
	for task, want := range map[string]eventing.Outcome{"gone": eventing.NotFound, "off": eventing.Disabled} {
		_, err := d.reaction(task).Deliver(t.Context(), pushed("1", ""))
		failed, ok := errors.AsType[*eventing.DeliveryError](err)
		if !ok || failed.Outcome != want || len(d.open) != 0 {
			t.Errorf("%s: got %v and intents %v, want %s", task, err, d.open, want)
		}
	}
}
