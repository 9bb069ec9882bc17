package metrics

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pointsapp/pointsapp/loadtest/internal/record"
	"github.com/pointsapp/pointsapp/loadtest/internal/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scrape returns the metrics as text.
func scrape(t *testing.T, e *Exporter) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(e.URL())
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(body)
}

// TestExporter scrapes before, during and after two runs.
func TestExporter(t *testing.T) {
	e, err := Serve(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	defer e.Close()
	assert.Contains(t, scrape(t, e), "loadtest_latency_seconds_count 0\n")

	for run := range 2 {
		recorder := record.New(record.Options{})
		detach := e.Attach(recorder)
		recorder.Observe(&transport.Exchange{Status: 200, Done: 2 * time.Millisecond})
		recorder.Observe(&transport.Exchange{Status: 503, Done: time.Second})
		recorder.Observe(&transport.Exchange{Failure: transport.Exception, Done: 2 * time.Second})
		recorder.Observe(&transport.Exchange{Failure: transport.Connect, Done: time.Second})
		during := scrape(t, e)
		detach()
		assert.Equal(t, during, scrape(t, e), "the end of a run changes nothing")
		for _, line := range [][]string{
			{`loadtest_responses_total{code="200"} 1`, `loadtest_responses_total{code="200"} 2`},
			{`loadtest_responses_total{code="503"} 1`, `loadtest_responses_total{code="503"} 2`},
			{`loadtest_failures_total{kind="connect"} 1`, `loadtest_failures_total{kind="connect"} 2`},
			{`loadtest_failures_total{kind="timeout"} 1`, `loadtest_failures_total{kind="timeout"} 2`},
			{`loadtest_failures_total{kind="aborted"} 0`, `loadtest_failures_total{kind="aborted"} 0`},
			{`loadtest_latency_seconds_bucket{le="0.001"} 0`, `loadtest_latency_seconds_bucket{le="0.001"} 0`},
			{`loadtest_latency_seconds_bucket{le="0.002"} 1`, `loadtest_latency_seconds_bucket{le="0.002"} 2`},
			{`loadtest_latency_seconds_bucket{le="+Inf"} 3`, `loadtest_latency_seconds_bucket{le="+Inf"} 6`},
			{`loadtest_latency_seconds_sum 3.002`, `loadtest_latency_seconds_sum 6.004`},
		} {
			assert.Contains(t, during, line[run]+"\n")
		}
	}
}

func TestAddressInUse(t *testing.T) {
	e, err := Serve(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	defer e.Close()
	_, err = Serve(t.Context(), e.addr)
	assert.ErrorContains(t, err, "cannot serve the metrics")
}
