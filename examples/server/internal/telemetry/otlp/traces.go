package otlp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/pointsapp/pointsapp/points"
)

// sampleRatio is the share of requests that are traced, without OTEL_TRACES_SAMPLER.
const sampleRatio = 0.01

// updateName is the name of an update's span.
const updateName = "update all users"

// sampling returns the option for the default sampler, or none if OTEL_TRACES_SAMPLER is set, which the SDK reads. The
// SDK would trace everything if that is invalid.
func sampling() ([]sdktrace.TracerProviderOption, error) {
	name, ratio := os.Getenv("OTEL_TRACES_SAMPLER"), os.Getenv("OTEL_TRACES_SAMPLER_ARG")
	switch strings.ToLower(strings.TrimSpace(name)) {
	case "":
		return []sdktrace.TracerProviderOption{
			sdktrace.WithSampler(sdktrace.ParentBased(updateSampler{sdktrace.TraceIDRatioBased(sampleRatio)})),
		}, nil
	case "always_on", "always_off", "parentbased_always_on", "parentbased_always_off":
		return nil, nil
	case "traceidratio", "parentbased_traceidratio":
		share, err := strconv.ParseFloat(strings.TrimSpace(ratio), 64)
		if valid := err == nil && share >= 0 && share <= 1; !valid && strings.TrimSpace(ratio) != "" {
			return nil, fmt.Errorf("invalid OTEL_TRACES_SAMPLER_ARG %q: it must be a number from 0 to 1", ratio)
		}
		return nil, nil
	default:
		return nil, fmt.Errorf("invalid OTEL_TRACES_SAMPLER %q: it must be always_on, always_off, traceidratio, "+
			"parentbased_always_on, parentbased_always_off or parentbased_traceidratio", name)
	}
}

// An updateSampler samples all updates, and what the other sampler samples.
type updateSampler struct{ sdktrace.Sampler }

func (s updateSampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if p.Name == updateName {
		return sdktrace.AlwaysSample().ShouldSample(p)
	}
	return s.Sampler.ShouldSample(p)
}

// A query is a traced request. Its context holds it.
type query struct {
	span trace.Span // of the request
	wait trace.Span // from the start of the request to that of its batch; nil if it is no query of the engine
}

type queryKey struct{}

// StartRequest implements telemetry.Exporter. A request with a traceparent (W3C Trace Context) belongs to that trace.
func (e *exporter) StartRequest(r *http.Request, method, route string) (*http.Request, func(status int) string) {
	if e.traces == nil {
		return r, nil
	}
	ctx := r.Context()
	if r.Header.Get("Traceparent") != "" {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	}
	name := method
	if route != "" {
		name += " " + route
	}
	ctx, span := e.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer))
	if !span.IsRecording() {
		return r, nil
	}
	span.SetAttributes(
		attribute.String("http.request.method", method),
		attribute.String("http.route", route),
		attribute.String("url.path", r.URL.Path),
		attribute.String("url.scheme", "http"),
	)
	q := &query{span: span}
	if route == "/" {
		_, q.wait = e.tracer.Start(ctx, "wait for a batch") //nolint:spancheck // startBatch or query.end ends it
	}
	return r.WithContext(context.WithValue(ctx, queryKey{}, q)), q.end
}

// end ends the spans of a request, and returns the trace ID.
func (q *query) end(status int) string {
	if q.wait != nil {
		q.wait.End() // for a query that got no batch; otherwise it has ended, and this does nothing
	}
	q.span.SetAttributes(attribute.Int("http.response.status_code", status))
	if status >= http.StatusInternalServerError {
		q.span.SetAttributes(attribute.String("error.type", strconv.Itoa(status)))
		q.span.SetStatus(codes.Error, "")
	}
	q.span.End()
	return q.span.SpanContext().TraceID().String()
}

// Hooks implements telemetry.Exporter.
func (e *exporter) Hooks() points.Hooks {
	if e.traces == nil {
		return points.Hooks{}
	}
	return points.Hooks{
		BatchStart:  e.startBatch,
		BatchEnd:    e.endBatch,
		UpdateStart: e.startUpdate,
		UpdateEnd:   e.endUpdate,
	}
}

// startBatch starts the span of a read, if one of its queries is traced. The span belongs to the first traced query's
// trace, and has links from and to the other traced queries.
func (e *exporter) startBatch(ctx context.Context, queries []context.Context) context.Context {
	var first *query
	var others []*query
	for _, queryCtx := range queries {
		q, ok := queryCtx.Value(queryKey{}).(*query)
		if !ok || q.wait == nil {
			continue
		}
		q.wait.End()
		if first == nil {
			first = q
		} else {
			others = append(others, q)
		}
	}
	if first == nil {
		return ctx
	}
	options := []trace.SpanStartOption{trace.WithAttributes(attribute.Int("points.batch.queries", len(queries)))}
	for _, q := range others {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: q.span.SpanContext()}))
	}
	ctx = trace.ContextWithSpan(ctx, first.span)
	ctx, batch := e.tracer.Start(ctx, "read for a batch", options...) // endBatch ends it
	for _, q := range others {
		q.span.AddLink(trace.Link{SpanContext: batch.SpanContext()})
	}
	return ctx
}

func (e *exporter) endBatch(info points.BatchInfo) {
	batch := trace.SpanFromContext(info.Context)
	if !batch.IsRecording() {
		return
	}
	batch.SetAttributes(
		attribute.Int64("points.batch.number", int64(info.Batch)), //nolint:gosec // it does not reach 2^63
		attribute.Int("points.batch.users", info.Users),
	)
	end(batch, info.Err)
}

func (e *exporter) startUpdate(ctx context.Context, _ points.UpdateInfo) context.Context {
	ctx, e.update = e.tracer.Start(ctx, updateName, trace.WithNewRoot()) //nolint:spancheck // endUpdate ends it
	return ctx
}

func (e *exporter) endUpdate(info points.UpdateInfo) {
	e.update.SetAttributes(attribute.Int64("points.update.users", info.Users))
	err := info.Err
	if errors.Is(err, points.ErrUpdateRunning) { // another process was updating the table
		e.update.SetAttributes(attribute.Bool("points.update.skipped", true))
		err = nil
	}
	end(e.update, err)
}

func end(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// LogHandler implements telemetry.Exporter.
func (e *exporter) LogHandler(next slog.Handler) slog.Handler {
	if e.traces == nil {
		return next
	}
	return logHandler{next}
}

type logHandler struct{ slog.Handler }

func (h logHandler) Handle(ctx context.Context, record slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.IsSampled() {
		record.AddAttrs(
			slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return h.Handler.Handle(ctx, record)
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs)}
}

func (h logHandler) WithGroup(name string) slog.Handler { return logHandler{h.Handler.WithGroup(name)} }
