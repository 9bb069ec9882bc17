package cli

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkVerdict searches for the highest rate of real servers of known capacity, and reports the mean deviation of
// the verdicts, the share of the searches whose verdict is within 5% or says that the load generator was the limit, and
// the share of the latter. It takes about a minute per search, and needs a machine with nothing else to do: otherwise
// the load generator is the limit.
//
//	go test ./loadtest/internal/cli -run '^$' -bench Verdict -benchtime 10x
func BenchmarkVerdict(b *testing.B) {
	for _, bb := range []struct {
		name     string
		capacity float64 // requests per second; 0 means unlimited
		handler  func() http.HandlerFunc
	}{
		{"FIFO 2000", 2000, func() http.HandlerFunc { return slots(1, 500*time.Microsecond) }},
		{"eight slots 2000", 2000, func() http.HandlerFunc { return slots(8, 4*time.Millisecond) }},
		{"FIFO 300", 300, func() http.HandlerFunc { return slots(1, time.Second/300) }},
		{"unlimited", 0, func() http.HandlerFunc { return func(http.ResponseWriter, *http.Request) {} }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			server := httptest.NewServer(bb.handler())
			defer server.Close()
			file := filepath.Join(b.TempDir(), "r.json")
			step := "2s"
			if testing.Short() {
				step = "500ms"
			}
			good, limited, deviation := 0, 0, 0.0
			for b.Loop() {
				out, errs, _ := call(b.Context(), "-q", "-find-max", "-slo", "p99<100ms", "-duration", step, "-json", file, server.URL)
				search := readResult(b, file).Search
				if search.ClientLimited {
					good++
					limited++
					continue
				}
				off := 1.0
				if bb.capacity > 0 {
					off = max(float64(search.Highest)/bb.capacity, bb.capacity/float64(max(search.Highest, 1))) - 1
				}
				deviation += off
				if off <= 0.05 {
					good++
				} else {
					b.Log(out, errs)
				}
			}
			b.ReportMetric(100*deviation/float64(max(b.N-limited, 1)), "%deviation")
			b.ReportMetric(100*float64(limited)/float64(b.N), "%client")
			b.ReportMetric(100*float64(good)/float64(b.N), "%good")
		})
	}
}

// slots handles n requests at a time. It keeps a schedule, so that late wake-ups do not reduce the capacity.
func slots(n int, service time.Duration) http.HandlerFunc {
	server := &capacityServer{slots: n, service: service}
	return func(http.ResponseWriter, *http.Request) { server.serve() }
}
