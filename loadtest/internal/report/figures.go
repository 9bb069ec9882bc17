package report

import (
	"time"

	"github.com/pointsapp/pointsapp/loadtest/internal/ab"
	"github.com/pointsapp/pointsapp/loadtest/internal/record"
)

// latencyPercents returns the percentages of LatencyPercentiles, denser towards 100.
func latencyPercents() []float64 {
	return []float64{
		0, 1, 5, 10, 20, 30, 40, 50, 60, 66, 70, 75, 80, 85, 90, 92.5, 95, 97.5, 98, 99,
		99.5, 99.9, 99.95, 99.99, 99.995, 99.999, 100,
	}
}

// Fill sets the figures of the run from its summary. Load and Target must be set before.
func (r *Run) Fill(s *record.Summary) {
	rates := ab.RatesOf(s, r.Load.Concurrency)
	r.Seconds = s.Elapsed.Seconds()
	r.Counts = s.Counts
	r.Histograms = newHistograms(s)
	r.StatusCodes, r.Errors = s.Statuses, s.Failures
	for _, f := range s.Failures {
		r.Failures = append(r.Failures, f.Error)
	}
	r.RequestsPerSecond, r.KBytesPerSecond = rates.Requests, rates.Transfer
	r.PerRequestMS, r.PerRequestAllMS = rates.PerRequest, rates.PerRequestAcross
	r.Target.ServerSoftware, r.Target.DocumentLength = s.ServerSoftware, s.DocumentLength
	r.ConnectionTimes = ConnectionTimes{
		Connect: times(s.Times.Connect), Processing: times(s.Processing), Waiting: times(s.Waiting), Total: times(s.Total),
	}
	r.Percentiles = []Percentile{}
	for _, p := range ab.Percentages() {
		r.Percentiles = appendPercentile(r.Percentiles, s.Total, float64(p))
	}
	if late := s.ClientDelay; late != nil {
		r.Client.LateP99, r.Client.LateMax = ms(late.Percentile(99)), ms(late.Max())
	}
	r.LatencyMeanMS = ms(s.Latency.Mean())
	for _, p := range latencyPercents() {
		r.LatencyPercentiles = appendPercentile(r.LatencyPercentiles, s.Latency, p)
	}
	for _, i := range s.Timeline {
		r.Timeline = append(r.Timeline, Interval{
			Start: i.Start.Seconds(), Width: i.Width.Seconds(), Requests: i.Requests, Errors: i.Errors,
			P50: ms(i.P50), P99: ms(i.P99), Max: ms(i.Max),
		})
	}
}

func times(d *record.Distribution) Times {
	return Times{
		Min: ms(d.Min()), Mean: ms(d.Mean()), SD: ms(d.Deviation()), Median: ms(d.Percentile(50)), Max: ms(d.Max()),
	}
}

// appendPercentile adds a percentile if it is known. Without samples, only the maximum may be: the age of the aborted
// requests.
func appendPercentile(to []Percentile, d *record.Distribution, p float64) []Percentile {
	if d.Count() == 0 && (p < 100 || d.Max() == 0) {
		return to
	}
	return append(to, Percentile{Percent: p, MS: ms(d.Percentile(p))})
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// at returns the value of a percentile, and whether there is one.
func at(percentiles []Percentile, percent float64) (float64, bool) {
	for _, p := range percentiles {
		if p.Percent == percent {
			return p.MS, true
		}
	}
	return 0, false
}
