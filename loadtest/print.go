package main

import (
	"fmt"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/ab"
	"github.com/pointsapp/pointsapp/loadtest/record"
	"github.com/pointsapp/pointsapp/loadtest/report"
)

// print writes the report for people: ab's, and below it what ab does not tell.
func (p *program) print(t *trial, run, baseline *report.Run) error {
	r := ab.Report{
		Summary: t.summary, Hostname: run.Target.Hostname, Port: run.Target.Port, Path: run.Target.Path,
		Concurrency: t.cfg.clients, AnyLength: t.cfg.anyLength, KeepAlive: t.cfg.keepAlive, Open: t.schedule != nil,
	}
	if err := r.Write(p.stdout); err != nil {
		return err
	}
	if t.schedule != nil {
		p.printLatency(t.summary.Latency)
	}
	p.printNotes(t)
	for _, v := range run.Assertions {
		kept := "kept  "
		if !v.Kept {
			kept = "BROKEN"
		}
		fmt.Fprintf(p.stdout, "%s %s: %s\n", kept, v.Clause, v.Measured)
	}
	if baseline == nil {
		return nil
	}
	fmt.Fprintln(p.stdout)
	return report.Compare(p.stdout, baseline, run)
}

// printLatency writes the percentiles of an open loop.
func (p *program) printLatency(d *record.Distribution) {
	fmt.Fprint(p.stdout, "\nLatency from when a request was due (ms)\n")
	fmt.Fprintf(p.stdout, "%9s %10.3f\n", "mean", milliseconds(d.Mean()))
	for _, percent := range []float64{50, 75, 90, 95, 99, 99.9, 99.99, 99.999} {
		fmt.Fprintf(p.stdout, "%8v%% %10.3f\n", percent, milliseconds(d.Percentile(percent)))
	}
	fmt.Fprintf(p.stdout, "%9s %10.3f\n", "longest", milliseconds(d.Max()))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// printNotes says what the figures do not say by themselves.
func (p *program) printNotes(t *trial) {
	fmt.Fprintln(p.stdout)
	if n := t.summary.Length; n > 0 {
		fmt.Fprintf(p.stdout, "Length: %d bodies differ in size from the first one. ab counts that as failed; "+
			"it is no error here, and -l leaves it out.\n", n)
	}
	if t.unsent > 0 {
		fmt.Fprintf(p.stdout, "Unsent: %d requests were due and not sent, for all %d clients were waiting. "+
			"-c allows for more.\n", t.unsent, t.cfg.clients)
	}
	for _, failure := range t.summary.Failures {
		fmt.Fprintf(p.stdout, "Failed: %s\n", failure)
	}
	c := t.checked
	if c.Checked {
		fmt.Fprintf(p.stdout, "Contract: %d answers held against PointsApp's contract, %d violations.\n",
			c.Answers, c.Violations)
	}
	for _, example := range c.Examples {
		fmt.Fprintf(p.stdout, "Violation: %s\n", example)
	}
}
