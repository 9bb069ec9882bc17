package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/internal/attack"
	"github.com/pointsapp/pointsapp/loadtest/internal/findmax"
	"github.com/pointsapp/pointsapp/loadtest/internal/report"
	"github.com/pointsapp/pointsapp/loadtest/internal/slo"
)

const (
	firstRate  = 1000        // of a search
	stepWarmUp = time.Second // at the start of each step; not recorded
)

// findMax searches for the highest rate that meets the SLO, and reports the steps and the run at that rate.
func (c *command) findMax(ctx context.Context) error {
	cfg := c.cfg
	first := firstRate
	if cfg.Rate != nil {
		first = cfg.Rate.From
	}
	fmt.Fprintf(c.stdout, "%10s  %12s  %10s  %10s  %8s\n", "rate [/s]", "reached [/s]", "50% [ms]", "99% [ms]", "errors")
	search := report.Search{SLO: cfg.SLOText}
	var best *run // the first one if no step meets the SLO
	var violating *run
	highest, stopped := findmax.Search(ctx, first, func(ctx context.Context, rate int) (bool, error) {
		r, step, err := c.runStep(ctx, rate)
		if err != nil {
			return false, err
		}
		search.Steps = append(search.Steps, step)
		c.printStep(&step)
		if step.Met || best == nil {
			best = r
		}
		if violating == nil && r.contract.Violations > 0 {
			violating = r
		}
		return step.Met, nil
	})
	if best == nil {
		return stopped
	}
	search.Highest = highest
	if stopped == nil {
		c.printVerdict(&search)
	}

	result := best.result(best.schedule.Requests() - best.schedule.DueBefore(best.warmUp))
	result.Search = &search
	result.Updates = fetchUpdates(ctx, best)
	var pass bool
	result.Assertions, pass = slo.Evaluate(cfg.Assertions, best.metrics())
	if err := c.out.write(result, best.summary.Latency); err != nil {
		return err
	}
	c.printNotes(best)
	if violating != nil && violating != best {
		c.printContract(violating)
	}
	if err := c.printChecks(result); ignoreClosedPipe(err) != nil {
		return err
	}
	if stopped != nil {
		return stopped
	}
	if highest == 0 || !pass || violating != nil || !best.contractMet() {
		return errCheckFailed
	}
	return nil
}

// runStep runs one step of the search.
func (c *command) runStep(ctx context.Context, rate int) (*run, report.Step, error) {
	constant := attack.Rate{From: rate, To: rate}
	schedule, err := attack.NewSchedule(constant, stepWarmUp+c.cfg.Duration)
	if err != nil {
		return nil, report.Step{}, err
	}
	cfg := *c.cfg
	cfg.Rate = &constant
	r := &run{cfg: &cfg, target: c.target, schedule: schedule, warmUp: stepWarmUp}
	if err := r.execute(ctx); err != nil {
		return nil, report.Step{}, err
	}
	if ctx.Err() != nil {
		return nil, report.Step{}, fmt.Errorf("the search was interrupted at %d requests per second", rate)
	}
	metrics := r.metrics()
	results, met := slo.Evaluate(cfg.SLO, metrics)
	step := report.Step{
		Rate: rate, Reached: metrics.Rate, P50: milliseconds(metrics.Latency.Percentile(50)),
		P99: milliseconds(metrics.Latency.Percentile(99)), Errors: metrics.Failed + metrics.Non2xx,
		Met: met && r.unsent == 0,
	}
	var reasons []string
	for _, result := range results {
		if !result.Met {
			reasons = append(reasons, result.Clause+": "+result.Measured)
		}
	}
	if r.unsent > 0 {
		reasons = append(reasons, count(r.unsent, "request", "requests")+" could not be sent")
	}
	step.Reason = strings.Join(reasons, ", ")
	return r, step, nil
}

func (c *command) printStep(s *report.Step) {
	verdict := "met"
	if !s.Met {
		verdict = "missed: " + s.Reason
	}
	fmt.Fprintf(c.stdout, "%10d  %12.0f  %10.3f  %10.3f  %8d  %s\n", s.Rate, s.Reached, s.P50, s.P99, s.Errors, verdict)
}

func (c *command) printVerdict(s *report.Search) {
	if s.Highest == 0 {
		fmt.Fprintf(c.stdout, "\nVerdict: no rate meets %s, not even %d requests per second.\n",
			s.SLO, s.Steps[len(s.Steps)-1].Rate)
		return
	}
	fmt.Fprintf(c.stdout, "\nVerdict: %d requests per second meet %s.\n", s.Highest, s.SLO)
}
