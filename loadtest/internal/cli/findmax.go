package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/internal/attack"
	"github.com/pointsapp/pointsapp/loadtest/internal/findmax"
	"github.com/pointsapp/pointsapp/loadtest/internal/record"
	"github.com/pointsapp/pointsapp/loadtest/internal/report"
	"github.com/pointsapp/pointsapp/loadtest/internal/slo"
)

const (
	firstRate     = 1000        // default of -rate, in requests per second
	maxWarmUp     = time.Second // of each step; not recorded
	confirmFactor = 3           // length of the confirming step, relative to the others
	minRequests   = 2           // of a step: at a low rate it takes longer than -duration

	// maxConfirm limits the length of a confirming step that must be longer than confirmFactor says.
	maxConfirm = 3 * time.Minute
)

// errTooFew means that a confirming step would have too few requests.
var errTooFew = errors.New("too few requests")

// A searchRun is the state of a search.
type searchRun struct {
	*command

	report     report.Search
	best       *run  // step at the highest rate that met the SLO; the first step if none did
	met        bool  // best met the SLO
	violating  *run  // the first step with a contract violation
	violations int64 // in all steps

	failedSteps int     // consecutive last steps without a 2xx response, at rates up to succeeded
	succeeded   float64 // highest rate with a 2xx response; 0 means none
	noSuccess   []*run  // the steps before the first one with a 2xx response
}

// findMax searches for the highest rate that meets the SLO, and reports all steps and the one at that rate.
func (c *command) findMax(ctx context.Context) error {
	first := firstRate
	if c.cfg.Rate != nil {
		first = int(c.cfg.Rate.From)
	}
	fmt.Fprintf(c.stdout, "%10s  %12s  %10s  %10s  %8s\n", "rate [/s]", "2xx [/s]", "50% [ms]", "99% [ms]", "errors")
	s := searchRun{command: c, report: report.Search{SLO: c.cfg.SLOText}}
	found, stopped := findmax.Search(ctx, first, s.step)
	if s.best == nil {
		return stopped
	}
	s.report.Highest, s.report.ClientLimited = found.Highest, found.ClientLimited
	switch {
	case found.NoSuccess:
		s.report.Stopped = s.describeNoSuccess()
	case errors.Is(stopped, errTooFew):
		s.report.TooFew, stopped = s.describeTooFew(), nil
	}
	if stopped == nil {
		c.printVerdict(&s.report)
	}
	result, err := s.write(ctx, stopped)
	if err != nil {
		return err
	}
	if stopped != nil {
		return stopped
	}
	if result.Verdict == report.VerdictFail {
		return errCheckFailed
	}
	return nil
}

// write writes the files and the rest of the report, for a search that ended with the error stopped or nil.
func (s *searchRun) write(ctx context.Context, stopped error) (*report.Run, error) {
	best := s.best
	result := best.result(best.schedule.Requests() - best.schedule.DueBefore(best.warmUp))
	result.Search, result.Interrupted = &s.report, ctx.Err() != nil
	if stopped != nil && !result.Interrupted {
		s.report.Stopped = stopped.Error()
	}
	result.Updates = fetchUpdates(ctx, best)
	var err error
	if best.comparison, err = s.comparison([]*run{best}, nil); err != nil {
		return nil, err
	}
	metrics := best.metrics()
	metrics.Violations = s.violations
	result.Assertions, _ = slo.Evaluate(s.cfg.Assertions, metrics)
	s.writeFiles(result, &best.summary)
	s.printDetails(&best.summary, result)
	s.printNotes(&best.summary, result)
	s.printContract(&best.contract, best.describeStep())
	if s.violating != nil && s.violating != best {
		s.printContract(&s.violating.contract, s.violating.describeStep())
	}
	return result, ignoreClosedPipe(s.printChecks(result))
}

// step runs one step and prints its result.
func (s *searchRun) step(ctx context.Context, at findmax.Step) (findmax.Outcome, error) {
	duration, err := s.duration(at)
	if err != nil {
		return findmax.Missed, err
	}
	r, err := s.runStep(ctx, at, duration)
	if err != nil {
		return findmax.Missed, err
	}
	interrupted := ctx.Err() != nil
	if s.best == nil {
		s.best = r
	}
	s.violations += r.contract.Violations
	if s.violating == nil && r.contract.Violations > 0 {
		s.violating = r
	}
	if interrupted { // an incomplete step has no outcome
		return findmax.Missed, fmt.Errorf("the search was interrupted at %s", perSecond(at.Rate))
	}
	step := r.step(at)
	s.report.Steps = append(s.report.Steps, step)
	s.printStep(&step, r.summary.Latency)
	if s.serverFailed(r, at) {
		before := "some did at " + perSecond(s.succeeded)
		if s.met && float64(at.Rate) <= s.best.cfg.Rate.From {
			before = "it met the SLO at " + perSecond(s.best.cfg.Rate)
		}
		return findmax.Missed, fmt.Errorf("the server has failed: no request succeeded at %s, although %s before",
			perSecond(at.Rate), before)
	}
	switch {
	case step.Met:
		s.keep(r, at)
		return findmax.Met, nil
	case step.Client != "":
		return findmax.ClientLimited, nil
	case !r.succeeded():
		if s.succeeded == 0 {
			s.noSuccess = append(s.noSuccess, r)
		}
		return findmax.NoSuccess, nil
	}
	return findmax.Missed, nil
}

// serverFailed reports whether two steps in a row had no 2xx response, at rates up to one that had some before. It
// updates failedSteps and succeeded.
func (s *searchRun) serverFailed(r *run, at findmax.Step) bool {
	s.failedSteps++
	if r.succeeded() {
		s.succeeded = max(s.succeeded, float64(at.Rate))
	}
	if r.succeeded() || float64(at.Rate) > s.succeeded {
		s.failedSteps = 0
	}
	return s.failedSteps > 1
}

// succeeded reports whether the step, including its warm-up, had a 2xx response.
func (r *run) succeeded() bool { return r.summary.Successful > 0 || r.summary.Window.Successful > 0 }

// describeNoSuccess describes a search without a 2xx response.
func (s *searchRun) describeNoSuccess() string {
	first, last := s.report.Steps[0].Rate, s.report.Steps[len(s.report.Steps)-1].Rate
	summaries := make([]record.Summary, 0, len(s.noSuccess))
	for _, r := range s.noSuccess {
		summaries = append(summaries, r.summary)
	}
	all := record.Concat(summaries)
	rates := fmt.Sprintf("no request succeeded at %d and %d requests per second", first, last)
	if first == last {
		rates = "no request succeeded at " + perSecond(first)
	}
	return rates + ": " + report.DescribeNoSuccess(&all.Counts, all.Statuses, all.Failures)
}

// keep makes r the best run if its rate is the highest one that met the SLO, or confirms the result.
func (s *searchRun) keep(r *run, at findmax.Step) {
	if !s.met || at.Confirm || float64(at.Rate) > s.best.cfg.Rate.From {
		s.best, s.met = r, true
	}
}

// duration returns the length of a step without its warm-up.
func (s *searchRun) duration(at findmax.Step) (time.Duration, error) {
	if !at.Confirm {
		return max(s.cfg.Duration, durationOf(minRequests, at.Rate)), nil
	}
	confirm, needed := confirmFactor*s.cfg.Duration, durationOf(s.requestsNeeded(), at.Rate)
	if needed > max(confirm, maxConfirm) {
		return 0, errTooFew
	}
	return max(confirm, needed), nil
}

// durationOf returns how long it takes to send n requests at the rate.
func durationOf(n int64, rate int) time.Duration {
	return time.Duration(float64(n)/float64(rate)*float64(time.Second)).Truncate(time.Millisecond) + time.Millisecond
}

// requestsNeeded returns how many requests the confirming step needs.
func (s *searchRun) requestsNeeded() int64 {
	return slo.MinRequests(slices.Concat(s.cfg.SLO, s.cfg.Assertions))
}

// describeTooFew describes a search whose result could not be confirmed because of too few requests.
func (s *searchRun) describeTooFew() string {
	needed := s.requestsNeeded()
	duration := durationOf(needed, confirmFactor*s.report.Highest).Truncate(time.Second) + time.Second
	return fmt.Sprintf("the server may meet %s at %s, but %d requests are needed to show it: use -duration %v or more",
		s.report.SLO, perSecond(s.report.Highest), needed, duration)
}

// runStep runs one step of the search.
func (c *command) runStep(ctx context.Context, at findmax.Step, duration time.Duration) (*run, error) {
	constant := attack.Rate{From: float64(at.Rate), To: float64(at.Rate)}
	warmUp := min(c.cfg.Duration, maxWarmUp)
	schedule, err := attack.NewSchedule(constant, warmUp+duration)
	if err != nil {
		return nil, err
	}
	cfg := *c.cfg
	cfg.Rate = &constant
	r := &run{cfg: &cfg, target: c.target, schedule: schedule, warmUp: warmUp, exporter: c.exporter, sim: c.sim}
	if !cfg.Quiet && isTerminal(c.stderr) {
		r.watch = (&liveView{out: c.stderr, label: fmt.Sprintf("%d/s: ", at.Rate), duration: schedule.Duration()}).watch
	}
	return r, r.execute(ctx)
}

func (r *run) describeStep() string {
	return fmt.Sprintf(" in the step of %s, with its warm-up", perSecond(r.cfg.Rate))
}

// step evaluates a step of the search.
func (r *run) step(at findmax.Step) report.Step {
	metrics := r.metrics()
	missed := r.misses(r.cfg.SLO, metrics.Latency)
	step := report.Step{
		Rate: at.Rate, Confirm: at.Confirm, Successful: metrics.Rate,
		P50:    milliseconds(metrics.Latency.Percentile(50)),
		P99:    milliseconds(metrics.Latency.Percentile(99)),
		Errors: metrics.Failed + metrics.Non2xx, Violations: metrics.Violations,
		Met: missed.none(), Reason: r.describe(&missed),
	}
	if !step.Met {
		step.Client = r.clientLimit(r.cfg.SLO)
	}
	return step
}

func (c *command) printStep(s *report.Step, latency *record.Distribution) {
	var verdict string
	switch {
	case s.Met && s.Confirm:
		verdict = "met, confirmed by a longer run"
	case s.Met:
		verdict = "met"
	case s.Client != "":
		verdict = "limited by the load generator: " + s.Client + " (" + s.Reason + ")"
	default:
		verdict = "missed: " + s.Reason
	}
	fmt.Fprintf(c.stdout, "%10d  %12.0f  %10s  %10s  %8d  %s\n", s.Rate, s.Successful,
		percentileText(latency, 50), percentileText(latency, 99), s.Errors, verdict)
}

func (c *command) printVerdict(s *report.Search) {
	switch last := s.Steps[len(s.Steps)-1].Rate; {
	case s.Stopped != "":
		fmt.Fprintf(c.stdout, "\nVerdict: %s. Check the URL and the server.\n", s.Stopped)
	case s.ClientLimited && s.Highest == 0:
		fmt.Fprintf(c.stdout, "\nNo verdict about the server: limited by the load generator, even at %s.\n", perSecond(last))
	case s.ClientLimited:
		fmt.Fprintf(c.stdout, "\nNo verdict about the server: limited by the load generator. The server meets %s at %s, "+
			"and may be capable of more.\n", s.SLO, perSecond(s.Highest))
	case s.TooFew != "":
		fmt.Fprintf(c.stdout, "\nNo verdict: %s.\n", s.TooFew)
	case s.Highest == 0:
		fmt.Fprintf(c.stdout, "\nVerdict: no rate meets %s, not even %s.\n", s.SLO, perSecond(last))
	default:
		fmt.Fprintf(c.stdout, "\nVerdict: the server meets %s at %s.\n", s.SLO, perSecond(s.Highest))
	}
}
