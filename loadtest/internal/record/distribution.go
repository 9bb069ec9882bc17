package record

import (
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	unit        = time.Microsecond // resolution, the same as ab's
	maxDuration = time.Hour        // longer durations are recorded as this
	digits      = 3                // significant digits: percentiles are up to 0.1% too high
)

// A Distribution aggregates durations. Minimum, maximum, mean and standard deviation are exact to the microsecond;
// percentiles are up to 0.1% too high. The zero value is not usable. It is not safe for concurrent use.
type Distribution struct {
	histogram *hdrhistogram.Histogram
	min, max  int64
	mean, m2  float64 // Welford's algorithm: m2 is the sum of squared differences from the mean
	n         int64
}

// NewDistribution returns an empty distribution.
func NewDistribution() *Distribution {
	return &Distribution{histogram: hdrhistogram.New(1, int64(maxDuration/unit), digits)}
}

// Add adds a duration. Negative durations count as 0.
func (d *Distribution) Add(duration time.Duration) {
	v := min(max(int64(duration/unit), 0), int64(maxDuration/unit))
	_ = d.histogram.RecordValue(v) // always in range
	if d.n == 0 || v < d.min {
		d.min = v
	}
	d.max = max(d.max, v)
	d.n++
	delta := float64(v) - d.mean
	d.mean += delta / float64(d.n)
	d.m2 += delta * (float64(v) - d.mean)
}

// ExtendMax raises the maximum to duration, if that is longer, and changes nothing else.
func (d *Distribution) ExtendMax(duration time.Duration) {
	d.max = max(d.max, min(int64(duration/unit), int64(maxDuration/unit)))
}

// Count returns the number of durations.
func (d *Distribution) Count() int64 { return d.n }

// Min returns the minimum; 0 if the distribution is empty.
func (d *Distribution) Min() time.Duration { return time.Duration(d.min) * unit }

// Max returns the maximum, including that of ExtendMax; 0 if there is none.
func (d *Distribution) Max() time.Duration { return time.Duration(d.max) * unit }

// Mean returns the mean; 0 if the distribution is empty.
func (d *Distribution) Mean() time.Duration { return time.Duration(d.mean * float64(unit)) }

// Sum returns the sum of the durations.
func (d *Distribution) Sum() time.Duration {
	return time.Duration(math.Round(d.mean*float64(d.n))) * unit
}

// Deviation returns the sample standard deviation (over n-1, as in ab); 0 for fewer than two durations.
func (d *Distribution) Deviation() time.Duration {
	if d.n < 2 {
		return 0
	}
	return time.Duration(math.Sqrt(d.m2/float64(d.n-1)) * float64(unit))
}

// Rank returns the duration at index i of the sorted durations; i is clamped to the valid range.
func (d *Distribution) Rank(i int64) time.Duration {
	if d.n == 0 {
		return 0
	}
	i = min(max(i, 0), d.n-1)
	v := d.histogram.ValueAtPercentile(100 * (float64(i) + 1) / float64(d.n))
	return time.Duration(min(max(v, d.min), d.max)) * unit
}

// CountsUpTo returns, for each of the ascending bounds, the number of durations up to it and above the previous one. A
// bound is exact to 0.1%.
func (d *Distribution) CountsUpTo(bounds []time.Duration) []int64 {
	counts := make([]int64, len(bounds))
	i := 0
	for _, bar := range d.histogram.Distribution() {
		for i < len(bounds) && bar.From > int64(bounds[i]/unit) {
			i++
		}
		if i == len(bounds) {
			break
		}
		counts[i] += bar.Count
	}
	return counts
}

// Percentile returns the p-th percentile, p in 0..100, by ab's rule: the duration at rank n*p/100, rounded down.
// The 100th percentile is the maximum.
func (d *Distribution) Percentile(p float64) time.Duration {
	if p >= 100 {
		return d.Max()
	}
	return d.Rank(int64(float64(d.n) * p / 100))
}
