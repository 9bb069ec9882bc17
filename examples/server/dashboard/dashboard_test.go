package dashboard

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pointsapp/pointsapp/points"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fake is a source, and what was asked of it.
type fake struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
	batches  prometheus.Histogram
	watched  []bool
	looks    atomic.Int64
}

func newFake() *fake {
	f := &fake{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_server_request_duration_seconds", Help: "As telemetry's.", Buckets: []float64{.001, .01, .1},
		}, []string{"http_route", "http_response_status_code"}),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "points_batch_size", Help: "As telemetry's.", Buckets: []float64{1, 10},
		}),
	}
	f.registry.MustRegister(f.requests, f.batches)
	return f
}

func (f *fake) source() Source {
	return Source{
		Metrics:  f.registry,
		State:    func() points.State { f.looks.Add(1); return points.State{Waiting: 3} },
		Phase:    func() string { return "starting" },
		Updates:  func() any { return []int{} },
		Problems: func() []string { return []string{"a problem"} },
		Latest:   func() json.RawMessage { return nil },
		Watch:    func(on bool) { f.watched = append(f.watched, on) },
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	buckets := map[float64]float64{1: 0, 2: 50, 4: 90, 8: 100}
	for share, want := range map[float64]float64{.25: 1.5, .5: 2, .7: 3, .9: 4, .95: 6, 1: 8} {
		assert.InDelta(t, want, percentile(buckets, share), 1e-9, share)
	}
	assert.Zero(t, percentile(nil, .5))
	assert.Zero(t, percentile(map[float64]float64{1: 0, 2: 0}, .5))
}

// A snapshot tells of the time since the one before, of queries alone.
func TestLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.requests.WithLabelValues("/", "200").Observe(5)
		first, before := f.source().look(counts{})
		assert.Zero(t, first.Rate)
		assert.Equal(t, 3, first.Waiting)
		assert.Equal(t, "starting", first.Phase)

		<-time.After(2 * time.Second)
		for range 90 {
			f.requests.WithLabelValues("/", "200").Observe(.0005)
		}
		for range 10 {
			f.requests.WithLabelValues("/", "503").Observe(.05)
			f.requests.WithLabelValues("/metrics", "200").Observe(.05)
			f.batches.Observe(7)
		}
		seen, _ := f.source().look(before)
		assert.InDelta(t, 50, seen.Rate, 1e-9)
		assert.Equal(t, map[string]float64{"200": 45, "503": 5}, seen.Statuses)
		assert.InDelta(t, .5/.9, seen.P50, .001)
		assert.InDelta(t, 91, seen.P99, .001)
		assert.InDelta(t, 5, seen.Reads, 1e-9)
		assert.InDelta(t, 7, seen.Batch, 1e-9)
	})
}

// Nobody watches: nothing is looked at. All who watch see the same looks.
func TestItCostsNothingWhileNobodyWatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		d := New(f.source())
		<-time.After(time.Hour)
		assert.Zero(t, f.looks.Load())

		one, ok := d.watch()
		require.True(t, ok)
		other, ok := d.watch()
		require.True(t, ok)
		for range 3 {
			assert.Equal(t, string(<-one), string(<-other))
		}
		assert.EqualValues(t, 3, f.looks.Load())
		d.leave(one)
		<-time.After(time.Minute)
		synctest.Wait()
		assert.EqualValues(t, 3+120, f.looks.Load(), "one that does not read holds nothing up")
		d.leave(other)
		<-time.After(time.Hour)
		assert.EqualValues(t, 3+120, f.looks.Load())
		assert.Equal(t, []bool{true, false}, f.watched)
	})
}

// HEAD has the headers of the stream of events, and ends.
func TestHeadOfEvents(t *testing.T) {
	d := New(newFake().source())
	ended := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		d.events(w, r)
	}))
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	response, err := http.Head(server.URL)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	assert.Equal(t, "no-store", response.Header.Get("Cache-Control"))
	select {
	case <-ended:
	case <-time.After(time.Minute):
		d.Close()
		require.Fail(t, "the handler does not end")
	}
}

func TestTooMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := New(newFake().source())
		for range mostWatch {
			watcher, ok := d.watch()
			require.True(t, ok)
			defer d.leave(watcher)
		}
		w := httptest.NewRecorder()
		d.events(w, httptest.NewRequest(http.MethodGet, "/dashboard/events", nil))
		assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	})
}

// Over the wire: events come, until the page goes away or the dashboard is closed.
func TestEvents(t *testing.T) {
	d := New(newFake().source())
	handlers, err := d.Handlers()
	require.NoError(t, err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlers[r.URL.Path].ServeHTTP(w, r)
	}))
	defer server.Close()
	open := func(ctx context.Context) *http.Response {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/dashboard/events", nil)
		require.NoError(t, err)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		assert.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
		return response
	}
	ctx, leave := context.WithCancel(t.Context())
	gone := open(ctx)
	leave()
	gone.Body.Close()
	stays := open(t.Context())
	defer stays.Body.Close()
	lines := bufio.NewScanner(stays.Body)
	events := 0
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var seen snapshot
			require.NoError(t, json.Unmarshal([]byte(data), &seen))
			if events++; events == 2 {
				d.Close()
			}
		}
	}
	require.NoError(t, lines.Err(), "it is ended well")
	assert.GreaterOrEqual(t, events, 2)
	assert.Eventually(t, func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.watchers) == 0
	}, time.Minute, time.Millisecond)
	http.DefaultClient.CloseIdleConnections()

	for _, path := range []string{"/dashboard", "/dashboard/page.js", "/dashboard/page.css", "/dashboard/icon.svg"} {
		w := httptest.NewRecorder()
		handlers[path].ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		assert.Equal(t, http.StatusOK, w.Code, path)
		assert.NotContains(t, w.Header().Get("Content-Security-Policy"), "unsafe")
	}
}
