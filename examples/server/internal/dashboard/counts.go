package dashboard

import (
	"maps"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// counts are cumulative metrics at one time, and gauges.
type counts struct {
	at       time.Time
	statuses map[string]float64 // responses to queries by status
	requests buckets            // those with status 200
	lockWait buckets            // of batches
	queries  float64            // in batches
	reads    float64
	skipped  uint64 // ticks
	shared   bool   // whether those are the ticks of all servers

	connections, poolInUse, poolMax float64

	down bool // reads of the store fail
}

// A difference is the change of the counts between two times.
type difference struct {
	counts

	seconds float64 // between the two times
}

// since returns the difference to earlier counts.
func (c *counts) since(earlier counts) difference {
	d := difference{seconds: c.at.Sub(earlier.at).Seconds()}
	d.statuses = make(map[string]float64)
	for status, n := range c.statuses {
		d.statuses[status] = n - earlier.statuses[status]
	}
	d.requests, d.lockWait = c.requests.since(earlier.requests), c.lockWait.since(earlier.lockWait)
	d.queries, d.reads = c.queries-earlier.queries, c.reads-earlier.reads
	return d
}

// rate returns the responses per second.
func (d difference) rate() float64 { return d.perSecond("") }

// errors returns the responses per second with status 5xx.
func (d difference) errors() float64 { return d.perSecond("5") }

// perSecond returns the responses per second with a status that has a prefix.
func (d difference) perSecond(prefix string) float64 {
	var sum float64
	for status, n := range d.statuses {
		if strings.HasPrefix(status, prefix) {
			sum += n
		}
	}
	if d.seconds == 0 {
		return 0
	}
	return sum / d.seconds
}

// count returns the metrics of the server.
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
		status := labels["http_response_status_code"]
		c.statuses[status] += float64(histogram.GetSampleCount())
		if status == "200" { // rejections are fast
			c.requests.add(histogram)
		}
	case "points_batch_lock_wait_seconds":
		c.lockWait.add(histogram)
	case "points_batch_size":
		c.queries, c.reads = histogram.GetSampleSum(), float64(histogram.GetSampleCount())
	case "points_connections_open":
		c.connections = metric.GetGauge().GetValue()
	case "points_store_down":
		c.down = metric.GetGauge().GetValue() > 0
	case "pgxpool_acquired_connections":
		c.poolInUse = metric.GetGauge().GetValue()
	case "pgxpool_max_connections":
		c.poolMax = metric.GetGauge().GetValue()
	}
}

// buckets are the cumulative counts of a histogram by upper bound in s.
type buckets map[float64]float64

func (b buckets) add(histogram *dto.Histogram) {
	for _, bucket := range histogram.GetBucket() {
		b[bucket.GetUpperBound()] += float64(bucket.GetCumulativeCount())
	}
}

// since returns the observations since earlier buckets.
func (b buckets) since(earlier buckets) buckets {
	since := make(buckets)
	for bound, n := range b {
		since[bound] = n - earlier[bound]
	}
	return since
}

// percentile returns the value below which the share of all observations lies, by linear interpolation within its
// bucket, as Prometheus' histogram_quantile does. It returns 0 if there are no observations.
func (b buckets) percentile(share float64) float64 {
	bounds := slices.Sorted(maps.Keys(b))
	if len(bounds) == 0 {
		return 0
	}
	rank := share * b[bounds[len(bounds)-1]]
	if rank == 0 {
		return 0
	}
	low, below := 0.0, 0.0
	for _, high := range bounds {
		if n := b[high]; n >= rank {
			if high > maxFinite {
				return low
			}
			return low + (high-low)*(rank-below)/(n-below)
		}
		low, below = high, b[high]
	}
	return low
}

// maxFinite is greater than every bound except infinity.
const maxFinite = 1e9
