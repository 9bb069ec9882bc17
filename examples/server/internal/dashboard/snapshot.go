package dashboard

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pointsapp/pointsapp/points"
)

// A Source has the data of a dashboard. Its functions must be safe for concurrent use.
type Source struct {
	Server   Server
	Metrics  prometheus.Gatherer             // of package telemetry
	State    func(n int) (points.State, any) // of the engine, and its latest n updates then, newest last, as JSON values
	Phase    func() string                   // "starting: …" or "shutting down"; "" while the server serves queries
	Problems func() []Problem                // the latest warnings and errors
	Latest   func() Response                 // the responses to queries since Watch(true)
	Watch    func(bool)                      // called with true when the first page opens, false when the last one closes
}

// A Server has the properties of a server that do not change while it runs.
type Server struct {
	Instance       string    `json:"instance"`
	Version        string    `json:"version"`
	Started        time.Time `json:"started_at"`
	Store          string    `json:"store"`
	MaxConnections int64     `json:"max_connections"`
	MaxWaiting     int64     `json:"max_waiting"`
	Controls       bool      `json:"controls"` // whether /control is enabled
}

// A Response is the latest response to a query with status 200, and what became of the queries after it.
type Response struct {
	Body     json.RawMessage `json:"body"` // null if there was none
	Time     time.Time       `json:"time,omitzero"`
	Failures int64           `json:"failures"` // responses with status 5xx since
	Failed   time.Time       `json:"failed_at,omitzero"`
	Status   int             `json:"failed_status"` // of the latest one of these
}

// A snapshot is the state of a server. Its rates and percentiles are those of the last 10 seconds; Sample has those
// since the previous snapshot.
type snapshot struct {
	health

	Server      Server             `json:"server"`
	Limits      limits             `json:"limits"`
	Time        time.Time          `json:"time"`
	Phase       string             `json:"phase"`
	Sample      sample             `json:"sample"`
	Rate        float64            `json:"rate_per_second"`     // responses to queries
	Statuses    map[string]float64 `json:"statuses_per_second"` // the same by status
	P50         float64            `json:"p50_ms"`              // of those with status 200
	P90         float64            `json:"p90_ms"`
	P99         float64            `json:"p99_ms"`
	Connections int64              `json:"connections"` // open
	PoolInUse   int64              `json:"pool_in_use"` // connections to the database
	PoolMax     int64              `json:"pool_max"`    // 0 without a database
	Waiting     int                `json:"waiting"`
	LockWait    float64            `json:"lock_wait_p99_ms"` // with a shared state
	Batch       float64            `json:"queries_per_read"` // mean
	Reads       float64            `json:"reads_per_second"`
	Minute      minute             `json:"minute"`
	Unsynced    bool               `json:"unsynced"`           // the shared state cannot be read: no ticks here
	Synced      time.Time          `json:"synced_at,omitzero"` // when the shared state was last read
	Down        bool               `json:"down"`
	Interval    float64            `json:"interval_seconds"`
	Paused      bool               `json:"paused"`
	NextTick    time.Time          `json:"next_tick,omitzero"`
	Skipped     uint64             `json:"skipped"`
	Running     time.Time          `json:"running_since,omitzero"`
	Progressed  time.Time          `json:"progressed_at,omitzero"` // when Done last changed in the running update
	Done        int64              `json:"done"`
	Total       int64              `json:"total"`
	Failures    int                `json:"failures"` // consecutive failed updates
	Breaker     string             `json:"breaker"`
	Servers     []server           `json:"servers"` // null if the state is not shared
	Updates     any                `json:"updates"`
	Problems    []Problem          `json:"problems"`
	Latest      Response           `json:"latest"`
}

// limits are the limits of health.go that the page shows.
type limits struct {
	P99        float64 `json:"p99_ms"`
	ErrorShare float64 `json:"error_share"`
}

// A minute has the figures of the last minute that count for the limits.
type minute struct {
	P99        float64 `json:"p99_ms"`
	ErrorShare float64 `json:"error_share"`
}

// A window has what healthOf needs of the past.
type window struct {
	errorShare float64       // of the last minute
	p99        time.Duration // of the last minute
	skipped    uint64        // ticks of the last 10 minutes
	syncAge    time.Duration // since the shared state was last read; 0 if there is none
}

// unsynced reports whether the shared state cannot be read, so that there are no ticks.
func (w window) unsynced() bool { return w.syncAge > maxSyncAge }

// A sampler takes the snapshots of a server. It is not safe for concurrent use.
type sampler struct {
	source Source
	past   []counts // of the last 10 minutes, oldest first
	level  level    // of the latest snapshot
	since  time.Time

	shared time.Time // of the shared state, by its clock
	synced time.Time // when that last changed

	done       int64     // of the running update
	progressed time.Time // when that last changed

	known map[uint64]server // those that shared the state, by ID
}

// snapshotUpdates is the number of updates in a snapshot.
const snapshotUpdates = 20

const (
	figuresWindow = 10 * time.Second
	healthWindow  = time.Minute
	skippedWindow = 10 * time.Minute
)

// next returns the current snapshot. Its rates and percentiles start from the first one.
func (s *sampler) next() snapshot {
	state, updates := s.source.State(snapshotUpdates)
	now := s.source.count()
	now.skipped, now.shared = state.Skipped, state.Shared != nil
	current := snapshot{
		Server: s.source.Server, Limits: limits{P99: 1000 * maxP99.Seconds(), ErrorShare: maxErrorShare},
		Time: now.at.UTC(), Phase: s.source.Phase(), Statuses: make(map[string]float64),
		Connections: int64(now.connections), PoolInUse: int64(now.poolInUse), PoolMax: int64(now.poolMax),
		Waiting: state.Waiting, Down: now.down, Servers: s.servers(state),
		Interval: state.Interval.Seconds(), Paused: state.Paused, NextTick: state.NextTick, Skipped: state.Skipped,
		Running: runningSince(state), Done: state.Updater.Done, Total: state.Updater.Total,
		Failures: state.Updater.Failures, Breaker: state.Updater.Breaker.String(),
		Updates: updates, Problems: s.source.Problems(), Latest: s.source.Latest(),
	}
	if started, ok := startedHere(current.Servers); ok {
		current.Server.Started = started
	}
	current.Progressed = s.progress(&current)
	current.addFigures(now.since(s.before(now, figuresWindow)))
	w := s.window(now, state)
	current.Unsynced, current.Synced = w.unsynced(), s.synced.UTC()
	current.Minute = minute{P99: 1000 * w.p99.Seconds(), ErrorShare: w.errorShare}
	current.health = healthOf(&current, w)
	if current.Level != s.level {
		s.level, s.since = current.Level, current.Time
	}
	current.Since = s.since
	last := now.since(s.before(now, 0))
	current.Sample = sample{
		Time: now.at.UnixMilli(), Rate: last.rate(), Errors: last.errors(), Level: current.Level,
		P50: 1000 * last.requests.percentile(.5), P99: 1000 * last.requests.percentile(.99),
	}
	s.keep(now)
	return current
}

// progress returns when the running update of this server made its latest progress; zero if it has made none.
func (s *sampler) progress(current *snapshot) time.Time {
	switch {
	case current.Running.IsZero() || current.Done == 0:
		s.progressed = time.Time{}
	case current.Done != s.done:
		s.progressed = current.Time
	}
	s.done = current.Done
	return s.progressed
}

func (s *snapshot) addFigures(d difference) {
	s.Rate = d.rate()
	for status, n := range d.statuses {
		if n > 0 {
			s.Statuses[status] = n / d.seconds
		}
	}
	if d.reads > 0 {
		s.Reads, s.Batch = d.reads/d.seconds, d.queries/d.reads
	}
	s.P50, s.P90, s.P99 = 1000*d.requests.percentile(.5), 1000*d.requests.percentile(.9), 1000*d.requests.percentile(.99)
	s.LockWait = 1000 * d.lockWait.percentile(.99)
}

// window returns what healthOf needs of the past.
func (s *sampler) window(now counts, state points.State) window {
	var w window
	last := now.since(s.before(now, healthWindow))
	if rate := last.rate(); rate > 0 {
		w.errorShare = last.errors() / rate
	}
	w.p99 = time.Duration(last.requests.percentile(.99) * float64(time.Second))
	if old := s.before(now, skippedWindow); old.shared == now.shared && now.skipped > old.skipped {
		w.skipped = now.skipped - old.skipped
	}
	if state.Shared == nil {
		return w
	}
	if !state.Shared.Time.Equal(s.shared) {
		s.shared, s.synced = state.Shared.Time, now.at
	}
	w.syncAge = now.at.Sub(s.synced)
	return w
}

// before returns the latest counts that are at least as old as d, or else the oldest ones: now, if there are none.
func (s *sampler) before(now counts, d time.Duration) counts {
	for i, earlier := range slices.Backward(s.past) {
		if i == 0 || now.at.Sub(earlier.at) >= d {
			return earlier
		}
	}
	return now
}

// keep adds counts to the past, and drops what no window needs. Only the last minute keeps its histograms.
func (s *sampler) keep(now counts) {
	s.past = append(s.past, now)
	for len(s.past) > 1 && now.at.Sub(s.past[1].at) >= skippedWindow {
		s.past = s.past[1:]
	}
	if i := len(s.past) - 1 - int(healthWindow/interval) - 5; i >= 0 { // 5: ticks may be late
		s.past[i].requests, s.past[i].lockWait = nil, nil
	}
}
