// Package metrics counts what the daemon does, for Prometheus.
//
// Labels have few values: a status, a trigger, a kind of step. Names of tasks,
// steps and images are in none, so that neither secrets nor a million series
// get in.
package metrics

import (
	"context"
	"net/http"
	"time"

	"acrd/runner"
	"acrd/steps"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the daemon's. They are safe for concurrent use.
type Metrics struct {
	registry   *prometheus.Registry
	queued     *prometheus.CounterVec
	running    prometheus.Gauge
	wait       prometheus.Histogram
	run        *prometheus.HistogramVec
	step       *prometheus.HistogramVec
	parts      *prometheus.CounterVec
	pushed     prometheus.Counter
	deliveries *prometheus.CounterVec
	notices    *prometheus.CounterVec
	leases     *prometheus.CounterVec
}

// Bounds of histograms in seconds: a run waits for milliseconds on an idle
// daemon, and may last eight hours.
var (
	waits     = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600}
	durations = []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 28800}
)

// New makes metrics that are all zero.
func New(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.queued = counters("acrd_runs_queued_total", "Runs that were queued.", "trigger")
	m.running = prometheus.NewGauge(prometheus.GaugeOpts{Name: "acrd_runs_running", Help: "Runs in progress here."})
	m.wait = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "acrd_run_queue_wait_seconds", Help: "Time from queueing a run to its start.", Buckets: waits})
	m.run = histograms("acrd_run_duration_seconds", "Time from a run's start to its end.", "status", "trigger")
	m.step = histograms("acrd_step_duration_seconds", "Time that steps took, with their delays and retries.", "kind", "result")
	m.parts = counters("acrd_build_instructions_total", "Instructions of successful builds, by whether the cache had them.", "cached")
	m.pushed = prometheus.NewCounter(prometheus.CounterOpts{Name: "acrd_images_pushed_total", Help: "Images that runs have pushed."})
	m.deliveries = counters("acrd_event_deliveries_total", "Attempts to deliver events.", "sink", "result")
	m.notices = counters("acrd_notices_total", "Notices of other registries, by what became of them.", "kind", "outcome")
	m.leases = counters("acrd_leases_total", "What became of leases on runs: taken, lost to another daemon, or settled for one that died.", "event")
	about := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "acrd_build_info", Help: "1, with what this daemon is."}, []string{"version"})
	about.WithLabelValues(version).Set(1)
	m.registry.MustRegister(m.queued, m.running, m.wait, m.run, m.step, m.parts, m.pushed, m.deliveries, m.notices, m.leases, about,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func histograms(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: durations}, labels)
}

// Handler answers Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// Gauge adds a figure that is asked for whenever Prometheus asks. It must
// answer at once.
func (m *Metrics) Gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}

// Delivery counts an attempt to deliver an event to a kind of sink.
func (m *Metrics) Delivery(sink string, err error) {
	m.deliveries.WithLabelValues(sink, result(err)).Inc()
}

// Notice counts what became of a notice of another registry.
func (m *Metrics) Notice(kind, outcome string) { m.notices.WithLabelValues(kind, outcome).Inc() }

// Observer counts runs and steps.
func (m *Metrics) Observer() runner.Observer {
	return runner.Observer{
		Lease:  func(event string) { m.leases.WithLabelValues(event).Inc() },
		Queued: func(r *runner.Run) { m.queued.WithLabelValues(trigger(r)).Inc() },
		Run: func(ctx context.Context, r *runner.Run) (context.Context, func(*runner.Run)) {
			m.wait.Observe(r.Started.Sub(r.Created).Seconds())
			m.running.Inc()
			return ctx, func(r *runner.Run) {
				m.running.Dec()
				m.run.WithLabelValues(string(r.Status), trigger(r)).Observe(r.Finished.Sub(r.Started).Seconds())
			}
		},
		Step: func(ctx context.Context, _ *runner.Run, s *steps.Step) (context.Context, func(*steps.Result, error)) {
			began := time.Now()
			return ctx, func(r *steps.Result, err error) {
				m.step.WithLabelValues(runner.Kind(s), result(err)).Observe(time.Since(began).Seconds())
				m.results(r)
			}
		},
	}
}

func (m *Metrics) results(r *steps.Result) {
	if r == nil {
		return
	}
	for _, i := range r.Images {
		m.parts.WithLabelValues("true").Add(float64(i.Cached))
		m.parts.WithLabelValues("false").Add(float64(i.Parts - i.Cached))
	}
	m.pushed.Add(float64(len(r.Pushed)))
}

// trigger is why there is a run, in one of few words.
func trigger(r *runner.Run) string {
	switch c := r.Request.Cause; {
	case c == nil:
	case c.Timer != nil:
		return "timer"
	case c.Image != nil:
		return "image"
	case c.Source != nil && c.Source.EventType == "pullrequest":
		return "pullrequest"
	case c.Source != nil:
		return "commit"
	}
	return "manual"
}

func result(err error) string {
	if err != nil {
		return "failed"
	}
	return "succeeded"
}
