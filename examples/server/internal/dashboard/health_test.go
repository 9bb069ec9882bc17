package dashboard

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"

	"github.com/pointsapp/pointsapp/points"
)

// Each level has its reasons, with the limits.
func TestHealth(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		snapshot snapshot
		window   window
		want     level
		reasons  []string
	}{
		"ok":       {want: levelOK, reasons: []string{"Queries are answered, and updates succeed."}},
		"at limit": {snapshot{Connections: 89, Waiting: 89}, window{.01, 500 * time.Millisecond, 2, 5 * time.Second}, levelOK, []string{"Queries are answered, and updates succeed."}},
		"updating, paused": {snapshot{Running: time.Unix(1, 0), Paused: true}, window{}, levelOK, []string{
			"Queries are answered, and updates succeed.", "An update of all users is running.",
			"Ticks are paused: no new min number and no updates until they are resumed.",
		}},
		"starting": {snapshot{Phase: "starting: seeding the table", Down: true}, window{}, levelStarting, []string{"Not ready: the server is starting: seeding the table."}},
		"stopping": {snapshot{Phase: "shutting down"}, window{}, levelStopping, []string{"The server is shutting down: it still answers queries, and load balancers send no more."}},
		"database down": {snapshot{Down: true, Failures: 1}, window{errorShare: .5}, levelDown, []string{
			"Reads of the database fail: queries are rejected with status 503.", "The latest update failed. Users keep their points.",
		}},
		"state not synced": {snapshot{}, window{syncAge: 6 * time.Second}, levelDegraded, []string{
			"The shared state has not been read for 6 s: the database does not answer. This server does not tick until it answers.",
		}},
		"errors": {snapshot{}, window{errorShare: .02}, levelDegraded, []string{
			"2.0% of the queries of the last minute failed with status 5xx (limit 1%).",
		}},
		"slow": {snapshot{}, window{p99: 501 * time.Millisecond}, levelDegraded, []string{
			"Queries are slow: the 99th percentile of the last minute is 501 ms (limit 500 ms).",
		}},
		"connections": {snapshot{Connections: 90}, window{}, levelDegraded, []string{
			"Open connections: 90 of 100. At the limit idle ones are closed, and without any, new ones get status 503.",
		}},
		"wait queue": {snapshot{Waiting: 100}, window{}, levelDegraded, []string{
			"Waiting queries: 100 of 100. At the limit further ones get status 503.",
		}},
		"two updates failed": {snapshot{Failures: 2}, window{}, levelDegraded, []string{"The latest 2 updates failed. Users keep their points."}},
		"breaker open": {snapshot{Failures: 7, Breaker: "open"}, window{}, levelDegraded, []string{
			"Updates keep failing, 7 in a row: the circuit breaker is open. Users keep their points.",
		}},
		"skipped": {snapshot{}, window{skipped: 3}, levelDegraded, []string{
			"Updates take longer than the interval: 3 ticks of the last 10 minutes were skipped.",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tt.snapshot
			s.Server.MaxConnections, s.Server.MaxWaiting = 100, 100
			if s.Breaker == "" {
				s.Breaker = "closed"
			}
			got := healthOf(&s, tt.window)
			assert.Equal(t, tt.want, got.Level)
			assert.Equal(t, tt.reasons, got.Reasons)
		})
	}
}

// Failures of the last minute count, and skipped ticks of the last 10 minutes. A level has the time when it began.
func TestWindows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeSource()
		source := f.source()
		var state points.State
		source.State = func(int) (points.State, any) { return state, []int{} }
		s := sampler{source: source}
		var current snapshot
		seconds := func(n int) {
			for range n {
				<-time.After(time.Second)
				current = s.next()
			}
		}
		seconds(2)
		began := current.Time
		f.requests.WithLabelValues("/", "503").Observe(.05)
		seconds(30)
		assert.Equal(t, levelDegraded, current.Level)
		assert.Equal(t, began.Add(time.Second), current.Since)
		seconds(31)
		assert.Equal(t, levelOK, current.Level)

		state.Skipped = 3
		seconds(600)
		assert.Equal(t, levelDegraded, current.Level)
		seconds(2)
		assert.Equal(t, levelOK, current.Level)

		state.Skipped, state.Shared = 1000, &points.SharedStatus{Time: time.Now()} // all its ticks
		seconds(5)
		assert.Equal(t, levelOK, current.Level)
		seconds(2)
		assert.Equal(t, levelDegraded, current.Level, "the shared state is not read")
		assert.True(t, current.Unsynced)
		assert.Equal(t, current.Time.Add(-6*time.Second), current.Synced)
		state.Shared = &points.SharedStatus{Time: time.Now()}
		seconds(1)
		assert.Equal(t, levelOK, current.Level)
		assert.False(t, current.Unsynced)
		assert.LessOrEqual(t, len(s.past), 605)
	})
}

// Durations are written as those of the page's scripts.
func TestSpaced(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		501 * time.Millisecond: "501 ms", time.Second: "1 s", 1254 * time.Millisecond: "1.25 s", 20 * time.Second: "20 s",
		119 * time.Second: "119 s", 125 * time.Second: "2 min 5 s", 75 * time.Minute: "1 h 15 min",
	} {
		assert.Equal(t, want, spaced(d))
	}
}

// The database is down while the metric of alerts.yml says so.
func TestStoreDown(t *testing.T) {
	t.Parallel()
	f := newFakeSource()
	down := prometheus.NewGauge(prometheus.GaugeOpts{Name: "points_store_down", Help: "As in package telemetry."})
	f.registry.MustRegister(down)
	s := sampler{source: f.source()}
	for _, want := range []level{levelOK, levelDown, levelOK} {
		down.Set(map[level]float64{levelDown: 1}[want])
		current := s.next()
		assert.Equal(t, want, current.Level)
		assert.Equal(t, want == levelDown, current.Down)
	}
}

// BenchmarkSample measures what the dashboard costs a server once a second.
func BenchmarkSample(b *testing.B) {
	f := newFakeSource()
	for _, status := range []string{"200", "499", "503", "504"} {
		f.requests.WithLabelValues("/", status).Observe(.05)
	}
	d := New(f.source())
	b.ReportAllocs()
	for b.Loop() {
		d.publish(d.sampler.next())
	}
}
