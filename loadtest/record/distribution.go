package record

import (
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	unit    = time.Microsecond // what histograms count in, as ab does
	longest = time.Hour        // anything longer is recorded as this
	digits  = 3                // significant ones: a quantile is off by at most 0.1 %
)

// A Distribution holds durations. Its least, greatest, mean and deviation are exact to the microsecond; its quantiles
// are up to 0.1 % too high. The zero value is not usable. It is not safe for concurrent use.
type Distribution struct {
	histogram *hdrhistogram.Histogram
	min, max  int64
	mean, m2  float64 // Welford's: m2 is the sum of squared distances from the mean
	n         int64
}

// NewDistribution returns an empty distribution.
func NewDistribution() *Distribution {
	return &Distribution{histogram: hdrhistogram.New(1, int64(longest/unit), digits)}
}

// Add adds d. A negative one counts as 0.
func (d *Distribution) Add(duration time.Duration) {
	v := min(max(int64(duration/unit), 0), int64(longest/unit))
	_ = d.histogram.RecordValue(v) // it is in range
	if d.n == 0 || v < d.min {
		d.min = v
	}
	d.max = max(d.max, v)
	d.n++
	delta := float64(v) - d.mean
	d.mean += delta / float64(d.n)
	d.m2 += delta * (float64(v) - d.mean)
}

// Count returns how many durations there are.
func (d *Distribution) Count() int64 { return d.n }

// Min returns the least duration; 0 if there is none.
func (d *Distribution) Min() time.Duration { return time.Duration(d.min) * unit }

// Max returns the greatest duration; 0 if there is none.
func (d *Distribution) Max() time.Duration { return time.Duration(d.max) * unit }

// Mean returns the mean; 0 if there is none.
func (d *Distribution) Mean() time.Duration { return time.Duration(d.mean * float64(unit)) }

// Deviation returns the standard deviation of a sample, over n-1 as ab has it; 0 if there are less than two.
func (d *Distribution) Deviation() time.Duration {
	if d.n < 2 {
		return 0
	}
	return time.Duration(math.Sqrt(d.m2/float64(d.n-1)) * float64(unit))
}

// Rank returns the duration with i others below it when all are sorted, from 0; the nearest one if there is none.
func (d *Distribution) Rank(i int64) time.Duration {
	if d.n == 0 {
		return 0
	}
	i = min(max(i, 0), d.n-1)
	v := d.histogram.ValueAtPercentile(100 * (float64(i) + 1) / float64(d.n))
	return time.Duration(min(max(v, d.min), d.max)) * unit
}

// Percentile returns the p-th percentile, p in 0..100, as ab counts: the duration whose rank is n*p/100, rounded down.
func (d *Distribution) Percentile(p float64) time.Duration {
	return d.Rank(int64(float64(d.n) * p / 100))
}
