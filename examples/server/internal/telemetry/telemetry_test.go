package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/version"
	"github.com/pointsapp/pointsapp/internal/sharedtest"
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
		"success":   nil,
		"failure":   errors.New("connection lost"),
		"cancelled": errors.New("connection lost"),
		"skipped":   fmt.Errorf("updating: %w", points.ErrUpdateRunning),
	} {
		ctx, cancel := context.WithCancel(t.Context())
		hooks.UpdateStart(ctx, points.UpdateInfo{})
		if outcome == "cancelled" {
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
	tele.MeasureConnections(100, func() int64 { return 1 }, func() int64 { return 2 })
	requireGoodNames(t, tele)
}

func requireGoodNames(t *testing.T, tele *Telemetry) {
	t.Helper()
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
	t.Run("disabled", func(t *testing.T) {
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
		t.Setenv("OTEL_SDK_DISABLED", "TRUE")
		newTelemetry(t)
	})
	t.Run("none", func(t *testing.T) {
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
		t.Setenv("OTEL_TRACES_EXPORTER", "none")
		t.Setenv("OTEL_METRICS_EXPORTER", "prometheus")
		newTelemetry(t)
	})
}

// The store is down while reads of it fail, however quickly they do.
func TestStoreDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &unreadableStore{Store: newStore(t), fails: true}
		tele := newTelemetry(t)
		engine, err := points.New(store, points.Config{Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		tele.MeasureEngine(engine)
		requireDown := func(want int, message string) {
			t.Helper()
			require.Contains(t, metricsOf(t, tele), fmt.Sprintf("\npoints_store_down %d\n", want), message)
		}
		requireDown(0, "no read has failed")
		_, err = engine.Query(t.Context())
		require.Error(t, err)
		<-time.After(9 * time.Second)
		requireDown(1, "the latest read has failed")
		<-time.After(time.Second)
		requireDown(0, "no query shows whether reads still fail")
		_, err = engine.Query(t.Context())
		require.Error(t, err)
		requireDown(1, "another read has failed")
		store.fails = false
		_, err = engine.Query(t.Context())
		require.NoError(t, err)
		requireDown(0, "a read has succeeded")
	})
	assert.True(t, readsFail(points.State{Down: true}), "queries are rejected without a read")
}

// An unreadableStore is a store whose reads may fail at once.
type unreadableStore struct {
	points.Store

	fails bool
}

func (s *unreadableStore) UsersAbove(ctx context.Context, min, limit int) ([]points.User, error) {
	if s.fails {
		return nil, errors.New("connection refused")
	}
	return s.Store.UsersAbove(ctx, min, limit)
}

// With a shared state the metrics have the servers, the ticks of all of them and the wait for the order lock, in a fixed
// number of series.
func TestSharedState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		database := sharedtest.New([]points.User{{ID: 1}})
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		start := func(name string) *Telemetry {
			tele, err := New(ctx, name, nil, slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			store := database.Open()
			engine, err := points.New(store, points.Config{Instance: name, Hooks: tele.Hooks(store)})
			require.NoError(t, err)
			tele.MeasureEngine(engine)
			running.Go(func() { assert.NoError(t, engine.Run(ctx)) })
			synctest.Wait()
			_, err = engine.Query(ctx)
			require.NoError(t, err)
			return tele
		}
		one := start("one")
		before := metricsOf(t, one)
		assert.Contains(t, before, "\npoints_shared_instances 1\n")
		two := start("two")
		<-time.After(90 * time.Second) // one of them ticks after a minute, and both have seen it
		for name, tele := range map[string]*Telemetry{"one": one, "two": two} {
			metrics := metricsOf(t, tele)
			for _, line := range []string{
				"points_instance_info{service_instance_id=\"" + name + "\",service_version=\"" + version.Module() + "\"} 1", "points_shared_instances 2",
				"points_shared_ticks_total 1", "points_shared_ticks_skipped_total 0", "points_batches_in_flight 0",
				"points_batch_lock_wait_seconds_count 1", "points_min_number_age_seconds 30",
			} {
				assert.Contains(t, metrics, "\n"+line+"\n", name)
			}
		}
		requireGoodNames(t, one)
		assert.Equal(t, seriesIn(before, "points_"), seriesIn(metricsOf(t, one), "points_"))
		stop()
		running.Wait()
	})
}

func metricsOf(t *testing.T, tele *Telemetry) string {
	t.Helper()
	w := httptest.NewRecorder()
	tele.Metrics().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

// seriesIn returns the number of series whose names begin with prefix.
func seriesIn(metrics, prefix string) int { return strings.Count(metrics, "\n"+prefix) }

// The age of the min number is right at once, whichever server has set it, and it is never that of a change of the
// schedule before the tick.
func TestMinNumberAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m minNumberTime
		m.set(time.Now())
		state := points.State{Interval: time.Minute, Shared: new(points.SharedStatus), Ticks: 7}
		state.NextTick = time.Now().Add(40 * time.Second)
		assert.Equal(t, 20*time.Second, m.age(state), "set before this server started")
		<-time.After(10 * time.Second)
		state.NextTick = time.Now().Add(time.Hour)
		state.Interval = time.Hour
		assert.Equal(t, 30*time.Second, m.age(state), "a new interval is no tick")
		<-time.After(10 * time.Second)
		state.Ticks, state.NextTick = 8, time.Time{}
		assert.Zero(t, m.age(state), "then paused")
		<-time.After(10 * time.Second)
		state.Ticks, state.NextTick, state.Interval = 9, time.Now().Add(time.Minute), 2*time.Minute
		assert.Zero(t, m.age(state), "the tick was after the last look")
		<-time.After(10 * time.Second)
		m.set(time.Now())
		state.Shared = nil
		assert.Zero(t, m.age(state))
	})
}
