package dashboard

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
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
		Server:  Server{Instance: "one", MaxConnections: 100, MaxWaiting: 100},
		Metrics: f.registry,
		State: func(int) (points.State, any) {
			f.snapshots.Add(1)
			return points.State{Waiting: 3}, []int{}
		},
		Phase:    func() string { return "" },
		Problems: func() []Problem { return []Problem{{Message: "a problem"}} },
		Latest:   func() Response { return Response{} },
		Watch:    func(on bool) { f.watched = append(f.watched, on) },
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	all := buckets{1: 0, 2: 50, 4: 90, 8: 100}
	for share, want := range map[float64]float64{.25: 1.5, .5: 2, .7: 3, .9: 4, .95: 6, 1: 8} {
		assert.InDelta(t, want, all.percentile(share), 1e-9, share)
	}
	assert.Zero(t, buckets(nil).percentile(.5))
	assert.Zero(t, buckets{1: 0, 2: 0}.percentile(.5))
}

// A snapshot has the rates and percentiles of the last 10 seconds, and its sample those since the previous snapshot.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeSource()
		s := sampler{source: f.source()}
		f.requests.WithLabelValues("/", "200").Observe(5)
		first := s.next()
		assert.Zero(t, first.Rate)
		assert.Equal(t, 3, first.Waiting)
		assert.Equal(t, "one", first.Server.Instance)

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
		second := s.next()
		assert.InDelta(t, 50, second.Rate, 1e-9)
		assert.Equal(t, map[string]float64{"200": 45, "503": 5}, second.Statuses)
		assert.InDelta(t, .5, second.P50, .001)
		assert.InDelta(t, .99, second.P99, .001, "rejections do not count")
		assert.InDelta(t, 5, second.Reads, 1e-9)
		assert.InDelta(t, 7, second.Batch, 1e-9)
		assert.InDelta(t, 99.1, second.LockWait, .1, "within the bucket of 10 to 100 ms")
		assert.InDelta(t, 50, second.Sample.Rate, 1e-9)
		assert.InDelta(t, 5, second.Sample.Errors, 1e-9)
		assert.InDelta(t, .99, second.Sample.P99, .001)
		assert.InDelta(t, .99, second.Minute.P99, .001)
		assert.InDelta(t, .1, second.Minute.ErrorShare, 1e-9)

		<-time.After(2 * time.Second)
		third := s.next()
		assert.InDelta(t, 25, third.Rate, 1e-9)
		assert.Zero(t, third.Sample.Rate)
		assert.Zero(t, third.Sample.P99)
		assert.Equal(t, third.Time.UnixMilli(), third.Sample.Time)
		<-time.After(10 * time.Second)
		assert.Zero(t, s.next().Rate)
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
	source.State = func(int) (points.State, any) { return state, []int{} }
	current := (&sampler{source: source}).next()
	assert.Equal(t, []server{
		{Instance: "one", Started: at(0), Seen: at(9)}, {Instance: "two", Started: at(1), Seen: at(8), This: true},
		{Instance: "two", Started: at(2), Seen: at(8)},
	}, current.Servers)
	assert.Zero(t, current.Running)
	assert.Equal(t, at(1), current.Server.Started, "as in the list of servers")

	state.Shared.Updates = []points.SharedUpdate{{ID: 1, Instance: "one", InstanceID: 1, Started: at(5)}}
	current = (&sampler{source: source}).next()
	assert.True(t, current.Servers[0].Updating)
	assert.False(t, current.Servers[1].Updating)
	assert.Equal(t, at(5), current.Running)
	state.Updater.RunningSince = at(6)
	current = (&sampler{source: source}).next()
	assert.Equal(t, at(6), current.Running, "this server knows its own update first")

	state.Shared.Updates[0].InstanceID = 2
	current = (&sampler{source: source}).next()
	assert.True(t, current.Servers[1].Updating)
	state.Updater.RunningSince = time.Time{}
	current = (&sampler{source: source}).next()
	assert.Zero(t, current.Running, "and knows first that it has ended")
	assert.False(t, current.Servers[1].Updating)

	state.Shared = nil
	current = (&sampler{source: source}).next()
	assert.Nil(t, current.Servers)
}

// A server that no longer shares the state is shown as gone for some minutes, unless one of its name replaces it.
func TestGoneServers(t *testing.T) {
	t.Parallel()
	at := func(second int) time.Time { return time.Date(2026, 1, 1, 10, 0, second, 0, time.UTC) }
	one := points.SharedInstance{Instance: "one", ID: 1, Started: at(0), Seen: at(8)}
	two := points.SharedInstance{Instance: "two", ID: 2, Started: at(1), Seen: at(9)}
	three := points.SharedInstance{Instance: "three", ID: 3, Started: at(1), Seen: at(9)}
	var state points.State
	source := newFakeSource().source()
	source.State = func(int) (points.State, any) { return state, []int{} }
	s := sampler{source: source}
	serversAt := func(second int, instances ...points.SharedInstance) []server {
		state = points.State{InstanceID: 1, Shared: &points.SharedStatus{Time: at(second), Instances: instances}}
		return s.next().Servers
	}
	here := server{Instance: "one", Started: at(0), Seen: at(8), This: true}
	goneTwo := server{Instance: "two", Started: at(1), Seen: at(9), Gone: true}
	goneThree := server{Instance: "three", Started: at(1), Seen: at(9), Gone: true}
	assert.Len(t, serversAt(9, one, three, two), 3)
	assert.Equal(t, []server{here, goneThree, goneTwo}, serversAt(12, one))
	again := points.SharedInstance{Instance: "two", ID: 4, Started: at(20), Seen: at(20)}
	assert.Equal(t, []server{here, {Instance: "two", Started: at(20), Seen: at(20)}, goneThree}, serversAt(20, one, again))
	assert.Len(t, serversAt(9+300, one, again), 3)
	assert.Len(t, serversAt(9+301, one, again), 2)
}

// A running update has the time of its latest progress.
func TestProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var state points.State
		source := newFakeSource().source()
		source.State = func(int) (points.State, any) { return state, []int{} }
		s := sampler{source: source}
		after := func(d time.Duration, done int64) snapshot {
			<-time.After(d)
			state.Updater.Done = done
			return s.next()
		}
		assert.Zero(t, after(time.Second, 500).Progressed, "no update runs")
		state.Updater.RunningSince = time.Now()
		assert.Zero(t, after(time.Second, 0).Progressed)
		progressed := after(time.Second, 500)
		assert.Equal(t, progressed.Time, progressed.Progressed)
		assert.Equal(t, progressed.Time, after(10*time.Second, 500).Progressed)
		latest := after(time.Second, 700)
		assert.Equal(t, latest.Time, latest.Progressed)
	})
}

// Samples are taken while no page is open, so that a page is full at once. All pages get the same snapshots.
func TestFreshPageHasHistory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeSource()
		d := New(f.source())
		ended := make(chan struct{})
		go func() { defer close(ended); d.Run() }()
		<-time.After(time.Hour)
		synctest.Wait()
		assert.Empty(t, f.watched)
		assert.EqualValues(t, 3601, f.snapshots.Load())

		first, text, ok := d.watch(nil)
		require.True(t, ok)
		var past columns
		require.NoError(t, json.Unmarshal(text, &past))
		require.Len(t, past.Time, 1800)
		assert.Equal(t, time.Now().UnixMilli(), past.Time[1799])
		for i, at := range past.Time[1:] {
			require.Equal(t, past.Time[i]+1000, at)
		}
		assert.Equal(t, levelOK, past.Level[0])
		second, _, ok := d.watch(nil)
		require.True(t, ok)
		for range 3 {
			assert.Equal(t, string(<-first), string(<-second))
		}
		d.unwatch(first)
		<-time.After(time.Minute) // a watcher that does not read blocks nothing
		assert.Equal(t, []bool{true}, f.watched)
		d.unwatch(second)
		assert.Equal(t, []bool{true, false}, f.watched)
		d.Close()
		<-ended
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
			watcher, _, ok := d.watch(nil)
			require.True(t, ok)
			defer d.unwatch(watcher)
		}
		w := httptest.NewRecorder()
		d.events(w, httptest.NewRequest(http.MethodGet, "/dashboard/events", nil))
		assert.Equal(t, http.StatusServiceUnavailable, w.Code)
		assert.Contains(t, w.Body.String(), "100 live pages of this server are open")
	})
}

// The event stream ends when the client disconnects and when the dashboard is closed.
func TestEvents(t *testing.T) {
	d := New(newFakeSource().source())
	ended := make(chan struct{})
	go func() { defer close(ended); d.Run() }()
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
		assert.Equal(t, "no", response.Header.Get("X-Accel-Buffering"))
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
	require.True(t, lines.Scan())
	require.True(t, lines.Scan())
	assert.Equal(t, "event: history", lines.Text())
	require.True(t, lines.Scan())
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
	<-ended

	for _, path := range []string{
		"/dashboard", "/dashboard/page.js", "/dashboard/page.css", "/dashboard/icon.svg", "/dashboard/uPlot.min.js", "/dashboard/uPlot.min.css",
	} {
		w := httptest.NewRecorder()
		handlers[path].ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		assert.Equal(t, http.StatusOK, w.Code, path)
		assert.NotContains(t, w.Header().Get("Content-Security-Policy"), "unsafe")
	}
}

// A page that does not read does not delay a shutdown.
func TestCloseEndsBlockedStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := New(newFakeSource().source())
		client, conn := net.Pipe()
		defer client.Close()
		listener := make(pipeListener, 1)
		listener <- conn
		server := &http.Server{Handler: http.HandlerFunc(d.events), ReadHeaderTimeout: time.Second}
		go server.Serve(listener) //nolint:errcheck // it ends with the test
		_, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		synctest.Wait()
		began := time.Now()
		d.Close()
		require.NoError(t, server.Shutdown(t.Context()))
		assert.Less(t, time.Since(began), time.Second)
	})
}

// A pipeListener accepts the connections that are sent to it.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l pipeListener) Close() error   { close(l); return nil }
func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{} }
