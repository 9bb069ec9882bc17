package report

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// A row of a comparison is a figure of both runs; NaN if a run does not have it.
type row struct {
	Label    string
	Unit     string
	Old, New float64
}

// Ratio formats New/Old; "" if it is undefined.
func (r row) Ratio() string {
	if math.IsNaN(r.Old) || math.IsNaN(r.New) || r.Old == 0 {
		return ""
	}
	return strconv.FormatFloat(r.New/r.Old, 'g', 3, 64) + "x"
}

// Compare writes the figures of two runs side by side, with the ratios of the second to the first if their setups are
// the same.
func Compare(w io.Writer, old, current *Run) error {
	for _, note := range comparisonNotes(old, current) {
		fmt.Fprintln(w, note)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	difference := withoutRatios(old, current)
	columns := []string{"", "old: " + old.Name, "new: " + current.Name}
	if difference == "" {
		columns = append(columns, "ratio")
	}
	fmt.Fprintln(t, strings.Join(columns, "\t")+"\t")
	for _, r := range rows(old, current) {
		fmt.Fprintf(t, "%s\t%s\t%s\t", r.Label+unitSuffix(r.Unit), number(r.Old), number(r.New))
		if difference == "" {
			fmt.Fprintf(t, "%s\t", r.Ratio())
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("cannot write the comparison: %w", err)
	}
	return nil
}

// comparisonNotes returns what a reader must know about the figures of a comparison, as sentences.
func comparisonNotes(old, current *Run) []string {
	var notes []string
	for i, r := range []*Run{old, current} {
		name := []string{"old", "new"}[i]
		if r.Interrupted {
			notes = append(notes, "The "+name+" run was interrupted: its figures are incomplete.")
		}
		if limit := r.ClientLimit(); limit != "" {
			notes = append(notes, "The "+name+" run was limited by the load generator: "+limit+
				". The server may be capable of more.")
		}
	}
	for _, text := range []string{latencyStart(old, current), withoutRatios(old, current)} {
		if text != "" {
			notes = append(notes, text)
		}
	}
	return notes
}

func unitSuffix(unit string) string {
	if unit == "" {
		return ""
	}
	return " [" + unit + "]"
}

// rows returns ab's figures in ab's order, with more of the high percentiles.
func rows(old, current *Run) []row {
	var rows []row
	add := func(label, unit string, figure func(*Run) float64) {
		rows = append(rows, row{Label: label, Unit: unit, Old: figure(old), New: figure(current)})
	}
	bothOpen := old.IsOpen() && current.IsOpen()
	if !bothOpen {
		add("Concurrency", "", closedOnly(func(r *Run) float64 { return float64(r.Load.Concurrency) }))
	}
	add("Time taken", "s", func(r *Run) float64 { return r.Seconds })
	add("Complete requests", "", func(r *Run) float64 { return float64(r.Counts.Complete) })
	add("Failed (without Length)", "", func(r *Run) float64 { return float64(r.Counts.Failed()) })
	add("Length differs from the first", "", func(r *Run) float64 { return float64(r.Counts.Length) })
	add("Aborted", "", func(r *Run) float64 { return float64(r.Counts.Aborted) })
	add("Resent", "", func(r *Run) float64 { return float64(r.Counts.Resent) })
	add("Non-2xx responses", "", func(r *Run) float64 { return float64(r.Counts.Non2xx) })
	add("Total transferred", "bytes", func(r *Run) float64 { return float64(r.Counts.Received) })
	add("HTML transferred", "bytes", func(r *Run) float64 { return float64(r.Counts.Body) })
	add("Requests per second", "", func(r *Run) float64 { return r.RequestsPerSecond })
	if !bothOpen {
		add("Time per request", "ms", closedOnly(ifComplete(func(r *Run) float64 { return r.PerRequestMS })))
	}
	add("Time per request, across all", "ms", ifComplete(func(r *Run) float64 { return r.PerRequestAllMS }))
	add("Transfer rate", "Kbytes/s", func(r *Run) float64 { return r.KBytesPerSecond })
	add("Connect, mean", "ms", ifComplete(func(r *Run) float64 { return r.ConnectionTimes.Connect.Mean }))
	add("Processing, mean", "ms", ifComplete(func(r *Run) float64 { return r.ConnectionTimes.Processing.Mean }))
	add("Waiting, mean", "ms", ifComplete(func(r *Run) float64 { return r.ConnectionTimes.Waiting.Mean }))
	add("Total, mean", "ms", ifComplete(func(r *Run) float64 { return r.ConnectionTimes.Total.Mean }))
	add("Total, sd", "ms", ifComplete(func(r *Run) float64 { return r.ConnectionTimes.Total.SD }))
	if old.IsOpen() || current.IsOpen() {
		add("Latency, mean", "ms", ifComplete(func(r *Run) float64 { return r.LatencyMeanMS }))
	}
	for _, percent := range []float64{50, 66, 75, 80, 90, 95, 98, 99, 99.9, 99.99, 99.999, 100} {
		add(percentLabel(percent), "ms", func(r *Run) float64 { return r.latency(percent) })
	}
	return rows
}

// closedOnly returns the figure of a closed loop, and NaN for an open loop: its concurrency is only a limit.
func closedOnly(figure func(*Run) float64) func(*Run) float64 {
	return func(r *Run) float64 {
		if r.IsOpen() {
			return math.NaN()
		}
		return figure(r)
	}
}

// ifComplete returns the figure of a run with complete requests, and NaN for others.
func ifComplete(figure func(*Run) float64) func(*Run) float64 {
	return func(r *Run) float64 {
		if r.Counts.Complete == 0 {
			return math.NaN()
		}
		return figure(r)
	}
}

// latency returns a percentile of the latency that clauses refer to, in milliseconds; NaN if it is unknown.
func (r *Run) latency(percent float64) float64 {
	if v, ok := at(r.LatencyPercentiles, percent); ok {
		return v
	}
	return orNaN(at(r.Percentiles, percent)) // the original's report has only ab's
}

// latencyStart says from when latencies are measured, if a run is an open loop; otherwise "".
func latencyStart(old, current *Run) string {
	switch {
	case old.IsOpen() && current.IsOpen():
		return "Latency and percentiles count from when a request was due, the other times from when it was sent."
	case old.IsOpen() || current.IsOpen():
		return "Latency and percentiles of the open loop count from when a request was due, " +
			"all other times from when it was sent."
	}
	return ""
}

func percentLabel(p float64) string {
	if p == 100 {
		return "100% (longest request)"
	}
	return strconv.FormatFloat(p, 'f', -1, 64) + "%"
}

// orNaN returns v, or NaN if it is unknown.
func orNaN(v float64, ok bool) float64 {
	if !ok {
		return math.NaN()
	}
	return v
}

// number formats a figure: whole numbers without decimals, numbers from 100 on with two, others with three; NaN is "-".
func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "-"
	case v == math.Trunc(v):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case math.Abs(v) >= 100:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}
