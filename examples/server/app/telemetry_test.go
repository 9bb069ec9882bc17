package app_test

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
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/pointsapp/pointsapp/examples/server/app"
	"github.com/pointsapp/pointsapp/internal/pgtest"
)

// collected is what an OpenTelemetry collector has received.
type collected struct {
	mu    sync.Mutex
	spans []*tracev1.Span
}

// collect starts a collector, and makes servers push to it.
func collect(t *testing.T) *collected {
	t.Helper()
	c := new(collected)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/traces" {
			return
		}
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		var request collector.ExportTraceServiceRequest
		assert.NoError(t, proto.Unmarshal(body, &request))
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, resource := range request.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				c.spans = append(c.spans, scope.GetSpans()...)
			}
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	return c
}

// find returns a span with this name: in this trace, with this parent, unless they are nil.
func (c *collected) find(t *testing.T, trace, parent []byte, name string) *tracev1.Span {
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
	require.NotEmpty(t, found, "%q is not among %q", name, names)
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

// A request that is part of a trace shows how long it waited for its batch, its batch, and its SQL; an update shows its
// SQL, and its log line leads there. No hidden number is among it.
func TestTrace(t *testing.T) {
	traces := collect(t)
	cfg := configFor(pgtest.URL(t))
	cfg.Users = 1000
	r := startReady(t, cfg)
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
	assert.Contains(t, attribute(sql, "db.query.text"), "> $1")

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

// Of those who share a batch, one has its read in its trace, and the others are linked with it.
func TestTracesOfABatch(t *testing.T) {
	t.Setenv("OTEL_TRACES_SAMPLER", "always_on")
	traces := collect(t)
	cfg := configFor(pgtest.URL(t))
	cfg.Users = 1000
	r := startReady(t, cfg)
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

// What an operator needs is in /metrics, by the names that the dashboard and the alerts of ../observability have.
func TestMetrics(t *testing.T) {
	t.Parallel()
	cfg := configFor(pgtest.URL(t))
	cfg.Users = 1000
	r := startReady(t, cfg)
	untilUpdated(t, r)
	for _, path := range []string{"/", "/", "/healthz", "/nowhere"} {
		r.get(t, path)
	}
	metrics := string(r.get(t, "/metrics").body)
	for _, line := range []string{
		`http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="200",http_route="/",url_scheme="http"} 2`,
		`http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="404",url_scheme="http"} 1`,
		`points_batch_size_count 2`, `points_batch_duration_seconds_count{outcome="success"} 2`, `points_batch_wait_seconds_count 2`,
		`points_queries_waiting 0`, `points_store_down_ratio 0`, `points_ticks_paused_ratio 0`,
		`points_update_duration_seconds_count{outcome="success"} 1`, `points_update_users_total 1000`,
		`points_update_running_ratio 0`, `points_update_progress_ratio 0`, `points_update_failures 0`,
		`points_update_breaker_ratio{state="closed"} 1`, `points_update_breaker_ratio{state="open"} 0`,
	} {
		assert.Contains(t, metrics, "\n"+line+"\n")
	}
	assert.Regexp(t, `\npoints_min_number_age_seconds \d`, metrics)
	assert.Regexp(t, `\npgxpool_max_connections\{.*\} 10\n`, metrics)
	assert.NotContains(t, metrics, "secret")
	for line := range strings.Lines(metrics) {
		if strings.Contains(line, "min_number") {
			assert.Contains(t, line, "points_min_number_age_seconds", "its value is hidden")
		}
	}
}

func TestNoTelemetry(t *testing.T) {
	t.Parallel()
	cfg := app.Defaults()
	cfg.Users, cfg.Telemetry = 1000, false
	r := startReady(t, cfg)
	assert.Equal(t, http.StatusOK, r.get(t, "/").status)
	assert.Equal(t, http.StatusNotFound, r.get(t, "/metrics").status)
}

func TestTelemetryErrors(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "pigeon")
	_, err := app.Open(app.Defaults(), io.Discard)
	require.ErrorContains(t, err, "see OTEL_TRACES_EXPORTER")
	assert.NotContains(t, err.Error(), "\n")
}
