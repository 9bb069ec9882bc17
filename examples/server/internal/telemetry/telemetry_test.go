package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/points"
)

func newTelemetry(t *testing.T) *Telemetry {
	t.Helper()
	tele, err := New(t.Context(), "one", nil, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return tele
}

func newStore(t *testing.T) points.Store {
	t.Helper()
	store, err := memstore.New(10)
	require.NoError(t, err)
	return store
}

// Updates are counted by their outcome. A skipped update is no failure, nor is a cancelled one, whatever error the
// store then returns.
func TestUpdateOutcomes(t *testing.T) {
	t.Parallel()
	tele := newTelemetry(t)
	hooks := tele.Hooks(newStore(t))
	for outcome, err := range map[string]error{
		"success": nil,
		"failure": errors.New("connection lost"),
		"stopped": errors.New("connection lost"),
		"skipped": fmt.Errorf("updating: %w", points.ErrUpdateRunning),
	} {
		ctx, cancel := context.WithCancel(t.Context())
		hooks.UpdateStart(ctx, points.UpdateInfo{})
		if outcome == "stopped" {
			cancel()
		}
		hooks.UpdateEnd(points.UpdateInfo{Duration: time.Second, Err: err})
		cancel()
		w := httptest.NewRecorder()
		tele.Metrics().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		assert.Contains(t, w.Body.String(), "\npoints_update_duration_seconds_count{outcome=\""+outcome+"\"} 1\n")
	}
}

// Clients cannot add label values: unknown methods and unknown paths are one value each.
func TestLabelsAreBounded(t *testing.T) {
	t.Parallel()
	tele := newTelemetry(t)
	h := tele.Middleware(http.NotFoundHandler(), []string{"/"})
	for _, path := range []string{"/", "/a", "/b"} {
		for _, method := range []string{http.MethodGet, "X", "Y"} {
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, path, nil))
		}
	}
	families, err := tele.Registry().Gather()
	require.NoError(t, err)
	series := make(map[string]int)
	for _, family := range families {
		series[family.GetName()] = len(family.GetMetric())
	}
	assert.Equal(t, 4, series["http_server_request_duration_seconds"], "2 methods for 2 routes")
}

// All names and help texts pass the linter of Prometheus.
func TestNames(t *testing.T) {
	t.Parallel()
	tele := newTelemetry(t)
	engine, err := points.New(newStore(t), points.Config{})
	require.NoError(t, err)
	tele.MeasureEngine(engine)
	tele.MeasureConnections(func() int64 { return 1 }, func() int64 { return 2 })
	families, err := tele.Registry().Gather()
	require.NoError(t, err)
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	require.NoError(t, err)
	for _, problem := range problems {
		if !strings.HasPrefix(problem.Metric, "go_") && !strings.HasPrefix(problem.Metric, "process_") {
			assert.Fail(t, problem.Metric, problem.Text)
		}
	}
}

// An export that the program cannot do is an error that names the variable.
func TestExportWithoutExporter(t *testing.T) {
	for name, value := range map[string]string{
		"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "console", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			_, err := New(t.Context(), "one", nil, slog.New(slog.DiscardHandler))
			require.EqualError(t, err, name+" is set, but this program cannot export: build it with -tags otlp, or unset it")
		})
	}
	t.Run("none", func(t *testing.T) {
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
		t.Setenv("OTEL_TRACES_EXPORTER", "none")
		t.Setenv("OTEL_METRICS_EXPORTER", "prometheus")
		newTelemetry(t)
	})
}
