package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/internal/ab"
	"github.com/pointsapp/pointsapp/loadtest/internal/contract"
	"github.com/pointsapp/pointsapp/loadtest/internal/report"
)

// print writes the text report: ab's, followed by what ab does not have.
func (c *command) print(r *run, result *report.Run) error {
	abReport := ab.Report{
		Summary: r.summary, Hostname: result.Target.Hostname, Port: result.Target.Port, Path: result.Target.Path,
		Concurrency: r.cfg.Clients, AnyLength: r.anyLength(), KeepAlive: r.cfg.KeepAlive, Open: r.schedule != nil,
	}
	if err := abReport.Write(c.stdout); err != nil {
		return err
	}
	c.printOutcomes(&r.summary)
	if r.summary.Latency.Count() > 0 {
		c.printLatency(r)
	}
	c.printFirst(r)
	c.printNotes(r)
	if limit := result.Client.Limit; limit != "" {
		fmt.Fprintf(c.stdout, "Limited by this client: %s. No verdict about the server: it may be capable of more.\n", limit)
	}
	return c.printChecks(result)
}

// printChecks writes the outcome of the assertions, and the comparison with the baseline.
func (c *command) printChecks(result *report.Run) error {
	for _, a := range result.Assertions {
		verdict := "PASS"
		if !a.Met {
			verdict = "FAIL"
		}
		fmt.Fprintf(c.stdout, "%s %s: %s\n", verdict, a.Clause, a.Measured)
	}
	if c.out.baseline == nil {
		return nil
	}
	fmt.Fprintln(c.stdout)
	return report.Compare(c.stdout, c.out.baseline, result)
}

// printFirst writes the first response, from -v 2 on.
func (c *command) printFirst(r *run) {
	const verbose = 2
	if first := r.summary.First; first != nil && c.cfg.Verbosity >= verbose {
		fmt.Fprintf(c.stdout, "\nFirst response: status %d\n%s\n", first.Status, first.Body)
	}
}

// count returns n with the form of a noun, and what follows it, that agrees with n.
func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.FormatInt(n, 10) + " " + many
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// printNotes explains what ab's figures leave open.
func (c *command) printNotes(r *run) {
	fmt.Fprintln(c.stdout)
	if n := r.summary.Length; n > 0 {
		fmt.Fprintf(c.stdout, "Length: %s in size from the first one. ab counts them as failed, loadtest "+
			"does not; -l omits them.\n", count(n, "body differs", "bodies differ"))
	}
	if n := r.unsent; n > 0 {
		fmt.Fprintf(c.stdout, "Unsent: %s due but not sent, because all %d clients were waiting for "+
			"responses. Raise -c to allow more.\n", count(n, "request was", "requests were"), r.cfg.Clients)
	}
	if n := r.summary.Aborted; n > 0 {
		fmt.Fprintf(c.stdout, "Aborted: %s still pending when the run ended; the maximum includes the age.\n",
			count(n, "request was", "requests were"))
	}
	if n := r.summary.Resent; n > 0 {
		fmt.Fprintf(c.stdout, "Resent: %s sent twice, because the server closed a reused connection "+
			"instead of responding.\n", count(n, "request was", "requests were"))
	}
	c.printContract(r)
}

func (c *command) printContract(r *run) {
	step := ""
	if r.cfg.FindMax {
		step = fmt.Sprintf(" in the step of %v requests per second, with its warm-up", r.cfg.Rate)
	}
	if r.cfg.Verify == contract.On && !r.contract.Checked {
		fmt.Fprint(c.stdout, "Contract: FAIL: -verify is set, but there was no response with status 200 to check.\n")
	}
	if checked := r.contract; checked.Checked {
		fmt.Fprintf(c.stdout, "Contract: %s checked against PointsApp's contract%s, %s.\n",
			count(checked.Responses, "response", "responses"), step, count(checked.Violations, "violation", "violations"))
	}
	for _, example := range r.contract.Examples {
		fmt.Fprintf(c.stdout, "Violation: %s\n", example)
	}
}
