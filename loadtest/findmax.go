package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/attack"
	"github.com/pointsapp/pointsapp/loadtest/promise"
	"github.com/pointsapp/pointsapp/loadtest/report"
)

const (
	firstRate  = 1000        // that a search tries
	stepWarmUp = time.Second // before each rate is measured
)

// findMax looks for the highest rate that keeps the promise, and reports the steps and then that rate's run.
func (p *program) findMax(ctx context.Context, cfg *config, to target, out *outputs) error {
	first := firstRate
	if cfg.rate != nil {
		first = cfg.rate.From
	}
	fmt.Fprintf(p.stdout, "%10s  %12s  %10s  %10s  %8s\n", "rate [/s]", "reached [/s]", "50% [ms]", "99% [ms]", "errors")
	search := report.Search{Promise: cfg.slo}
	var best *trial // or the last one, if none is good
	highest, err := attack.FindMax(ctx, first, func(ctx context.Context, rate int) (bool, error) {
		t, step, err := tryRate(ctx, cfg, to, rate)
		if err != nil {
			return false, err
		}
		search.Steps = append(search.Steps, step)
		p.printStep(&step)
		if step.Kept || best == nil {
			best = t
		}
		return step.Kept, nil
	})
	if err != nil {
		return err
	}
	search.Highest = highest
	p.printVerdict(cfg, &search)

	run := best.document(best.schedule.Requests())
	run.Search = &search
	run.Updates = fetchUpdates(ctx, best)
	if err := out.write(run, best.summary.Total); err != nil {
		return err
	}
	verdicts, kept := promise.Judge(cfg.assertions, best.figures())
	run.Assertions = verdicts
	p.printNotes(best)
	if highest == 0 || !kept || best.checked.Violations > 0 {
		return errBroken
	}
	return nil
}

// tryRate runs one step of the search.
func tryRate(ctx context.Context, cfg *config, to target, rate int) (*trial, report.Step, error) {
	constant := attack.Rate{From: rate, To: rate}
	schedule, err := attack.NewSchedule(constant, stepWarmUp+cfg.duration)
	if err != nil {
		return nil, report.Step{}, err
	}
	step := *cfg
	step.rate = &constant
	t := &trial{cfg: &step, target: to, schedule: schedule, warmUp: stepWarmUp}
	if err := t.run(ctx); err != nil {
		return nil, report.Step{}, err
	}
	if ctx.Err() != nil {
		return nil, report.Step{}, fmt.Errorf("interrupted at %d requests per second", rate)
	}
	figures := t.figures()
	verdicts, kept := promise.Judge(cfg.promise, figures)
	result := report.Step{
		Rate: rate, Reached: figures.Rate, P50: milliseconds(figures.Latency.Percentile(50)),
		P99: milliseconds(figures.Latency.Percentile(99)), Errors: figures.Failed + figures.Non2xx,
		Kept: kept && t.unsent == 0,
	}
	var broken []string
	for _, v := range verdicts {
		if !v.Kept {
			broken = append(broken, v.Clause+": "+v.Measured)
		}
	}
	if t.unsent > 0 {
		broken = append(broken, fmt.Sprintf("%d requests could not be sent", t.unsent))
	}
	result.Because = strings.Join(broken, ", ")
	return t, result, nil
}

func (p *program) printStep(s *report.Step) {
	verdict := "kept"
	if !s.Kept {
		verdict = "broken: " + s.Because
	}
	fmt.Fprintf(p.stdout, "%10d  %12.0f  %10.3f  %10.3f  %8d  %s\n", s.Rate, s.Reached, s.P50, s.P99, s.Errors, verdict)
}

func (p *program) printVerdict(cfg *config, s *report.Search) {
	if s.Highest == 0 {
		fmt.Fprintf(p.stdout, "\nVerdict: no rate keeps %s, not even %d per second.\n", cfg.slo, s.Steps[len(s.Steps)-1].Rate)
		return
	}
	fmt.Fprintf(p.stdout, "\nVerdict: %d requests per second keep %s.\n", s.Highest, cfg.slo)
}
