package dashboard

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/pointsapp/pointsapp/points"
)

// A Source has the data of a dashboard. Its functions must be safe for concurrent use.
type Source struct {
	Metrics  prometheus.Gatherer    // of package telemetry
	State    func() points.State    // of the engine
	Phase    func() string          // "starting", for example; "" while the server serves queries
	Updates  func() any             // the latest updates, as JSON values
	Problems func() []string        // the latest warnings and errors, newest last
	Latest   func() json.RawMessage // the latest response to a query since Watch(true); nil if there was none
	Watch    func(bool)             // called with true when the first page opens, with false when the last one closes
	Controls bool                   // whether /control is enabled
}

// A snapshot is the state of a server, with rates and percentiles since the previous snapshot.
type snapshot struct {
	Time     time.Time          `json:"time"`
	Phase    string             `json:"phase"`
	Rate     float64            `json:"rate_per_second"`     // responses to queries
	Statuses map[string]float64 `json:"statuses_per_second"` // the same by status
	P50      float64            `json:"p50_ms"`
	P90      float64            `json:"p90_ms"`
	P99      float64            `json:"p99_ms"`
	Waiting  int                `json:"waiting"`
	InFlight int                `json:"in_flight"`        // reads
	LockWait float64            `json:"lock_wait_p99_ms"` // with a shared state
	Batch    float64            `json:"queries_per_read"` // mean
	Reads    float64            `json:"reads_per_second"`
	Down     bool               `json:"down"`
	Interval float64            `json:"interval_seconds"`
	Paused   bool               `json:"paused"`
	NextTick time.Time          `json:"next_tick,omitzero"`
	Skipped  uint64             `json:"skipped"`
	Running  time.Time          `json:"running_since,omitzero"`
	Done     int64              `json:"done"`
	Total    int64              `json:"total"`
	Breaker  string             `json:"breaker"`
	Servers  []server           `json:"servers"` // null if the state is not shared
	Updates  any                `json:"updates"`
	Problems []string           `json:"problems"`
	Latest   json.RawMessage    `json:"latest"`
	Controls bool               `json:"controls"`
}

// buckets are the cumulative counts of a histogram by upper bound in s.
type buckets map[float64]float64

func (b buckets) add(histogram *dto.Histogram) {
	for _, bucket := range histogram.GetBucket() {
		b[bucket.GetUpperBound()] += float64(bucket.GetCumulativeCount())
	}
}

// percentileSince returns a percentile in ms of the observations since previous.
func (b buckets) percentileSince(previous buckets, share float64) float64 {
	since := make(buckets)
	for bound, n := range b {
		since[bound] = n - previous[bound]
	}
	return 1000 * percentile(since, share)
}

// counts are cumulative metrics at one time.
type counts struct {
	at       time.Time
	statuses map[string]float64
	requests buckets
	lockWait buckets // of batches
	queries  float64 // in batches
	reads    float64
}

// snapshot returns the current snapshot and the counts that the next one starts from. previous are the last one's; with
// the zero value, there are no rates and percentiles.
func (s Source) snapshot(previous counts) (snapshot, counts) {
	now := s.count()
	state := s.State()
	current := snapshot{
		Time: now.at.UTC(), Phase: s.Phase(), Statuses: make(map[string]float64),
		Waiting: state.Waiting, InFlight: state.InFlight, Down: state.Down, Servers: servers(state),
		Interval: state.Interval.Seconds(), Paused: state.Paused, NextTick: state.NextTick, Skipped: state.Skipped,
		Running: runningSince(state), Done: state.Updater.Done, Total: state.Updater.Total,
		Breaker: state.Updater.Breaker.String(), Updates: s.Updates(), Problems: s.Problems(), Latest: s.Latest(),
		Controls: s.Controls,
	}
	if previous.at.IsZero() {
		return current, now
	}
	elapsed := now.at.Sub(previous.at).Seconds()
	for status, n := range now.statuses {
		if n -= previous.statuses[status]; n > 0 {
			current.Statuses[status] = n / elapsed
			current.Rate += n / elapsed
		}
	}
	if current.Reads = (now.reads - previous.reads) / elapsed; current.Reads > 0 {
		current.Batch = (now.queries - previous.queries) / (now.reads - previous.reads)
	}
	current.P50 = now.requests.percentileSince(previous.requests, .5)
	current.P90 = now.requests.percentileSince(previous.requests, .9)
	current.P99 = now.requests.percentileSince(previous.requests, .99)
	current.LockWait = now.lockWait.percentileSince(previous.lockWait, .99)
	return current, now
}

// count returns the metrics of queries.
func (s Source) count() counts {
	c := counts{at: time.Now(), statuses: make(map[string]float64), requests: make(buckets), lockWait: make(buckets)}
	families, _ := s.Metrics.Gather() // besides an error it returns what it could gather
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			c.add(family.GetName(), metric)
		}
	}
	return c
}

func (c *counts) add(name string, metric *dto.Metric) {
	histogram := metric.GetHistogram()
	switch name {
	case "http_server_request_duration_seconds":
		labels := make(map[string]string)
		for _, label := range metric.GetLabel() {
			labels[label.GetName()] = label.GetValue()
		}
		if labels["http_route"] != "/" {
			return
		}
		c.statuses[labels["http_response_status_code"]] += float64(histogram.GetSampleCount())
		c.requests.add(histogram)
	case "points_batch_lock_wait_seconds":
		c.lockWait.add(histogram)
	case "points_batch_size":
		c.queries, c.reads = histogram.GetSampleSum(), float64(histogram.GetSampleCount())
	}
}

// percentile returns the value below which the share of all observations lies, by linear interpolation within its
// bucket, as Prometheus' histogram_quantile does. It returns 0 if there are no observations.
func percentile(buckets buckets, share float64) float64 {
	bounds := slices.Sorted(maps.Keys(buckets))
	if len(bounds) == 0 {
		return 0
	}
	rank := share * buckets[bounds[len(bounds)-1]]
	if rank == 0 {
		return 0
	}
	low, below := 0.0, 0.0
	for _, high := range bounds {
		if n := buckets[high]; n >= rank {
			if high > maxFinite {
				return low
			}
			return low + (high-low)*(rank-below)/(n-below)
		}
		low, below = high, buckets[high]
	}
	return low
}

// maxFinite is greater than every bound except infinity.
const maxFinite = 1e9
