package otlp

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/pointsapp/pointsapp/examples/server/internal/telemetry"
)

// BenchmarkMiddleware compares the middleware with otelhttp's, at the same sample ratio, around a handler that does
// nothing. The difference is why the server does not use otelhttp.
func BenchmarkMiddleware(b *testing.B) {
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) //nolint:errcheck // the exporter may give up
	}))
	defer sink.Close()
	b.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", sink.URL)
	tele, err := telemetry.New(b.Context(), "one", New, slog.New(slog.DiscardHandler))
	require.NoError(b, err)
	defer func() { require.NoError(b, tele.Shutdown(b.Context())) }()
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	provider := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.TraceIDRatioBased(sampleRatio)))
	for name, handler := range map[string]http.Handler{
		"telemetry": tele.Middleware(ok, []string{"/"}),
		"otelhttp":  otelhttp.NewHandler(ok, "GET /", otelhttp.WithTracerProvider(provider)),
	} {
		b.Run(name, func(b *testing.B) {
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
			b.ReportAllocs()
			for b.Loop() {
				handler.ServeHTTP(w, r)
			}
		})
	}
}
