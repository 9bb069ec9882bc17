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

// A fakeSource has its own metrics, and records calls.
type fakeSource struct {
	registry  *prometheus.Registry
	requests  *prometheus.HistogramVec
	batches   prometheus.Histogram
	lockWait  prometheus.Histogram
	watched   []bool       // arguments of Watch
	snapshots atomic.Int64 // calls of State
}

func newFakeSource() *fakeSource {
	f := &fakeSource{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_server_request_duration_seconds", Help: "As in package telemetry.", Buckets: []float64{.001, .01, .1},
		}, []string{"http_route", "http_response_status_code"}),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "points_batch_size", Help: "As in package telemetry.", Buckets: []float64{1, 10},
		}),
		lockWait: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "points_batch_lock_wait_seconds", Help: "As in package telemetry.", Buckets: []float64{.01, .1},
		}),
	}
	f.registry.MustRegister(f.requests, f.batches, f.lockWait)
	return f
}

func (f *fakeSource) source() Source {
	return Source{
		Metrics:  f.registry,
		State:    func() points.State { f.snapshots.Add(1); return points.State{Waiting: 3} },
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

// The rates and percentiles of a snapshot are those of queries since the previous one.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeSource()
		f.requests.WithLabelValues("/", "200").Observe(5)
		first, previous := f.source().snapshot(counts{})
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
			f.lockWait.Observe(.05)
		}
		second, _ := f.source().snapshot(previous)
		assert.InDelta(t, 50, second.Rate, 1e-9)
		assert.Equal(t, map[string]float64{"200": 45, "503": 5}, second.Statuses)
		assert.InDelta(t, .5/.9, second.P50, .001)
		assert.InDelta(t, 91, second.P99, .001)
		assert.InDelta(t, 5, second.Reads, 1e-9)
		assert.InDelta(t, 7, second.Batch, 1e-9)
		assert.InDelta(t, 99.1, second.LockWait, .1, "within the bucket of 10 to 100 ms")
	})
}

// With a shared state a snapshot has all servers, and the update of whichever server runs one.
func TestSnapshotOfSharedState(t *testing.T) {
	t.Parallel()
	at := func(second int) time.Time { return time.Date(2026, 1, 1, 10, 0, second, 0, time.UTC) }
	state := points.State{Instance: "two", InstanceID: 2, Shared: &points.SharedStatus{
		Instances: []points.SharedInstance{
			{Instance: "one", ID: 1, Started: at(0), Seen: at(9)}, {Instance: "two", ID: 2, Started: at(1), Seen: at(8)},
			{Instance: "two", ID: 0, Started: at(2), Seen: at(8)},
		},
	}}
	f := newFakeSource()
	source := f.source()
	source.State = func() points.State { return state }
	current, _ := source.snapshot(counts{})
	assert.Equal(t, []server{
		{Instance: "one", Started: at(0), Seen: at(9)}, {Instance: "two", Started: at(1), Seen: at(8), This: true},
		{Instance: "two", Started: at(2), Seen: at(8)},
	}, current.Servers)
	assert.Zero(t, current.Running)

	state.Shared.Updates = []points.SharedUpdate{{ID: 1, Instance: "one", InstanceID: 1, Started: at(5)}}
	current, _ = source.snapshot(counts{})
	assert.True(t, current.Servers[0].Updating)
	assert.False(t, current.Servers[1].Updating)
	assert.Equal(t, at(5), current.Running)
	state.Updater.RunningSince = at(6)
	current, _ = source.snapshot(counts{})
	assert.Equal(t, at(6), current.Running, "this server knows its own update first")

	state.Shared = nil
	current, _ = source.snapshot(counts{})
	assert.Nil(t, current.Servers)
}

// Without watchers no snapshots are taken. All watchers get the same snapshots.
func TestSamplingNeedsWatchers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeSource()
		d := New(f.source())
		<-time.After(time.Hour)
		assert.Zero(t, f.snapshots.Load())

		first, ok := d.watch()
		require.True(t, ok)
		second, ok := d.watch()
		require.True(t, ok)
		for range 3 {
			assert.Equal(t, string(<-first), string(<-second))
		}
		assert.EqualValues(t, 3, f.snapshots.Load())
		d.unwatch(first)
		<-time.After(time.Minute)
		synctest.Wait()
		assert.EqualValues(t, 3+120, f.snapshots.Load(), "a watcher that does not read blocks nothing")
		d.unwatch(second)
		<-time.After(time.Hour)
		assert.EqualValues(t, 3+120, f.snapshots.Load())
		assert.Equal(t, []bool{true, false}, f.watched)
	})
}

// HEAD of the event stream returns its headers and ends.
func TestHeadOfEvents(t *testing.T) {
	d := New(newFakeSource().source())
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

// A metric that cannot be gathered does not hide the others.
func TestSnapshotAfterGatherError(t *testing.T) {
	t.Parallel()
	f := newFakeSource()
	f.registry.MustRegister(failingCollector{})
	f.requests.WithLabelValues("/", "200").Observe(5)
	_, err := f.registry.Gather()
	require.Error(t, err)
	assert.Equal(t, map[string]float64{"200": 1}, f.source().count().statuses)
}

// A failingCollector collects an error.
type failingCollector struct{}

func (failingCollector) Describe(chan<- *prometheus.Desc) {}

func (failingCollector) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(assert.AnError), assert.AnError)
}

func TestTooManyWatchers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := New(newFakeSource().source())
		for range maxWatchers {
			watcher, ok := d.watch()
			require.True(t, ok)
			defer d.unwatch(watcher)
		}
		w := httptest.NewRecorder()
		d.events(w, httptest.NewRequest(http.MethodGet, "/dashboard/events", nil))
		assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	})
}

// The event stream ends when the client disconnects and when the dashboard is closed.
func TestEvents(t *testing.T) {
	d := New(newFakeSource().source())
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
	ctx, disconnect := context.WithCancel(t.Context())
	first := open(ctx)
	disconnect()
	first.Body.Close()
	second := open(t.Context())
	defer second.Body.Close()
	lines := bufio.NewScanner(second.Body)
	events := 0
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var received snapshot
			require.NoError(t, json.Unmarshal([]byte(data), &received))
			if events++; events == 2 {
				d.Close()
			}
		}
	}
	require.NoError(t, lines.Err(), "the stream ends without an error")
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
