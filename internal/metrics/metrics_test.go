package metrics

import (
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"acrd/runner"
	"acrd/steps"
)

// shown is what Prometheus gets.
func shown(t *testing.T, m *Metrics) string {
	t.Helper()
	s := httptest.NewServer(m.Handler())
	defer s.Close()
	resp, err := s.Client().Get(s.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestMetrics(t *testing.T) {
	m := New("v1")
	m.Gauge("acrd_queue_length", "Runs in the queue.", func() float64 { return 7 })
	o := m.Observer()
	began := time.Now()
	run := &runner.Run{ID: "canary-id", Request: runner.Request{Cause: &runner.Cause{Timer: &runner.TimerCause{Name: "canary-timer"}}}, Created: began.Add(-3 * time.Second), Started: began}
	o.Queued(run)
	ctx, ended := o.Run(t.Context(), run)
	build := &steps.Step{ID: "canary-step", Do: &steps.Build{}}
	_, stepEnded := o.Step(ctx, run, build)
	stepEnded(&steps.Result{Images: []*steps.Image{{Parts: 5, Cached: 3}}, Pushed: []*steps.Pushed{{}, {}}}, nil)
	_, stepEnded = o.Step(ctx, run, &steps.Step{Do: &steps.Cmd{}})
	stepEnded(nil, errors.New("canary-error"))
	if text := shown(t, m); !strings.Contains(text, "acrd_runs_running 1\n") {
		t.Errorf("a run is in progress:\n%s", text)
	}
	run.Status, run.Finished = runner.Failed, began.Add(42*time.Second)
	ended(run)
	m.Delivery("webhook", nil)
	m.Delivery("webhook", errors.New("no answer"))
	m.Notice("harbor", "confirmed")
	o.Lease(runner.LeaseTaken)
	text := shown(t, m)
	for _, want := range []string{
		`acrd_build_info{version="v1"} 1`,
		`acrd_runs_queued_total{trigger="timer"} 1`,
		"acrd_runs_running 0",
		"acrd_run_queue_wait_seconds_sum 3",
		`acrd_run_duration_seconds_sum{status="Failed",trigger="timer"} 42`,
		`acrd_step_duration_seconds_count{kind="build",result="succeeded"} 1`,
		`acrd_step_duration_seconds_count{kind="cmd",result="failed"} 1`,
		`acrd_build_instructions_total{cached="true"} 3`,
		`acrd_build_instructions_total{cached="false"} 2`,
		"acrd_images_pushed_total 2",
		`acrd_event_deliveries_total{result="failed",sink="webhook"} 1`,
		`acrd_notices_total{kind="harbor",outcome="confirmed"} 1`,
		`acrd_leases_total{event="taken"} 1`,
		"acrd_queue_length 7",
		"go_goroutines", "process_resident_memory_bytes",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if strings.Contains(text, "canary") {
		t.Error("a name of the user's is in the metrics")
	}
}

func TestTrigger(t *testing.T) {
	source := func(event string) *runner.Cause {
		return &runner.Cause{Source: &runner.SourceCause{EventType: event}}
	}
	for want, cause := range map[string]*runner.Cause{
		"manual": nil, "timer": {Timer: &runner.TimerCause{}}, "image": {Image: &runner.ImageCause{}},
		"commit": source("commit"), "pullrequest": source("pullrequest"),
	} {
		if got := trigger(&runner.Run{Request: runner.Request{Cause: cause}}); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
