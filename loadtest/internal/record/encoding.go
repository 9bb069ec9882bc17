package record

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// encoded is the JSON form of a Distribution. Times are in microseconds.
type encoded struct {
	Count int64   `json:"count"`
	Min   int64   `json:"min_us"`
	Max   int64   `json:"max_us"`
	Mean  float64 `json:"mean_us"`
	M2    float64 `json:"m2"` // sum of squared differences from the mean

	// Histogram is an HdrHistogram in its V2 compressed encoding, in base64.
	Histogram string `json:"hdr"`
}

// MarshalJSON encodes the distribution without loss.
func (d *Distribution) MarshalJSON() ([]byte, error) {
	histogram, err := d.histogram.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, fmt.Errorf("cannot encode a histogram: %w", err)
	}
	return json.Marshal(encoded{
		Count: d.n, Min: d.min, Max: d.max, Mean: d.mean, M2: d.m2, Histogram: string(histogram),
	})
}

// UnmarshalJSON decodes what MarshalJSON has encoded.
func (d *Distribution) UnmarshalJSON(b []byte) error {
	var e encoded
	if err := json.Unmarshal(b, &e); err != nil {
		return err
	}
	packed, err := hdrhistogram.DecodePacked([]byte(e.Histogram)) // takes no memory for an absurd range
	if err != nil {
		return fmt.Errorf("cannot decode a histogram: %w", err)
	}
	*d = *NewDistribution()
	dropped := packed.MergeInto(d.histogram)
	valid := dropped == 0 && d.histogram.TotalCount() == e.Count && e.Count >= 0 && e.Min >= 0 && e.Max >= e.Min &&
		e.Mean >= 0 && e.M2 >= 0
	if !valid {
		return errors.New("cannot decode a histogram: it does not fit its count, minimum and maximum")
	}
	d.n, d.min, d.max, d.mean, d.m2 = e.Count, e.Min, e.Max, e.Mean, e.M2
	return nil
}

// Merge adds the durations of another distribution, which is not changed.
func (d *Distribution) Merge(other *Distribution) {
	d.max = max(d.max, other.max)
	if other.n == 0 {
		return
	}
	if d.n == 0 || other.min < d.min {
		d.min = other.min
	}
	d.histogram.Merge(other.histogram)
	n, m := float64(d.n), float64(other.n)
	delta := other.mean - d.mean
	d.m2 += other.m2 + delta*delta*n*m/(n+m)
	d.mean += delta * m / (n + m)
	d.n += other.n
}
