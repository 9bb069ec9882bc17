// Package telemetry measures the reference server: requests, the engine, connections and the connection pool. It
// gets its figures from [points.Hooks], an HTTP middleware and callbacks; the library itself has no metrics.
//
// Prometheus scrapes the metrics ([Telemetry.Metrics]). Traces, and metrics that are pushed, need an [Exporter]:
// package otlp has one. It is not part of the default build: OpenTelemetry, with gRPC, adds a third to the time that
// the server takes to compile.
package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pointsapp/pointsapp/examples/server/internal/version"
	"github.com/pointsapp/pointsapp/points"
)

// A Telemetry measures one server. It is safe for concurrent use.
type Telemetry struct {
	registry *prometheus.Registry // metrics of the server
	runtime  *prometheus.Registry // metrics of Go and of the process, which take longer to gather
	requests requests
	engine   engine
	exporter Exporter // nil if nothing is exported
}

// An Exporter traces requests, batches, updates and SQL, and pushes traces and metrics. Its methods are safe for
// concurrent use.
type Exporter interface {
	// StartRequest starts a request's span and returns the request with the span in its context. The function ends the
	// span, with the status of the response, and returns the trace ID; it is nil if the request is not sampled.
	StartRequest(r *http.Request, method, route string) (*http.Request, func(status int) (traceID string))

	// Hooks returns the hooks that trace an engine's batches and updates.
	Hooks() points.Hooks

	// TracePool configures the connections of a pool to trace their SQL.
	TracePool(cfg *pgxpool.Config)

	// LogHandler returns a handler that adds the trace ID and span ID to records before it passes them to next.
	LogHandler(next slog.Handler) slog.Handler

	// Shutdown pushes what has not been pushed yet, until ctx ends.
	Shutdown(ctx context.Context) error
}

// ExporterConfig configures an [Exporter].
type ExporterConfig struct {
	Instance        string              // service.instance.id, unless OTEL_RESOURCE_ATTRIBUTES sets it
	Traces, Metrics bool                // the signals to export
	Gatherer        prometheus.Gatherer // the metrics
	Logger          *slog.Logger        // logs export errors
}

// NewExporter returns an exporter that is configured by OpenTelemetry's environment variables. Its error is one line.
type NewExporter func(ctx context.Context, cfg ExporterConfig) (Exporter, error)

// New returns a Telemetry of the server with this instance name. If OpenTelemetry's environment variables ask for an
// export, it uses newExporter; a nil newExporter is then an error that names the variable. Shutdown must be called.
func New(ctx context.Context, instance string, newExporter NewExporter, logger *slog.Logger) (*Telemetry, error) {
	t := &Telemetry{registry: prometheus.NewRegistry(), runtime: prometheus.NewRegistry()}
	t.runtime.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	t.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "points_instance_info", Help: "Always 1. The labels are the name (-instance) and the version of the server.",
		ConstLabels: prometheus.Labels{"service_instance_id": instance, "service_version": version.Module()},
	}, func() float64 { return 1 }))
	t.requests.register(t.registry)
	t.engine.register(t.registry)
	traces, metrics := exportVariable("TRACES"), exportVariable("METRICS")
	if traces == "" && metrics == "" {
		return t, nil
	}
	if newExporter == nil {
		variable := traces
		if variable == "" {
			variable = metrics
		}
		return nil, fmt.Errorf("%s is set, but this program cannot export: build it with -tags otlp, or unset it", variable)
	}
	var err error
	t.exporter, err = newExporter(ctx, ExporterConfig{
		Instance: instance, Traces: traces != "", Metrics: metrics != "", Gatherer: t.allMetrics(), Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// exportVariable returns the environment variable that asks to export a signal, TRACES or METRICS, or "" if none does.
func exportVariable(signal string) string {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return ""
	}
	for _, name := range []string{
		"OTEL_" + signal + "_EXPORTER", "OTEL_EXPORTER_OTLP_" + signal + "_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT",
	} {
		switch os.Getenv(name) {
		case "":
		case "none", "prometheus": // /metrics is served in any case
			return ""
		default:
			return name
		}
	}
	return ""
}

// Metrics returns a handler that serves all metrics in Prometheus' formats and in OpenMetrics, which has exemplars.
func (t *Telemetry) Metrics() http.Handler {
	return promhttp.HandlerFor(t.allMetrics(), promhttp.HandlerOpts{MaxRequestsInFlight: 4, EnableOpenMetrics: true})
}

func (t *Telemetry) allMetrics() prometheus.Gatherer {
	return prometheus.Gatherers{t.registry, t.runtime}
}

// Registry returns the metrics without those of Go and of the process.
func (t *Telemetry) Registry() prometheus.Gatherer { return t.registry }

// TracePool configures the connections of a pool that is yet to be created to trace the SQL of traced requests and
// updates. It leaves out the parameters of statements: the min number is one.
func (t *Telemetry) TracePool(cfg *pgxpool.Config) {
	if t.exporter != nil {
		t.exporter.TracePool(cfg)
	}
}

// LogHandler returns a handler that adds the trace ID and the span ID to records of traced requests and updates before
// it passes them to next.
func (t *Telemetry) LogHandler(next slog.Handler) slog.Handler {
	if t.exporter == nil {
		return next
	}
	return t.exporter.LogHandler(next)
}

// Shutdown pushes what has not been pushed yet, until ctx ends.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	if t.exporter == nil {
		return nil
	}
	return t.exporter.Shutdown(ctx)
}
