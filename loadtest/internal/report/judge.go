package report

import "fmt"

// Verdicts of a run.
const (
	VerdictPass = "pass" // all checks passed
	VerdictFail = "fail" // a check failed, nothing succeeded, or the run was interrupted
	VerdictNone = "none" // there was nothing to check
)

// Judge sets Verdict and Reasons from the other fields.
func (r *Run) Judge() {
	r.Verdict, r.Reasons = VerdictNone, nil
	if len(r.Assertions) > 0 || r.Contract.Checked || r.Search != nil {
		r.Verdict = VerdictPass
	}
	fail := func(format string, args ...any) {
		r.Verdict = VerdictFail
		r.Reasons = append(r.Reasons, fmt.Sprintf(format, args...))
	}
	if r.Interrupted {
		fail("interrupted")
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
		case s.Highest == 0 && !r.Interrupted:
			fail("no rate meets %s", s.SLO)
		}
		for _, step := range s.Steps {
			if step.Violations > 0 {
				fail("contract violations at %d requests per second: %d", step.Rate, step.Violations)
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
}
