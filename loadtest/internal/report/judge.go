package report

import (
	"fmt"

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
	return float64(c.Errors()+r.Load.Unsent) / max(float64(c.Attempts()+r.Load.Unsent), 1)
}

// DescribeStalled describes the stalled requests; "" if they are less than 1% of those pending at the end.
func (r *Run) DescribeStalled() string {
	c := &r.Counts
	if c.Stalled == 0 || float64(c.Stalled) < slo.MaxErrorShare*float64(c.Aborted) {
		return ""
	}
	return fmt.Sprintf("%d of %s had waited much longer than any response took",
		c.Stalled, Plural(c.Aborted, "pending request", "pending requests"))
}

// Judge sets Verdict and Reasons from the other fields.
func (r *Run) Judge() {
	r.Verdict, r.Reasons = VerdictNone, nil
	// The contract is checked only in responses with status 200: it says nothing about failed requests and other statuses.
	checked := len(r.Assertions) > 0 || r.Search != nil || r.Contract.Checked && r.errorShare() < slo.MaxErrorShare
	if checked {
		r.Verdict = VerdictPass
	}
	fail := func(format string, args ...any) {
		r.Verdict = VerdictFail
		r.Reasons = append(r.Reasons, fmt.Sprintf(format, args...))
	}
	if r.Interrupted {
		fail("interrupted")
	}
	if text := r.DescribeStalled(); text != "" && checked {
		fail("stalled: %s", text)
	}
	for _, a := range r.Assertions {
		if !a.Met {
			fail("%s: %s", a.Clause, a.Measured)
		}
	}
	if s := r.Search; s != nil {
		switch {
		case s.ClientLimited:
			fail("the search was limited by the client: no verdict about the server")
		case s.Stopped != "":
			fail("%s", s.Stopped)
		case s.Highest == 0 && !r.Interrupted:
			fail("no rate meets %s", s.SLO)
		}
		for _, step := range s.Steps {
			if step.Violations > 0 {
				fail("contract violations at %d/s: %d", step.Rate, step.Violations)
			}
		}
	} else if r.Contract.Violations > 0 {
		fail("contract violations: %d", r.Contract.Violations)
	}
	if r.Contract.Required && !r.Contract.Checked {
		fail("-verify is set, but there was no response with status 200 to check")
	}
	if r.Counts.Good == 0 {
		fail("no request succeeded")
	}
	for i, one := range r.Repeats {
		if one.Counts.Good == 0 && r.Counts.Good > 0 {
			fail("run %d of %d: no request succeeded", i+1, len(r.Repeats))
		}
	}
}
