// Package traces tells an OpenTelemetry collector how runs spend their time: a
// span a run, below it a span a step, and below those BuildKit's own, from the
// engine's process.
//
// Names of steps and tasks are in them, and the instructions of Dockerfiles;
// commands, environments and values are not.
package traces

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"acrd/runner"
	"acrd/steps"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// lastWords is how long the last spans may take to get away.
const lastWords = 2 * time.Second

// Open makes this process send its spans to where OTEL_EXPORTER_OTLP_ENDPOINT
// says, by the protocol of OTEL_EXPORTER_OTLP_PROTOCOL (grpc, or else
// http/protobuf). Without an endpoint nothing is recorded. The returned
// function sends what is left, and is there in any case.
func Open(ctx context.Context, service string) (stop func(), err error) {
	nothing := func() {}
	if !enabled(os.Getenv) {
		return nothing, nil
	}
	exporter, err := newExporter(ctx, protocol(os.Getenv))
	if err != nil {
		return nothing, fmt.Errorf("traces: %w", err)
	}
	about, err := resource.New(ctx, resource.WithFromEnv(), resource.WithAttributes(attribute.String("service.name", service)))
	if err != nil {
		return nothing, fmt.Errorf("traces: %w", err)
	}
	p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	otel.SetTracerProvider(p)
	return func() {
		ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), lastWords, errors.New("the collector does not answer"))
		defer cancel()
		_ = p.Shutdown(ctx)
	}, nil
}

func enabled(getenv func(string) string) bool {
	return getenv("OTEL_SDK_DISABLED") != "true" && getenv("OTEL_EXPORTER_OTLP_ENDPOINT")+getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

func protocol(getenv func(string) string) string {
	if p := getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"); p != "" {
		return p
	}
	return getenv("OTEL_EXPORTER_OTLP_PROTOCOL")
}

// newExporter reads everything else from the environment, as every program
// with OpenTelemetry does.
func newExporter(ctx context.Context, protocol string) (*otlptrace.Exporter, error) {
	switch protocol {
	case "grpc":
		return otlptracegrpc.New(ctx)
	case "", "http/protobuf":
		return otlptracehttp.New(ctx)
	}
	return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL is %q, and not grpc or http/protobuf", protocol)
}

// Observer makes the spans of runs.
func Observer() runner.Observer {
	tracer := otel.GetTracerProvider().Tracer("acrd")
	return runner.Observer{
		Run: func(ctx context.Context, r *runner.Run) (context.Context, func(*runner.Run)) {
			ctx, span := tracer.Start(ctx, "run "+strings.ToLower(string(r.Type)), trace.WithTimestamp(r.Started), trace.WithAttributes(
				attribute.String("acrd.run.id", r.ID), attribute.String("acrd.run.type", string(r.Type)), attribute.Float64("acrd.run.queued_seconds", r.Started.Sub(r.Created).Seconds())))
			return ctx, func(r *runner.Run) {
				span.SetAttributes(attribute.String("acrd.run.status", string(r.Status)))
				if r.Status != runner.Succeeded {
					span.SetStatus(codes.Error, string(r.Status))
				}
				span.End()
			}
		},
		Step: func(ctx context.Context, r *runner.Run, s *steps.Step) (context.Context, func(*steps.Result, error)) {
			ctx, span := tracer.Start(ctx, "step "+s.ID, trace.WithAttributes(attribute.String("acrd.run.id", r.ID), attribute.String("acrd.step.id", s.ID), attribute.String("acrd.step.kind", runner.Kind(s))))
			return ctx, func(result *steps.Result, err error) {
				if result != nil {
					for _, i := range result.Images {
						span.AddEvent("image built", trace.WithAttributes(attribute.String("digest", i.Digest), attribute.Int("parts", i.Parts), attribute.Int("cached", i.Cached)))
					}
				}
				if err != nil {
					span.SetStatus(codes.Error, "the step failed") // why is in its log, where secrets are masked
				}
				span.End()
			}
		},
	}
}
