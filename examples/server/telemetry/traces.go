package telemetry

import (
	"context"
	"log/slog"
	"os"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/pointsapp/pointsapp/points"
)

// ratio is how many of all requests are traced, unless OTEL_TRACES_SAMPLER says otherwise.
const ratio = 0.01

const codeError = codes.Error

// updateName is the name of an update's span.
const updateName = "update all users"

// sampling samples as OTEL_TRACES_SAMPLER says; unless it says anything, one request in a hundred, and every update:
// there are few of them.
func sampling() []sdktrace.TracerProviderOption {
	if os.Getenv("OTEL_TRACES_SAMPLER") != "" {
		return nil // the SDK heeds it
	}
	return []sdktrace.TracerProviderOption{
		sdktrace.WithSampler(sdktrace.ParentBased(updatesToo{sdktrace.TraceIDRatioBased(ratio)})),
	}
}

// updatesToo samples updates, and what the other sampler does.
type updatesToo struct{ sdktrace.Sampler }

func (s updatesToo) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if p.Name == updateName {
		return sdktrace.AlwaysSample().ShouldSample(p)
	}
	return s.Sampler.ShouldSample(p)
}

// A query is a request that is traced. It is in its context.
type query struct {
	span trace.Span // of the request
	wait trace.Span // from its begin until its batch's; nil if it is not for the engine
}

type queryKey struct{}

// startBatch begins the span of a read that is for at least one caller who is traced: it is part of the first one's
// trace, and linked with the others'.
func (t *Telemetry) startBatch(ctx context.Context, callers []context.Context) context.Context {
	var first *query
	var others []*query
	for _, caller := range callers {
		q, ok := caller.Value(queryKey{}).(*query)
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
		t.batch = nil
		return ctx
	}
	options := []trace.SpanStartOption{trace.WithAttributes(attribute.Int("points.batch.callers", len(callers)))}
	for _, q := range others {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: q.span.SpanContext()}))
	}
	ctx = trace.ContextWithSpan(ctx, first.span)
	ctx, t.batch = t.tracer.Start(ctx, "read for a batch", options...) //nolint:spancheck // endBatch ends it
	for _, q := range others {
		q.span.AddLink(trace.Link{SpanContext: t.batch.SpanContext()})
	}
	return ctx
}

func (t *Telemetry) endBatch(info points.BatchInfo) {
	if t.batch == nil {
		return
	}
	t.batch.SetAttributes(
		attribute.Int64("points.batch.number", int64(info.Batch)), //nolint:gosec // it will not get so far
		attribute.Int("points.batch.users", info.Users),
	)
	end(t.batch, info.Err)
	t.batch = nil
}

func (t *Telemetry) startUpdate(ctx context.Context) context.Context {
	ctx, t.update = t.tracer.Start(ctx, updateName, trace.WithNewRoot()) //nolint:spancheck // endUpdate ends it
	return ctx
}

func (t *Telemetry) endUpdate(info points.UpdateInfo) {
	t.update.SetAttributes(attribute.Int64("points.update.users", info.Users))
	end(t.update, info.Err)
}

func end(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codeError, "")
	}
	span.End()
}

// LogHandler adds the ids of the trace and the span to what is logged to next on behalf of a traced request or update.
func LogHandler(next slog.Handler) slog.Handler { return logHandler{next} }

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
