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
	m.Trigger = func(r *runner.Run) string { return strings.ToLower(string(r.Type)) }
	m.Gauge("acrd_queue_length", "Runs in the queue.", func() float64 { return 7 })
	o := m.Observer()
	began := time.Now()
	run := &runner.Run{ID: "canary-id", Type: runner.QuickBuild, Created: began.Add(-3 * time.Second), Started: began}
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
	m.Lease("taken")
	text := shown(t, m)
	for _, want := range []string{
		`acrd_build_info{version="v1"} 1`,
		`acrd_runs_queued_total{trigger="quickbuild"} 1`,
		"acrd_runs_running 0",
		"acrd_run_queue_wait_seconds_sum 3",
		`acrd_run_duration_seconds_sum{status="Failed",trigger="quickbuild"} 42`,
		`acrd_step_duration_seconds_count{kind="build",result="succeeded"} 1`,
		`acrd_step_duration_seconds_count{kind="cmd",result="failed"} 1`,
		`acrd_build_instructions_total{cached="true"} 3`,
		`acrd_build_instructions_total{cached="false"} 2`,
		"acrd_images_pushed_total 2",
		`acrd_event_deliveries_total{result="failed",sink="webhook"} 1`,
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

// TestTrigger: without a word for it, a person asked.
func TestTrigger(t *testing.T) {
	m := New("v1")
	m.Observer().Queued(&runner.Run{})
	if !strings.Contains(shown(t, m), `acrd_runs_queued_total{trigger="manual"} 1`) {
		t.Error("not manual")
	}
}
