package bench

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	"github.com/pointsapp/pointsapp/examples/server/app"
	"github.com/pointsapp/pointsapp/examples/server/telemetry"
	"github.com/pointsapp/pointsapp/examples/server/telemetry/otlp"
	"github.com/pointsapp/pointsapp/points"
)

// sinkEnv is where the server pushes traces to.
const sinkEnv = "POINTS_BENCH_SINK"

// The server's paths with telemetry.
const (
	measuredPath       = "/measured"        // the reference server with metrics
	tracedPath         = "/traced"          // with metrics, and one request in a hundred traced
	measuredMemoryPath = "/measured-memory" // in memory, with metrics
	otelhttpPath       = "/otelhttp"        // the reference server with otelhttp's middleware, which does not sample
)

// addTelemetry adds the paths with telemetry.
func addTelemetry(mux map[string]http.Handler, store, memory points.Store) error {
	for _, path := range []string{measuredPath, measuredMemoryPath, tracedPath} {
		if path == tracedPath {
			if err := os.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", os.Getenv(sinkEnv)); err != nil {
				return err
			}
		}
		t, err := telemetry.New(context.Background(), otlp.New, slog.Default())
		if err != nil {
			return err
		}
		of := store
		if path == measuredMemoryPath {
			of = memory
		}
		engine, err := points.New(of, points.Config{MinNumber: func() int { return 50 }, Hooks: t.Hooks(of)})
		if err != nil {
			return err
		}
		mux[path] = atRoot(t.Middleware(app.NewHandler(engine, nil), []string{"/"}))
	}
	mux[otelhttpPath] = otelhttp.NewHandler(mux[enginePath], "GET /")
	return nil
}

// BenchmarkTelemetry compares the reference server with metrics, and with metrics and traces, with itself without: in
// each round each of them gets as many requests over as many keep-alive connections. The ratios are the medians over all
// rounds.
func BenchmarkTelemetry(b *testing.B) {
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) //nolint:errcheck // who pushes may go away
	}))
	defer sink.Close()
	b.Setenv(sinkEnv, sink.URL)
	address := startServer(b, database(b))
	paths := []string{enginePath, measuredPath, tracedPath, otelhttpPath, memoryPath, measuredMemoryPath}
	rounds := map[string][]measured{}
	for range b.N {
		for _, path := range paths {
			rounds[path] = append(rounds[path], load(b, address, path, connections))
		}
	}
	for _, path := range paths {
		fmt.Fprintf(os.Stdout, "%-16s %s\n", path, medians(rounds[path])) // b.Log shows ten lines at most
	}
	rate := func(m measured) float64 { return m.rate }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ratio(rounds[measuredPath], rounds[enginePath], rate), "measured/without")
	b.ReportMetric(ratio(rounds[tracedPath], rounds[enginePath], rate), "traced/without")
	b.ReportMetric(ratio(rounds[otelhttpPath], rounds[enginePath], rate), "otelhttp/without")
	b.ReportMetric(ratio(rounds[measuredMemoryPath], rounds[memoryPath], rate), "measured/without-in-memory")
}
