package report

import (
	"fmt"
	"strings"

	"github.com/pointsapp/pointsapp/loadtest/internal/slo"
)

// Verdicts of a run.
const (
	VerdictPass = "pass" // all checks passed
	VerdictFail = "fail" // a check failed, nothing succeeded, or the run was interrupted
	VerdictNone = "none" // no checks, or too many errors for the contract check alone to pass
)

// errorShare returns the share of requests that failed, could not be sent, or had a response other than 2xx.
func (r *Run) errorShare() float64 {
	c := &r.Counts
	return float64(c.Errors()+r.Load.Unsent) / max(float64(c.Ended()+r.Load.Unsent), 1)
}

// DescribeStalled describes the stalled requests; "" if they are less than 1% of those pending at the end.
func (r *Run) DescribeStalled() string {
	c := &r.Counts
	if c.Stalled == 0 || float64(c.Stalled) < slo.MaxErrorShare*float64(c.Aborted) {
		return ""
	}
	why := "had waited much longer than any response took, or for most of the run"
	if c.Successful+c.Non2xx == 0 {
		why = "had waited for a long time, and there was no complete response"
	}
	return fmt.Sprintf("%d of %s %s", c.Stalled, Plural(c.Aborted, "pending request", "pending requests"), why)
}

// ClientLimit returns why the load generator, not the server, limited the run or the search; "" if it did not.
func (r *Run) ClientLimit() string {
	if r.Search != nil && r.Search.ClientLimited {
		return "higher rates missed because of it"
	}
	return r.Client.Limit
}

// Judge sets Verdict and Reasons. All other fields must be set before.
func (r *Run) Judge() {
	r.Verdict = VerdictNone
	if r.checked() {
		r.Verdict = VerdictPass
	}
	r.Reasons = r.problems()
	for _, a := range r.Assertions {
		if !a.Met {
			r.Reasons = append(r.Reasons, a.Clause+": "+a.Measured)
		}
	}
	if len(r.Reasons) > 0 {
		r.Verdict = VerdictFail
	}
}

// Conclusion returns the last lines of the text report: why the run failed, or what passed. It returns none if nothing
// was checked and the run has not failed.
func (r *Run) Conclusion() []string {
	var lines []string
	for _, problem := range r.problems() {
		lines = append(lines, "FAIL: "+problem)
	}
	failed := 0
	for _, a := range r.Assertions {
		if !a.Met {
			failed++
		}
	}
	if failed > 0 {
		line := fmt.Sprintf("FAIL: %d of %s", failed, Plural(len(r.Assertions), "clause", "clauses"))
		if r.Client.Limit != "" {
			line += ", limited by the load generator"
		}
		return append(lines, line)
	}
	if len(lines) == 0 && r.checked() {
		lines = append(lines, "PASS: "+r.passed(func(a *slo.Result) string { return a.Clause }))
	}
	return lines
}

// passed names the checks of a run that passed them: the SLO of a search, the clauses in the given form, and the
// contract.
func (r *Run) passed(clause func(*slo.Result) string) string {
	var checks []string
	if r.Search != nil {
		checks = append(checks, fmt.Sprintf("the server meets %s at %s", r.Search.SLO,
			Plural(r.Search.Highest, "request per second", "requests per second")))
	}
	for i := range r.Assertions {
		checks = append(checks, clause(&r.Assertions[i]))
	}
	switch {
	case r.Contract.Checked && r.Search != nil:
		checks = append(checks, "contract in all steps")
	case r.Contract.Checked:
		checks = append(checks, "contract in "+Plural(r.Contract.Responses, "response", "responses"))
	}
	return strings.Join(checks, ", ")
}

// checked reports whether there was something to check. With 1% or more errors the contract check does not count: it
// covers only responses with status 200.
func (r *Run) checked() bool {
	return len(r.Assertions) > 0 || r.Search != nil || r.Contract.Checked && r.errorShare() < slo.MaxErrorShare
}

// problems returns why the run fails, apart from its clauses.
func (r *Run) problems() []string {
	var problems []string
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if r.Interrupted {
		add("interrupted")
	}
	if text := r.DescribeStalled(); text != "" && r.checked() {
		add("stalled: %s", text)
	}
	if r.Search != nil {
		problems = append(problems, r.searchProblems()...)
	} else if r.Contract.Violations > 0 {
		add("contract violations: %d", r.Contract.Violations)
	}
	if r.Contract.Required && !r.Contract.Checked {
		add("-verify is set, but there was no response with status 200 to check")
	}
	if r.Search == nil || r.Search.Stopped == "" { // Stopped says the same
		problems = append(problems, r.noSuccesses()...)
	}
	if r.Incomparable != "" {
		add("%s", r.Incomparable)
	}
	return problems
}

// searchProblems returns why a search fails.
func (r *Run) searchProblems() []string {
	var problems []string
	s := r.Search
	switch {
	case s.ClientLimited:
		problems = append(problems, "the search was limited by the load generator: no verdict about the server")
	case s.Stopped != "":
		problems = append(problems, s.Stopped)
	case s.TooFew != "":
		problems = append(problems, "no verdict: "+s.TooFew)
	case s.Highest == 0 && !r.Interrupted:
		problems = append(problems, "no rate meets "+s.SLO)
	}
	for _, step := range s.Steps {
		if step.Violations > 0 {
			problems = append(problems, fmt.Sprintf("contract violations at %d/s: %d", step.Rate, step.Violations))
		}
	}
	return problems
}
