package record

import (
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	firstWidth   = 10 * time.Millisecond
	maxIntervals = 256 // even

	timelineDigits  = 2               // enough to draw
	timelineLongest = 2 * time.Minute // anything longer is drawn as this
)

// An Interval is what happened in a part of a run.
type Interval struct {
	// Start is when the interval began, since the run began; Width how long it was, the last one cut at the run's end.
	Start, Width time.Duration

	// Requests counts those that ended in the interval, Errors the failed and the non-2xx among them.
	Requests, Errors int64

	// P50, P99 and Max are of the latencies of the requests that ended in the interval.
	P50, P99, Max time.Duration
}

// A timeline cuts a run into intervals of one width. When they are too many, each two are joined. All its memory is
// taken at the start.
type timeline struct {
	width   time.Duration
	buckets []bucket
	used    int
}

type bucket struct {
	requests, errors int64
	latencies        *hdrhistogram.Histogram
}

func newTimeline() timeline {
	t := timeline{width: firstWidth, buckets: make([]bucket, maxIntervals)}
	for i := range t.buckets {
		t.buckets[i].latencies = hdrhistogram.New(1, int64(timelineLongest/unit), timelineDigits)
		t.buckets[i].latencies.Reset() // has the system give the memory now, so that no run takes more later
	}
	return t
}

// add adds a request that ended at a time since the run began.
func (t *timeline) add(done, latency time.Duration, ok bool) {
	at := int(done / t.width)
	for at >= len(t.buckets) {
		t.fold()
		at = int(done / t.width)
	}
	t.used = max(t.used, at+1)
	b := &t.buckets[at]
	b.requests++
	if !ok {
		b.errors++
	}
	_ = b.latencies.RecordValue(int64(min(max(latency, 0), timelineLongest) / unit)) // it is in range
}

// fold joins each two intervals. The histograms that this empties are for the intervals to come.
func (t *timeline) fold() {
	joined := make([]bucket, 0, len(t.buckets))
	var empty []bucket
	for i := 0; i < len(t.buckets); i += 2 {
		left, right := t.buckets[i], t.buckets[i+1]
		left.requests += right.requests
		left.errors += right.errors
		left.latencies.Merge(right.latencies)
		joined = append(joined, left)
		right.latencies.Reset()
		empty = append(empty, bucket{latencies: right.latencies})
	}
	t.buckets = slices.Concat(joined, empty)
	t.width *= 2
	t.used = (t.used + 1) / 2
}

// intervals returns those of a run that took elapsed.
func (t *timeline) intervals(elapsed time.Duration) []Interval {
	intervals := make([]Interval, 0, t.used)
	for i, b := range t.buckets[:t.used] {
		start := time.Duration(i) * t.width
		quantile := func(q float64) time.Duration { return time.Duration(b.latencies.ValueAtQuantile(q)) * unit }
		intervals = append(intervals, Interval{
			Start: start, Width: max(min(t.width, elapsed-start), 1), Requests: b.requests, Errors: b.errors,
			P50: quantile(50), P99: quantile(99), Max: time.Duration(b.latencies.Max()) * unit,
		})
	}
	return intervals
}
