package traces

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"acrd/runner"
	"acrd/steps"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace/noop"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collect is a collector that keeps what it is told.
func collect(t *testing.T) (address string, spans func() map[string]string, raw func() string) {
	t.Helper()
	var mu sync.Mutex // guards what follows
	var bodies strings.Builder
	names := map[string]string{} // by span id
	parents := map[string]string{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(r.Body)
		}
		b, _ := io.ReadAll(body)
		var request collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(b, &request); err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		mu.Lock()
		defer mu.Unlock()
		bodies.Write(b)
		for _, rs := range request.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				for _, span := range ss.Spans {
					names[string(span.SpanId)], parents[string(span.SpanId)] = span.Name, string(span.ParentSpanId)
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(s.Close)
	return s.URL, func() map[string]string {
			mu.Lock()
			defer mu.Unlock()
			byName := map[string]string{}
			for id, name := range names {
				byName[name] = names[parents[id]]
			}
			return byName
		}, func() string {
			mu.Lock()
			defer mu.Unlock()
			return bodies.String()
		}
}

// TestTraces: steps are below their run, and nothing that a user keeps to
// himself is sent.
func TestTraces(t *testing.T) {
	address, spans, raw := collect(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
	t.Cleanup(func() { otel.SetTracerProvider(noop.NewTracerProvider()) })
	stop, err := Open(t.Context(), "acrd-test")
	if err != nil {
		t.Fatal(err)
	}
	o := Observer()
	run := &runner.Run{ID: "ca1", Type: runner.QuickBuild, Created: time.Now(), Started: time.Now()}
	ctx, ended := o.Run(t.Context(), run)
	for _, id := range []string{"build", "test"} {
		_, stepEnded := o.Step(ctx, run, &steps.Step{ID: id, Do: &steps.Build{}, Env: []string{"PW=canary"}})
		stepEnded(&steps.Result{Images: []*steps.Image{{Digest: "sha256:1"}}}, errors.New("canary"))
	}
	run.Status, run.Err = runner.Failed, "canary"
	ended(run)
	stop()
	want := map[string]string{"run quickbuild": "", "step build": "run quickbuild", "step test": "run quickbuild"}
	if diff := cmp.Diff(want, spans()); diff != "" {
		t.Error(diff)
	}
	if text := raw(); strings.Contains(text, "canary") || !strings.Contains(text, "acrd-test") || !strings.Contains(text, "sha256:1") {
		t.Errorf("sent: %q", text)
	}
}

// TestNoTraces: without an endpoint nothing is recorded, and with one that
// makes no sense the daemon says so.
func TestNoTraces(t *testing.T) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} {
		t.Setenv(name, "")
	}
	before := otel.GetTracerProvider()
	stop, err := Open(t.Context(), "acrd-test")
	if err != nil || otel.GetTracerProvider() != before {
		t.Errorf("got %v, %T", err, otel.GetTracerProvider())
	}
	stop()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
	stop, err = Open(t.Context(), "acrd-test")
	if err == nil || !strings.Contains(err.Error(), `"http/json", and not grpc or http/protobuf`) {
		t.Errorf("got %v", err)
	}
	stop()
	t.Setenv("OTEL_SDK_DISABLED", "true")
	if _, err = Open(t.Context(), "acrd-test"); err != nil {
		t.Errorf("disabled: %v", err)
	}
}

// TestCollectorAway: a collector that does not answer holds up nobody for
// long.
func TestCollectorAway(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Cleanup(func() { otel.SetTracerProvider(noop.NewTracerProvider()) })
	stop, err := Open(t.Context(), "acrd-test")
	if err != nil {
		t.Fatal(err)
	}
	run := &runner.Run{Started: time.Now()}
	_, ended := Observer().Run(t.Context(), run)
	ended(run)
	began := time.Now()
	stop()
	if took := time.Since(began); took > lastWords+10*time.Second {
		t.Errorf("took %v", took)
	}
}
