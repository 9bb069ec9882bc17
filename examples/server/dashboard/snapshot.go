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

// A Source tells what a dashboard shows. All of its functions are safe for concurrent use.
type Source struct {
	Metrics  prometheus.Gatherer    // of package telemetry
	State    func() points.State    // of the engine
	Phase    func() string          // what the server does when it does not simply serve, or ""
	Updates  func() any             // the latest ones, for JSON
	Problems func() []string        // the latest warnings and errors, the latest last
	Latest   func() json.RawMessage // the latest answer that was given while somebody watched; nil if none was
	Watch    func(bool)             // somebody watches, or nobody does any longer
	Controls bool                   // there is a token that allows to control the engine
}

// A snapshot is what there is to see at one moment, of the time since the one before.
type snapshot struct {
	Time     time.Time          `json:"time"`
	Phase    string             `json:"phase"`
	Rate     float64            `json:"rate"`     // answers to queries, a second
	Statuses map[string]float64 `json:"statuses"` // of these, by status
	P50      float64            `json:"p50"`      // ms
	P90      float64            `json:"p90"`      // ms
	P99      float64            `json:"p99"`      // ms
	Waiting  int                `json:"waiting"`
	Batch    float64            `json:"batch"` // queries for each read, on average
	Reads    float64            `json:"reads"` // a second
	Down     bool               `json:"down"`
	Interval float64            `json:"interval"` // s
	Paused   bool               `json:"paused"`
	NextTick time.Time          `json:"next_tick,omitzero"`
	Skipped  uint64             `json:"skipped"`
	Running  time.Time          `json:"running_since,omitzero"`
	Done     int64              `json:"done"`
	Total    int64              `json:"total"`
	Breaker  string             `json:"breaker"`
	Updates  any                `json:"updates"`
	Problems []string           `json:"problems"`
	Latest   json.RawMessage    `json:"latest"`
	Controls bool               `json:"controls"`
}

// counts are what is counted up to one moment.
type counts struct {
	at       time.Time
	statuses map[string]float64
	buckets  map[float64]float64 // cumulative, by upper bound in s
	callers  float64             // of batches
	reads    float64
}

// look returns what there is to see, and what the next look is to compare with.
func (s Source) look(before counts) (snapshot, counts) {
	now := s.count()
	state := s.State()
	seen := snapshot{
		Time: now.at.UTC(), Phase: s.Phase(), Statuses: make(map[string]float64),
		Waiting: state.Waiting, Down: state.Down,
		Interval: state.Interval.Seconds(), Paused: state.Paused, NextTick: state.NextTick, Skipped: state.Skipped,
		Running: state.Updater.RunningSince, Done: state.Updater.Done, Total: state.Updater.Total,
		Breaker: state.Updater.Breaker.String(), Updates: s.Updates(), Problems: s.Problems(), Latest: s.Latest(),
		Controls: s.Controls,
	}
	if before.at.IsZero() {
		return seen, now
	}
	took := now.at.Sub(before.at).Seconds()
	for status, n := range now.statuses {
		if n -= before.statuses[status]; n > 0 {
			seen.Statuses[status] = n / took
			seen.Rate += n / took
		}
	}
	if seen.Reads = (now.reads - before.reads) / took; seen.Reads > 0 {
		seen.Batch = (now.callers - before.callers) / (now.reads - before.reads)
	}
	buckets := make(map[float64]float64)
	for bound, n := range now.buckets {
		buckets[bound] = n - before.buckets[bound]
	}
	ms := func(share float64) float64 { return 1000 * percentile(buckets, share) }
	seen.P50, seen.P90, seen.P99 = ms(.5), ms(.9), ms(.99)
	return seen, now
}

// count reads the metrics of queries.
func (s Source) count() counts {
	c := counts{at: time.Now(), statuses: make(map[string]float64), buckets: make(map[float64]float64)}
	families, err := s.Metrics.Gather()
	if err != nil {
		return c // of a metric that is not shown here: what could be gathered is there
	}
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
		for _, bucket := range histogram.GetBucket() {
			c.buckets[bucket.GetUpperBound()] += float64(bucket.GetCumulativeCount())
		}
	case "points_batch_size":
		c.callers, c.reads = histogram.GetSampleSum(), float64(histogram.GetSampleCount())
	}
}

// percentile returns the value that this share of all is at or below, as if those in a bucket were spread evenly over
// it: as Prometheus's histogram_quantile does. It is 0 if there is none.
func percentile(buckets map[float64]float64, share float64) float64 {
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

// maxFinite is above all bounds but infinity.
const maxFinite = 1e9
