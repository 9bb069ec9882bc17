package e2e_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metricscollector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracecollector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	metricsv1 "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/examples/server/internal/server"
	"github.com/pointsapp/pointsapp/examples/server/internal/telemetry/otlp"
	"github.com/pointsapp/pointsapp/examples/server/internal/version"
	"github.com/pointsapp/pointsapp/internal/pgtest"
)

// A collector is an OpenTelemetry collector that keeps what it receives.
type collector struct {
	mu      sync.Mutex
	spans   []*tracev1.Span
	metrics map[string]*metricsv1.Metric // by name, the latest export
	server  map[string]string            // resource attributes of the latest export of metrics
}

// startCollector starts a collector, and sets the variable that makes servers push to it.
func startCollector(t *testing.T) *collector {
	t.Helper()
	c := new(collector)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		c.mu.Lock()
		defer c.mu.Unlock()
		switch r.URL.Path {
		case "/v1/traces":
			var request tracecollector.ExportTraceServiceRequest
			assert.NoError(t, proto.Unmarshal(body, &request))
			for _, resource := range request.GetResourceSpans() {
				for _, scope := range resource.GetScopeSpans() {
					c.spans = append(c.spans, scope.GetSpans()...)
				}
			}
		case "/v1/metrics":
			var request metricscollector.ExportMetricsServiceRequest
			assert.NoError(t, proto.Unmarshal(body, &request))
			c.metrics = make(map[string]*metricsv1.Metric)
			c.server = make(map[string]string)
			for _, resource := range request.GetResourceMetrics() {
				for _, a := range resource.GetResource().GetAttributes() {
					c.server[a.GetKey()] = a.GetValue().GetStringValue()
				}
				for _, scope := range resource.GetScopeMetrics() {
					for _, metric := range scope.GetMetrics() {
						c.metrics[metric.GetName()] = metric
					}
				}
			}
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	return c
}

// find returns a span by its name, trace and parent; nil is any trace or parent.
func (c *collector) find(t *testing.T, trace, parent []byte, name string) *tracev1.Span {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []*tracev1.Span
	var names []string
	for _, span := range c.spans {
		if (trace == nil || slices.Equal(span.GetTraceId(), trace)) &&
			(parent == nil || slices.Equal(span.GetParentSpanId(), parent)) {
			names = append(names, span.GetName())
			if span.GetName() == name {
				found = append(found, span)
			}
		}
	}
	require.NotEmpty(t, found, "no span %q among %q", name, names)
	return found[0]
}

func attribute(span *tracev1.Span, key string) string {
	for _, a := range span.GetAttributes() {
		if a.GetKey() == key {
			return a.GetValue().GetStringValue()
		}
	}
	return ""
}

// A traced request has spans for its wait, its batch and its SQL. An update has spans for its SQL, and its log line has
// the trace ID. No span has the min number or the password.
func TestTrace(t *testing.T) {
	traces := startCollector(t)
	cfg := configFor(pgtest.URL(t))
	cfg.Users = 1000
	r := startReady(t, cfg, server.WithExporter(otlp.New))
	untilUpdated(t, r)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/", nil)
	require.NoError(t, err)
	request.Header.Set("Traceparent", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")
	response, err := r.client.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.NoError(t, r.stop())

	trace := []byte("\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef")
	get := traces.find(t, trace, trace[:8], "GET /")
	wait := traces.find(t, trace, get.GetSpanId(), "wait for a batch")
	read := traces.find(t, trace, get.GetSpanId(), "read for a batch")
	sql := traces.find(t, trace, read.GetSpanId(), "SELECT")
	assert.LessOrEqual(t, get.GetStartTimeUnixNano(), wait.GetStartTimeUnixNano())
	assert.LessOrEqual(t, wait.GetEndTimeUnixNano(), read.GetStartTimeUnixNano())
	assert.LessOrEqual(t, read.GetEndTimeUnixNano(), get.GetEndTimeUnixNano())
	assert.Contains(t, attribute(sql, "db.query.text"), "users_answer")

	update := traces.find(t, nil, nil, "update all users")
	assert.Contains(t, attribute(traces.find(t, update.GetTraceId(), nil, "UPDATE"), "db.query.text"), "UPDATE")
	assert.Regexp(t, `msg="update done" .*trace_id=[0-9a-f]{32}`, r.log.String())

	for _, span := range traces.spans {
		for _, a := range span.GetAttributes() {
			assert.NotContains(t, a.GetKey(), "parameter")
			assert.NotContains(t, a.GetValue().GetStringValue(), "secret")
		}
	}
}

// The span of a batch belongs to the trace of one of its queries, and has links from and to the others.
func TestTracesOfABatch(t *testing.T) {
	t.Setenv("OTEL_TRACES_SAMPLER", "always_on")
	traces := startCollector(t)
	cfg := configFor(pgtest.URL(t))
	cfg.Users = 1000
	r := startReady(t, cfg, server.WithExporter(otlp.New))
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 50 {
				_, err := r.do(http.MethodGet, "/")
				assert.NoError(t, err)
			}
		})
	}
	all.Wait()
	require.NoError(t, r.stop())
	linked := 0
	for _, span := range traces.spans {
		if span.GetName() == "GET /" && len(span.GetLinks()) == 1 {
			read := traces.find(t, span.GetLinks()[0].GetTraceId(), nil, "read for a batch")
			assert.NotEmpty(t, read.GetLinks())
			linked++
		}
	}
	assert.NotZero(t, linked)
}

// The metrics that /metrics serves are pushed as well, by the same names.
func TestPushedMetrics(t *testing.T) {
	pushed := startCollector(t)
	cfg := config.Defaults()
	cfg.Users, cfg.Instance = 1000, "one"
	r := startReady(t, cfg, server.WithExporter(otlp.New))
	untilUpdated(t, r)
	for range 3 {
		r.get(t, "/")
	}
	require.NoError(t, r.stop())
	assert.Equal(t, "points-server", pushed.server["service.name"])
	assert.Equal(t, "one", pushed.server["service.instance.id"])
	assert.Equal(t, version.Module(), pushed.server["service.version"])
	assert.Equal(t, "go", pushed.server["telemetry.sdk.language"])
	requests := pushed.metrics["http_server_request_duration_seconds"].GetExponentialHistogram().GetDataPoints()
	queries := slices.IndexFunc(requests, func(point *metricsv1.ExponentialHistogramDataPoint) bool {
		return slices.ContainsFunc(point.GetAttributes(), func(a *commonv1.KeyValue) bool {
			return a.GetKey() == "http_route" && a.GetValue().GetStringValue() == "/"
		})
	})
	require.GreaterOrEqual(t, queries, 0)
	assert.EqualValues(t, 3, requests[queries].GetCount())
	users := pushed.metrics["points_update_users_total"].GetSum()
	require.Len(t, users.GetDataPoints(), 1)
	assert.True(t, users.GetIsMonotonic())
	assert.InDelta(t, 1000, users.GetDataPoints()[0].GetAsDouble(), 0)
}

// OpenTelemetry's variables override the attributes of the server, and add others.
func TestResourceAttributes(t *testing.T) {
	pushed := startCollector(t)
	t.Setenv("OTEL_SERVICE_NAME", "scores")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=two,deployment.environment.name=test")
	cfg := config.Defaults()
	cfg.Users, cfg.Instance = 10, "one"
	require.NoError(t, startReady(t, cfg, server.WithExporter(otlp.New)).stop())
	assert.Equal(t, "scores", pushed.server["service.name"])
	assert.Equal(t, "two", pushed.server["service.instance.id"])
	assert.Equal(t, "test", pushed.server["deployment.environment.name"])
	assert.Equal(t, version.Module(), pushed.server["service.version"])

	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "nonsense")
	_, err := server.Open(cfg, io.Discard, server.WithExporter(otlp.New))
	require.ErrorContains(t, err, "invalid OTEL_RESOURCE_ATTRIBUTES: ")
	assert.NotContains(t, err.Error(), "\n")
}

// /metrics has what an operator needs, by the names that the dashboard and the alerts in ../observability use.
func TestMetrics(t *testing.T) {
	t.Parallel()
	cfg := configFor(pgtest.URL(t))
	cfg.Users, cfg.Shared, cfg.Instance = 1000, true, "one"
	r := startReady(t, cfg)
	untilUpdated(t, r)
	for _, path := range []string{"/", "/", "/healthz", "/nowhere"} {
		r.get(t, path)
	}
	metrics := string(r.get(t, "/metrics").body)
	for _, line := range []string{
		`http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="200",http_route="/",url_scheme="http"} 2`,
		`http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="404",http_route="",url_scheme="http"} 1`,
		`points_batch_size_count 2`, `points_batch_duration_seconds_count{outcome="success"} 2`, `points_batch_wait_seconds_count 2`,
		`points_queries_waiting 0`, `points_store_down 0`, `points_ticks_paused 0`,
		`points_update_duration_seconds_count{outcome="success"} 1`, `points_update_users_total 1000`,
		`points_update_running 0`, `points_update_progress_ratio 0`, `points_update_failures 0`,
		`points_batch_lock_wait_seconds_count 2`, `points_batches_in_flight 0`, `points_shared_instances 1`,
		`points_instance_info{service_instance_id="one",service_version="` + version.Module() + `"} 1`,
		`points_update_breaker{state="closed"} 1`, `points_update_breaker{state="open"} 0`,
	} {
		assert.Contains(t, metrics, "\n"+line+"\n")
	}
	assert.Regexp(t, `\npoints_min_number_age_seconds \d`, metrics)
	assert.Regexp(t, `\npgxpool_max_connections 10\n`, metrics)
	assert.NotContains(t, metrics, "secret")
	for line := range strings.Lines(metrics) {
		if strings.Contains(line, "min_number") {
			assert.Contains(t, line, "points_min_number_age_seconds", "the min number is hidden")
		}
	}
}

func TestNoTelemetry(t *testing.T) {
	t.Parallel()
	cfg := config.Defaults()
	cfg.Users, cfg.Telemetry = 1000, false
	r := startReady(t, cfg)
	assert.Equal(t, http.StatusOK, r.get(t, "/").status)
	assert.Equal(t, http.StatusNotFound, r.get(t, "/metrics").status)
}

func TestTelemetryErrors(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1") // metrics are pushed there, in vain
	t.Setenv("OTEL_TRACES_EXPORTER", "pigeon")
	_, err := server.Open(config.Defaults(), io.Discard, server.WithExporter(otlp.New))
	require.ErrorContains(t, err, "OTEL_TRACES_EXPORTER")
	assert.NotContains(t, err.Error(), "\n")
}

// OpenTelemetry ignores some invalid variables. It says so in the server's log, in its format.
func TestInvalidTelemetryVariable(t *testing.T) {
	startCollector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")
	cfg := config.Defaults()
	cfg.Users, cfg.LogFormat = 10, "json"
	r := startReady(t, cfg, server.WithExporter(otlp.New))
	require.NoError(t, r.stop())
	assert.Contains(t, r.log.String(), `"input":"soon"`)
}
