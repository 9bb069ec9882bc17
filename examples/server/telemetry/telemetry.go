// Package telemetry measures and traces the reference server with OpenTelemetry, through the hooks of an engine, a
// middleware and a tracer of pgx: the library itself knows nothing of it.
//
// Metrics are always there for Prometheus to fetch ([Telemetry.Metrics]). OpenTelemetry's own environment variables say
// where else to: with OTEL_EXPORTER_OTLP_ENDPOINT, metrics and traces are pushed there; OTEL_TRACES_EXPORTER,
// OTEL_METRICS_EXPORTER, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER and so on have the meaning
// that the OpenTelemetry specification gives them. Unless a sampler is set, one request in a hundred is traced, and
// every update.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/attribute"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// scope is the name of what measures and traces.
const scope = "github.com/pointsapp/pointsapp/examples/server"

// A Telemetry measures one server. It is safe for concurrent use.
type Telemetry struct {
	// ClientClosed reports whether the client of the request with this context has closed the connection. It may be
	// nil, and must be set before Middleware is called.
	ClientClosed func(context.Context) bool

	registry *prometheus.Registry
	metrics  *sdkmetric.MeterProvider
	meter    metric.Meter
	requests requests
	engine   engine

	traces *sdktrace.TracerProvider // nil: nothing is traced
	tracer trace.Tracer
	batch  trace.Span // of the read under way; nil if it is not traced
	update trace.Span // of the update that runs
}

// New returns a telemetry that is set up by OpenTelemetry's environment variables. Its error is one line that names the
// variable that is wrong. Shutdown must be called.
func New(ctx context.Context) (*Telemetry, error) {
	var exporter sdktrace.SpanExporter
	var readers []sdkmetric.Reader
	var err error
	if pushes("TRACES") {
		if exporter, err = autoexport.NewSpanExporter(ctx); err != nil {
			return nil, fmt.Errorf("tracing, see OTEL_TRACES_EXPORTER and OTEL_EXPORTER_OTLP_*: %w", err)
		}
		if autoexport.IsNoneSpanExporter(exporter) {
			exporter = nil
		}
	}
	if pushes("METRICS") {
		reader, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return nil, fmt.Errorf("metrics, see OTEL_METRICS_EXPORTER and OTEL_EXPORTER_OTLP_*: %w", err)
		}
		if !autoexport.IsNoneMetricReader(reader) {
			readers = append(readers, reader)
		}
	}
	return newTelemetry(ctx, exporter, readers)
}

// pushes reports whether a signal is to be pushed somewhere.
func pushes(signal string) bool {
	for _, name := range []string{
		"OTEL_" + signal + "_EXPORTER", "OTEL_EXPORTER_OTLP_" + signal + "_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT",
	} {
		if value := os.Getenv(name); value != "" {
			return value != "prometheus" // which it is in any case, at /metrics
		}
	}
	return false
}

// newTelemetry returns a telemetry that exports spans to exporter, unless it is nil.
func newTelemetry(
	ctx context.Context, exporter sdktrace.SpanExporter, readers []sdkmetric.Reader,
) (*Telemetry, error) {
	about, err := resource.Merge(
		resource.NewSchemaless(attribute.String("service.name", "points-server")),
		resource.Environment(),
	)
	if err != nil {
		return nil, fmt.Errorf("see OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	t := &Telemetry{registry: prometheus.NewRegistry()}
	t.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	fetched, err := promexporter.New(promexporter.WithRegisterer(t.registry), promexporter.WithoutScopeInfo())
	if err != nil {
		return nil, err
	}
	options := []sdkmetric.Option{sdkmetric.WithResource(about), sdkmetric.WithReader(fetched)}
	for _, reader := range readers {
		options = append(options, sdkmetric.WithReader(reader))
	}
	t.metrics = sdkmetric.NewMeterProvider(options...)
	t.meter = t.metrics.Meter(scope)
	if exporter != nil {
		t.traces = sdktrace.NewTracerProvider(append(sampling(),
			sdktrace.WithResource(about), sdktrace.WithBatcher(exporter))...)
		t.tracer = t.traces.Tracer(scope)
	}
	return t, errors.Join(t.requests.create(t.meter), t.engine.create(ctx, t.meter))
}

// Metrics answers with all metrics, in Prometheus's format.
func (t *Telemetry) Metrics() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Registry is where the metrics are.
func (t *Telemetry) Registry() prometheus.Gatherer { return t.registry }

// TracePool makes a pool that is yet to be opened trace what is done on behalf of a traced request or update: with the
// SQL, but not with its parameters, among which is the hidden number. It does nothing if nothing is traced.
func (t *Telemetry) TracePool(cfg *pgxpool.Config) {
	if t.traces == nil {
		return
	}
	cfg.ConnConfig.Tracer = otelpgx.NewTracer(
		otelpgx.WithTracerProvider(t.traces), otelpgx.WithMeterProvider(noop.NewMeterProvider()))
}

// MeasurePool adds a pool's statistics to the metrics.
func (t *Telemetry) MeasurePool(pool *pgxpool.Pool) error {
	return otelpgx.RecordStats(pool, otelpgx.WithStatsMeterProvider(t.metrics))
}

// Shutdown pushes what is yet to be pushed, until ctx ends.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	err := t.metrics.Shutdown(ctx)
	if t.traces != nil {
		err = errors.Join(err, t.traces.Shutdown(ctx))
	}
	return err
}
