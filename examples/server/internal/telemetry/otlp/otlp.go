// Package otlp exports the reference server's traces and metrics with OpenTelemetry. The server has it if it is built
// with -tags otlp.
//
// OpenTelemetry's environment variables configure it: OTEL_EXPORTER_OTLP_ENDPOINT pushes traces and metrics;
// OTEL_TRACES_EXPORTER, OTEL_METRICS_EXPORTER, OTEL_EXPORTER_OTLP_PROTOCOL, OTEL_SERVICE_NAME,
// OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER and so on have the meaning that the OpenTelemetry specification gives
// them. Without OTEL_TRACES_SAMPLER, one request in 100 is traced, and every update. Metrics keep their Prometheus
// names.
package otlp

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/exaring/otelpgx"
	"github.com/go-logr/logr"
	"github.com/jackc/pgx/v5/pgxpool"
	prometheusbridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/pointsapp/pointsapp/examples/server/internal/telemetry"
	"github.com/pointsapp/pointsapp/examples/server/internal/version"
)

// scope is the instrumentation scope of the spans.
const scope = "github.com/pointsapp/pointsapp/examples/server"

// An exporter implements telemetry.Exporter.
type exporter struct {
	metrics *sdkmetric.MeterProvider // nil if no metrics are pushed

	traces *sdktrace.TracerProvider // nil if nothing is traced
	tracer trace.Tracer
	update trace.Span // of the running update
}

// New implements [telemetry.NewExporter]. It makes cfg.Logger the destination of OpenTelemetry's errors and log lines,
// for the whole process.
func New(ctx context.Context, cfg telemetry.ExporterConfig) (telemetry.Exporter, error) {
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		cfg.Logger.Warn("export of telemetry failed", "error", err)
	}))
	otel.SetLogger(logr.FromSlogHandler(cfg.Logger.Handler()))
	res, err := resource.New(ctx, // a later option overrides an earlier one
		resource.WithTelemetrySDK(),
		resource.WithAttributes(
			attribute.String("service.name", "points-server"), attribute.String("service.version", version.Module()),
			attribute.String("service.instance.id", cfg.Instance)),
		resource.WithFromEnv(),
	)
	if err != nil {
		return nil, fmt.Errorf("invalid OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	e := new(exporter)
	if cfg.Metrics {
		reader, err := metricReader(ctx, cfg)
		if err != nil {
			return nil, fmt.Errorf("export of metrics (OTEL_METRICS_EXPORTER, OTEL_EXPORTER_OTLP_*): %w", err)
		}
		e.metrics = sdkmetric.NewMeterProvider(sdkmetric.WithResource(res), sdkmetric.WithReader(reader))
	}
	if cfg.Traces {
		options, err := sampling()
		if err != nil {
			_ = e.Shutdown(ctx) // it may fail, but the reason is the one above
			return nil, err
		}
		spans, err := autoexport.NewSpanExporter(ctx)
		if err != nil {
			_ = e.Shutdown(ctx) // the same
			return nil, fmt.Errorf("export of traces (OTEL_TRACES_EXPORTER, OTEL_EXPORTER_OTLP_*): %w", err)
		}
		e.traces = sdktrace.NewTracerProvider(append(options, sdktrace.WithResource(res), sdktrace.WithBatcher(spans))...)
		e.tracer = e.traces.Tracer(scope)
	}
	return e, nil
}

// fallbackProducer guards autoexport's, of which a process has one.
//
//nolint:gochecknoglobals // the same
var fallbackProducer sync.Mutex

// metricReader returns the reader that pushes what cfg.Gatherer gathers.
func metricReader(ctx context.Context, cfg telemetry.ExporterConfig) (sdkmetric.Reader, error) {
	fallbackProducer.Lock()
	defer fallbackProducer.Unlock()
	autoexport.WithFallbackMetricProducer(func(context.Context) (sdkmetric.Producer, error) {
		return prometheusbridge.NewMetricProducer(prometheusbridge.WithGatherer(cfg.Gatherer)), nil
	})
	return autoexport.NewMetricReader(ctx)
}

// TracePool implements telemetry.Exporter.
func (e *exporter) TracePool(cfg *pgxpool.Config) {
	if e.traces != nil {
		cfg.ConnConfig.Tracer = otelpgx.NewTracer(
			otelpgx.WithTracerProvider(e.traces), otelpgx.WithMeterProvider(noop.NewMeterProvider()))
	}
}

// Shutdown implements telemetry.Exporter.
func (e *exporter) Shutdown(ctx context.Context) error {
	var errs []error
	if e.metrics != nil {
		errs = append(errs, e.metrics.Shutdown(ctx))
	}
	if e.traces != nil {
		errs = append(errs, e.traces.Shutdown(ctx))
	}
	return errors.Join(errs...)
}
