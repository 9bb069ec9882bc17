package record

import (
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	firstWidth   = 10 * time.Millisecond
	maxIntervals = 256 // must be even

	timelineDigits      = 2               // enough for a chart
	timelineMaxDuration = 2 * time.Minute // longer durations are recorded as this
)

// An Interval summarizes a part of a run.
type Interval struct {
	// Start counts from the start of the run. Width is the length; the last interval ends with the run, or soon after.
	Start, Width time.Duration

	// Requests counts the requests that ended in the interval; Errors those of them that failed or were non-2xx.
	Requests, Errors int64

	// P50, P99 and Max describe the latencies of the requests that ended in the interval.
	P50, P99, Max time.Duration
}

// A timeline divides a run into intervals of equal width. When there would be too many, it merges pairs of them. It
// allocates all its memory at the start.
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
		t.buckets[i].latencies = hdrhistogram.New(1, int64(timelineMaxDuration/unit), timelineDigits)
		t.buckets[i].latencies.Reset() // touches the memory now, so that it does not grow during the run
	}
	return t
}

// add adds a request that ended at done, counted from the start of the run.
func (t *timeline) add(done, latency time.Duration, ok bool) {
	at := int(done / t.width)
	for at >= len(t.buckets) {
		t.mergePairs()
		at = int(done / t.width)
	}
	t.used = max(t.used, at+1)
	b := &t.buckets[at]
	b.requests++
	if !ok {
		b.errors++
	}
	_ = b.latencies.RecordValue(int64(min(max(latency, 0), timelineMaxDuration) / unit)) // always in range
}

// mergePairs halves the number of intervals. The histograms that become free are used for later intervals.
func (t *timeline) mergePairs() {
	merged := make([]bucket, 0, len(t.buckets))
	var empty []bucket
	for i := 0; i < len(t.buckets); i += 2 {
		left, right := t.buckets[i], t.buckets[i+1]
		left.requests += right.requests
		left.errors += right.errors
		left.latencies.Merge(right.latencies)
		merged = append(merged, left)
		right.latencies.Reset()
		empty = append(empty, bucket{latencies: right.latencies})
	}
	t.buckets = slices.Concat(merged, empty)
	t.width *= 2
	t.used = (t.used + 1) / 2
}

// widthBefore returns the width of an interval that begins remaining before the end of the run. Only the last one may
// be shorter than the others, at most to a quarter: the rate of a few requests in a microsecond is meaningless.
func (t *timeline) widthBefore(remaining time.Duration) time.Duration {
	if remaining < t.width/4 {
		return t.width
	}
	return min(t.width, remaining)
}

// intervals returns the intervals of a run that took elapsed.
func (t *timeline) intervals(elapsed time.Duration) []Interval {
	intervals := make([]Interval, 0, t.used)
	for i, b := range t.buckets[:t.used] {
		start := time.Duration(i) * t.width
		quantile := func(q float64) time.Duration { return time.Duration(b.latencies.ValueAtQuantile(q)) * unit }
		intervals = append(intervals, Interval{
			Start: start, Width: t.widthBefore(elapsed - start), Requests: b.requests, Errors: b.errors,
			P50: quantile(50), P99: quantile(99), Max: time.Duration(b.latencies.Max()) * unit,
		})
	}
	return intervals
}
