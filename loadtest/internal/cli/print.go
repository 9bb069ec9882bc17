package cli

import (
	"fmt"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/internal/ab"
	"github.com/pointsapp/pointsapp/loadtest/internal/contract"
	"github.com/pointsapp/pointsapp/loadtest/internal/record"
	"github.com/pointsapp/pointsapp/loadtest/internal/report"
)

// print writes the text report: ab's, followed by what ab does not report.
func (c *command) print(s *record.Summary, result *report.Run) error {
	load := &result.Load
	abReport := ab.Report{
		Summary: *s, Hostname: result.Target.Hostname, Port: result.Target.Port, Path: result.Target.Path,
		Concurrency: load.Concurrency, AnyLength: load.AnyLength, KeepAlive: load.KeepAlive, Open: result.IsOpen(),
	}
	if result.Merged > 0 {
		abReport.Rates = &ab.Rates{
			Requests: result.RequestsPerSecond, PerRequest: result.PerRequestMS,
			PerRequestAcross: result.PerRequestAllMS, Transfer: result.KBytesPerSecond,
		}
	}
	if err := abReport.Write(c.stdout); err != nil {
		return err
	}
	c.printDetails(s, result)
	c.printNotes(s, result)
	c.printContract(&result.Contract, "")
	if limit := result.Client.Limit; limit != "" {
		fmt.Fprintf(c.stdout, "Limited by the load generator: %s. The server may be capable of more.\n", limit)
	}
	return c.printChecks(result)
}

// printDetails writes the outcomes of the requests and the latency.
func (c *command) printDetails(s *record.Summary, result *report.Run) {
	c.printOutcomes(s)
	if s.Latency.Count() > 0 {
		c.printLatency(s.Latency, result.IsOpen())
	}
	c.printFirst(s)
}

// printChecks writes the comparison with the old run, the outcome of the assertions, and the verdict.
func (c *command) printChecks(result *report.Run) error {
	if c.out.old != nil {
		fmt.Fprintln(c.stdout)
		if err := report.Compare(c.stdout, c.out.old, result); err != nil {
			return err
		}
	}
	conclusion := result.Conclusion()
	if c.out.old != nil && len(conclusion) > 0 {
		fmt.Fprintln(c.stdout)
	}
	for _, a := range result.Assertions {
		fmt.Fprintf(c.stdout, "%s %s: %s\n", report.PassFail(a.Met), a.Clause, a.Measured)
	}
	for _, line := range conclusion {
		fmt.Fprintln(c.stdout, line)
	}
	return nil
}

// firstResponseVerbosity is the lowest -v that prints the first response.
const firstResponseVerbosity = 2

// printFirst writes the first response, with -v 2 or higher.
func (c *command) printFirst(s *record.Summary) {
	if first := s.First; first != nil && c.cfg.Verbosity >= firstResponseVerbosity {
		fmt.Fprintf(c.stdout, "\nFirst response:\n%s\n%s\n", first.Head, first.Body)
	}
}

// perSecond returns a rate with its unit.
func perSecond(rate any) string {
	return report.Plural(rate, "request per second", "requests per second")
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// printNotes explains the figures of ab's report.
func (c *command) printNotes(s *record.Summary, result *report.Run) {
	fmt.Fprintln(c.stdout)
	if text := result.Describe(); text != "" {
		fmt.Fprintln(c.stdout, text)
	}
	if n := result.Counts.Length; n > 0 {
		fmt.Fprintf(c.stdout, "Length: %s in length from the first one. ab counts them as failed, "+
			"-assert and -slo do not; -l excludes them.\n", report.Plural(n, "body differs", "bodies differ"))
	}
	if n := result.Load.Unsent; n > 0 {
		fmt.Fprintf(c.stdout, "Unsent: %s due but not sent, because all clients (-c %d) were waiting for "+
			"responses. Raise -c to allow more.\n", report.Plural(n, "request was", "requests were"), result.Load.Concurrency)
	}
	if result.IsOpen() && result.Offered > 0 && result.SuccessfulPerSecond < minShare*result.Offered {
		late := ""
		if n := s.Window.Late; n > 0 {
			late = fmt.Sprintf("; %s after the scheduled time", report.Plural(n, "request ended", "requests ended"))
		}
		fmt.Fprintf(c.stdout, "Successful: %.1f%% of the offered rate of %s%s.\n",
			100*result.SuccessfulPerSecond/result.Offered, perSecond(fmt.Sprintf("%.6g", result.Offered)), late)
	}
	if n := result.Counts.Aborted; n > 0 {
		fmt.Fprintf(c.stdout, "Aborted: %s still pending when the run ended; the maximum includes their age.\n",
			report.Plural(n, "request was", "requests were"))
	}
	if text := result.DescribeStalled(); text != "" {
		fmt.Fprintf(c.stdout, "Stalled: %s.\n", text)
	}
	if n := result.Counts.Resent; n > 0 {
		fmt.Fprintf(c.stdout, "Resent: %s sent again, because the server closed a reused connection "+
			"instead of responding. It may have received both.\n", report.Plural(n, "request was", "requests were"))
	}
}

// printContract writes the result of the contract checks. step describes the step of a search; it is "" for a run.
func (c *command) printContract(checked *contract.Result, step string) {
	if checked.Required && !checked.Checked {
		fmt.Fprint(c.stdout, "Contract: FAIL: -verify is set, but there was no response with status 200 to check.\n")
	}
	if checked.Checked {
		fmt.Fprintf(c.stdout, "Contract: %s checked against PointsApp's contract%s, %s.\n",
			report.Plural(checked.Responses, "response", "responses"), step,
			report.Plural(checked.Violations, "violation", "violations"))
	}
	for _, example := range checked.Examples {
		fmt.Fprintf(c.stdout, "Violation: %s\n", example)
	}
}
