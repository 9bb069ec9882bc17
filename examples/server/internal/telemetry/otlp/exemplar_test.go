package otlp

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/telemetry"
)

// In OpenMetrics the duration of a traced request has its trace as an exemplar; other formats have none.
func TestExemplar(t *testing.T) {
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) //nolint:errcheck // the exporter may give up
	}))
	defer sink.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", sink.URL)
	t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
	tele, err := telemetry.New(t.Context(), "one", New, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer func() { require.NoError(t, tele.Shutdown(t.Context())) }()
	handler := tele.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), []string{"/"})
	const trace = "0af7651916cd43dd8448eb211c80319c"
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	handler.ServeHTTP(httptest.NewRecorder(), r)
	metrics := func(accept string) (contentType, text string) {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		tele.Metrics().ServeHTTP(w, r)
		return w.Header().Get("Content-Type"), w.Body.String()
	}
	const openMetrics = "application/openmetrics-text;version=1.0.0"
	contentType, text := metrics(openMetrics)
	assert.Contains(t, contentType, "application/openmetrics-text")
	assert.NotContains(t, text, "trace_id", "the request is not traced")

	r.Header.Set("Traceparent", "00-"+trace+"-b7ad6b7169203331-01")
	handler.ServeHTTP(httptest.NewRecorder(), r)
	_, text = metrics(openMetrics)
	assert.Regexp(t, `http_server_request_duration_seconds_bucket\{.*\} [12] # \{trace_id="`+trace+`"\} `, text)
	contentType, text = metrics("")
	assert.Contains(t, contentType, "text/plain")
	assert.NotContains(t, text, trace)
}
