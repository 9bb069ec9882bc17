// Package ab writes the report of ab (ApacheBench 2.3) in exactly its layout and with its arithmetic.
//
//	report := ab.Report{Summary: summary, Hostname: "127.0.0.1", Port: "4000", Path: "/", Concurrency: 100}
//	err := report.Write(os.Stdout)
package ab

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/internal/record"
)

// A Report is ab's report of a run.
type Report struct {
	record.Summary

	Hostname, Port, Path string
	Concurrency          int
	AnyLength            bool // -l: print the length as "Variable"
	KeepAlive            bool // -k: print the number of keep-alive requests

	// Rates, if set, replaces the rates computed from the summary.
	Rates *Rates

	// Open omits what is meaningless in an open loop: the number of clients, the time per request of a client, and
	// percentiles measured from when a request was sent.
	Open bool
}

// Percentages returns the percentiles in ab's report.
func Percentages() []int { return []int{50, 66, 75, 80, 90, 95, 98, 99, 100} }

// Write writes the report, starting with the line "Server Software".
func (r *Report) Write(w io.Writer) error {
	b := bufio.NewWriter(w)
	r.target(b)
	r.totals(b)
	if r.Complete > 0 {
		r.times(b)
	}
	if r.Complete > 1 && !r.Open {
		r.percentiles(b)
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("cannot write ab's report: %w", err)
	}
	return nil
}

func (r *Report) target(b *bufio.Writer) {
	fmt.Fprintf(b, "Server Software:        %s\n", r.ServerSoftware)
	fmt.Fprintf(b, "Server Hostname:        %s\n", r.Hostname)
	fmt.Fprintf(b, "Server Port:            %s\n", r.Port)
	fmt.Fprintf(b, "\nDocument Path:          %s\n", r.Path)
	if r.AnyLength {
		fmt.Fprint(b, "Document Length:        Variable\n")
	} else {
		fmt.Fprintf(b, "Document Length:        %d bytes\n", r.DocumentLength)
	}
}

func (r *Report) totals(b *bufio.Writer) {
	fmt.Fprint(b, "\n")
	if !r.Open {
		fmt.Fprintf(b, "Concurrency Level:      %d\n", r.Concurrency)
	}
	fmt.Fprintf(b, "Time taken for tests:   %.3f seconds\n", r.Elapsed.Seconds())
	fmt.Fprintf(b, "Complete requests:      %d\n", r.Complete)
	failed := r.Failed() + r.Length
	fmt.Fprintf(b, "Failed requests:        %d\n", failed)
	if failed > 0 {
		fmt.Fprintf(b, "   (Connect: %d, Receive: %d, Length: %d, Exceptions: %d)\n",
			r.Counts.Connect, r.Receive, r.Length, r.Exceptions)
	}
	if r.Non2xx > 0 {
		fmt.Fprintf(b, "Non-2xx responses:      %d\n", r.Non2xx)
	}
	if r.KeepAlive {
		fmt.Fprintf(b, "Keep-Alive requests:    %d\n", r.KeptAlive)
	}
	fmt.Fprintf(b, "Total transferred:      %d bytes\n", r.Received)
	fmt.Fprintf(b, "HTML transferred:       %d bytes\n", r.Body)
	if r.Elapsed <= 0 || r.Complete == 0 {
		return
	}
	rates := RatesOf(&r.Summary, r.Concurrency)
	if r.Rates != nil {
		rates = *r.Rates
	}
	fmt.Fprintf(b, "Requests per second:    %.2f [#/sec] (mean)\n", rates.Requests)
	if !r.Open {
		fmt.Fprintf(b, "Time per request:       %.3f [ms] (mean)\n", rates.PerRequest)
	}
	fmt.Fprintf(b, "Time per request:       %.3f [ms] (mean, across all concurrent requests)\n", rates.PerRequestAcross)
	fmt.Fprintf(b, "Transfer rate:          %.2f [Kbytes/sec] received\n", rates.Transfer)
}

// Rates are computed as in ab, over the time until the last response.
type Rates struct {
	Requests         float64 // completed requests per second
	PerRequest       float64 // ms per request of one client
	PerRequestAcross float64 // ms per request of all clients together
	Transfer         float64 // Kbytes (1024) per second received
}

// RatesOf computes the rates of a run; all are 0 if it has no duration or no completed requests.
func RatesOf(s *record.Summary, concurrency int) Rates {
	seconds := s.Elapsed.Seconds()
	if seconds <= 0 || s.Complete == 0 {
		return Rates{}
	}
	across := seconds * 1000 / float64(s.Complete)
	return Rates{
		Requests:         float64(s.Complete) / seconds,
		PerRequest:       float64(concurrency) * across,
		PerRequestAcross: across,
		Transfer:         float64(s.Received) / 1024 / seconds,
	}
}

func (r *Report) times(b *bufio.Writer) {
	fmt.Fprint(b, "\nConnection Times (ms)\n")
	fmt.Fprint(b, "              min  mean[+/-sd] median   max\n")
	rows := []struct {
		label, name string
		times       *record.Distribution
	}{
		{"Connect:", "the initial connection time", r.Times.Connect},
		{"Processing:", "the processing time", r.Processing},
		{"Waiting:", "the waiting time", r.Waiting},
		{"Total:", "the total time", r.Total},
	}
	for _, row := range rows {
		t := row.times
		fmt.Fprintf(b, "%-12s%5d %4d %5.1f %6d %7d\n", row.label,
			roundMS(t.Min()), roundMS(t.Mean()), ms(t.Deviation()), roundMS(t.Percentile(50)), roundMS(t.Max()))
	}
	for _, row := range rows {
		fmt.Fprint(b, skew(row.name, row.times))
	}
}

// skew returns ab's warning if mean and median, in whole milliseconds, differ by more than the standard deviation.
func skew(name string, t *record.Distribution) string {
	apart := math.Abs(float64(roundMS(t.Mean()) - roundMS(t.Percentile(50))))
	switch sd := ms(t.Deviation()); {
	case apart > 2*sd:
		return "ERROR: The median and mean for " + name + " are more than twice the standard\n" +
			"       deviation apart. These results are NOT reliable.\n"
	case apart > sd:
		return "WARNING: The median and mean for " + name + " are not within a normal deviation\n" +
			"        These results are probably not that reliable.\n"
	}
	return ""
}

func (r *Report) percentiles(b *bufio.Writer) {
	fmt.Fprint(b, "\nPercentage of the requests served within a certain time (ms)\n")
	for _, p := range Percentages() {
		if p == 100 {
			fmt.Fprintf(b, " 100%%  %5d (longest request)\n", roundMS(r.Total.Max()))
			continue
		}
		fmt.Fprintf(b, "  %d%%  %5d\n", p, roundMS(r.Total.Percentile(float64(p))))
	}
}

// roundMS returns d in milliseconds, rounded half up.
func roundMS(d time.Duration) int64 { return int64((d + time.Millisecond/2) / time.Millisecond) }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
