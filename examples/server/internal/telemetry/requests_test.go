package telemetry

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Prometheus gets native histograms beside the classic ones.
func TestNativeHistograms(t *testing.T) {
	t.Parallel()
	for name, histogram := range histogramsAfterRequest(t) {
		assert.NotNil(t, histogram.Schema, name)
		assert.NotEmpty(t, histogram.GetBucket(), name)
	}
}

// The buckets distinguish requests that take microseconds, as with users in memory.
func TestBucketsOfMicroseconds(t *testing.T) {
	t.Parallel()
	below := 0
	for _, bucket := range histogramsAfterRequest(t)["http_server_request_duration_seconds"].GetBucket() {
		if bucket.GetUpperBound() < (100 * time.Microsecond).Seconds() {
			below++
		}
	}
	assert.Equal(t, 6, below, "buckets below 100 µs")
}

// histogramsAfterRequest returns the first histogram of each family by name, after one request.
func histogramsAfterRequest(t *testing.T) map[string]*dto.Histogram {
	t.Helper()
	tele := newTelemetry(t)
	tele.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), []string{"/"}).
		ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	families, err := tele.Registry().Gather()
	require.NoError(t, err)
	histograms := make(map[string]*dto.Histogram)
	for _, family := range families {
		if histogram := family.GetMetric()[0].GetHistogram(); histogram != nil {
			histograms[family.GetName()] = histogram
		}
	}
	require.NotEmpty(t, histograms)
	return histograms
}
