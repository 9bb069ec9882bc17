package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/internal/record"
)

// printLatency writes the percentiles of the latency and a histogram. ab's table has whole milliseconds only.
func (c *command) printLatency(d *record.Distribution, open bool) {
	since := "sent"
	if open {
		since = "due"
	}
	fmt.Fprintf(c.stdout, "\nLatency from when a request was %s (ms)\n", since)
	fmt.Fprintf(c.stdout, "%9s %10.3f\n", "mean", milliseconds(d.Mean()))
	for _, percent := range []float64{50, 75, 90, 95, 99, 99.9, 99.99, 99.999} {
		fmt.Fprintf(c.stdout, "%8v%% %10.3f\n", percent, milliseconds(d.Percentile(percent)))
	}
	fmt.Fprintf(c.stdout, "%9s %10.3f\n", "max", milliseconds(d.Max()))
	if d.Count() > 1 {
		fmt.Fprint(c.stdout, "\nLatency histogram (up to, ms)\n"+histogram(d))
	}
}

// percentileText returns a percentile in milliseconds; "-" if there are no samples.
func percentileText(d *record.Distribution, percent float64) string {
	if d.Count() == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3f", milliseconds(d.Percentile(percent)))
}

// histogram draws the distribution with one line per bound. The bounds are 1, 2 and 5 times powers of ten, so that the
// histograms of two runs can be compared line by line.
func histogram(d *record.Distribution) string {
	const width = 50
	bounds := histogramBounds(d.Percentile(0), d.Percentile(100))
	counts := d.CountsUpTo(bounds)
	most := int64(1)
	for _, n := range counts {
		most = max(most, n)
	}
	var b strings.Builder
	for i, n := range counts {
		bar := int((n*width + most - 1) / most) // at least one character unless n is 0
		line := fmt.Sprintf("%10v %10d  %s", milliseconds(bounds[i]), n, strings.Repeat("#", bar))
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

// histogramBounds returns the bounds from the one before shortest to the first one that is at least longest.
func histogramBounds(shortest, longest time.Duration) []time.Duration {
	var bounds []time.Duration
	for decade := time.Microsecond; ; decade *= 10 {
		for _, bound := range []time.Duration{decade, 2 * decade, 5 * decade} {
			if bound >= shortest {
				bounds = append(bounds, bound)
			}
			if bound >= longest {
				return bounds
			}
		}
	}
}

// printOutcomes writes the number of responses with each status code, and of failures with each error.
func (c *command) printOutcomes(s *record.Summary) {
	if len(s.Statuses) > 0 {
		fmt.Fprint(c.stdout, "\nStatus codes\n")
		for _, status := range s.Statuses {
			fmt.Fprintf(c.stdout, "%9d %10d\n", status.Status, status.Count)
		}
	}
	if len(s.Failures) > 0 {
		fmt.Fprint(c.stdout, "\nErrors\n")
		for _, failure := range s.Failures {
			fmt.Fprintf(c.stdout, "%20d  %s\n", failure.Count, failure.Error)
		}
	}
}
