package cli

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/pointsapp/pointsapp/loadtest/internal/contract"
	"github.com/pointsapp/pointsapp/loadtest/internal/flags"
	"github.com/pointsapp/pointsapp/loadtest/internal/record"
	"github.com/pointsapp/pointsapp/loadtest/internal/report"
	"github.com/pointsapp/pointsapp/loadtest/internal/slo"
)

// repeat runs the load -repeat times. If -compare is a URL, it pairs each run with one on the old server. The order in
// the pairs alternates, so that a slow change of the machine affects both servers alike. After an interruption it
// returns the runs so far, the last of which is incomplete.
func (c *command) repeat(ctx context.Context) (runs, old []*run, err error) {
	oldConfig, oldTarget := *c.cfg, target{}
	interleaved := c.cfg.CompareURL != nil
	if interleaved {
		oldConfig.URL, oldConfig.RequestTarget = c.cfg.CompareURL, c.cfg.CompareTarget
		if oldTarget, err = newTarget(ctx, &oldConfig); err != nil {
			return nil, nil, err
		}
	}
	measure := func(which string, cfg *flags.Config, t target, to *[]*run) error {
		numbered := ctx.Err() == nil && c.plannedRuns() > 1 // the run after an interruption is empty
		if numbered {
			c.currentRun = fmt.Sprintf("%srun %d of %d", which, len(*to)+1, c.cfg.Repeat)
		}
		r, err := c.measure(ctx, cfg, t)
		if err != nil {
			return err
		}
		*to = append(*to, r)
		if numbered {
			c.printRepeat(r)
		}
		return nil
	}
	measureNew := func() error { return measure("", c.cfg, c.target, &runs) }
	measureOld := func() error { return measure("old ", &oldConfig, oldTarget, &old) }
	for i := range c.cfg.Repeat {
		turn := []func() error{measureNew}
		switch {
		case interleaved && i%2 == 0:
			turn = []func() error{measureOld, measureNew}
		case interleaved:
			turn = []func() error{measureNew, measureOld}
		}
		for _, measure := range turn {
			if ctx.Err() != nil && len(runs) > 0 {
				return runs, old, nil
			}
			runtime.GC() // collect the garbage of the previous run now, not during the next one
			if err := measure(); err != nil {
				return nil, nil, err
			}
		}
	}
	fmt.Fprint(c.stdout, "\n\n")
	return runs, old, nil
}

// plannedRuns returns the number of runs on both servers.
func (c *command) plannedRuns() int {
	if c.cfg.CompareURL != nil {
		return 2 * c.cfg.Repeat
	}
	return c.cfg.Repeat
}

// printRepeat prints one line about the current one of several runs.
func (c *command) printRepeat(r *run) {
	fmt.Fprintf(c.stdout, "%s: %.2f successful requests per second, 50%% %s ms, 99%% %s ms, %s\n",
		c.currentRun, r.rate(), percentileText(r.summary.Latency, 50), percentileText(r.summary.Latency, 99),
		report.Plural(r.summary.Errors(), "error", "errors"))
}

// interrupted returns the error after an interruption, with the number of requests that ended and of those planned in
// all runs.
func (c *command) interrupted(runs, old []*run) error {
	var ended int64
	for _, r := range slices.Concat(runs, old) {
		ended += r.summary.Ended()
	}
	after := report.Plural(ended, "request", "requests")
	if planned := int64(c.plannedRuns()) * runs[0].plannedRequests(); planned > 0 {
		after = fmt.Sprintf("%d of %s", ended, report.Plural(planned, "request", "requests"))
	}
	if c.currentRun != "" {
		return fmt.Errorf("interrupted in %s, after %s", c.currentRun, after)
	}
	return fmt.Errorf("interrupted after %s", after)
}

// combine returns the sum of runs of the same load.
func combine(runs []*run) *run {
	if len(runs) == 1 {
		return runs[0]
	}
	all := *runs[0]
	all.repeats = len(runs)
	all.unsent = 0
	all.contract = contract.Result{}
	summaries := make([]record.Summary, 0, len(runs))
	for _, r := range runs {
		summaries = append(summaries, r.summary)
		all.unsent += r.unsent
		all.saturated = all.saturated || r.saturated
		if r.cpu.Used+r.cpu.Waited > all.cpu.Used+all.cpu.Waited {
			all.cpu = r.cpu
		}
		all.contract.Add(&r.contract)
	}
	all.summary = record.Concat(summaries)
	return &all
}

// combinedResult returns the result of runs of the same load, with that of each run if there are several.
func combinedResult(runs []*run) *report.Run {
	all := combine(runs)
	result := all.result(all.plannedRequests())
	if len(runs) > 1 {
		for _, one := range runs {
			result.Repeats = append(result.Repeats, one.repeatResult())
		}
	}
	return result
}

// repeatResult returns the result of one of several runs.
func (r *run) repeatResult() *report.Run {
	result := r.result(r.plannedRequests())
	result.Timeline = nil // part of the combined timeline
	return result
}

// comparison returns the runs that relative clauses refer to.
func (c *command) comparison(runs, old []*run) (*slo.Comparison, error) {
	comparison := &slo.Comparison{Interleaved: true}
	for _, r := range runs {
		comparison.New = append(comparison.New, r.metrics())
	}
	for _, r := range old {
		comparison.Old = append(comparison.Old, r.metrics())
	}
	if len(old) == 0 {
		comparison.Interleaved = false
		var err error
		if comparison.Old, err = c.oldMetrics(); err != nil {
			return nil, err
		}
	}
	comparison.OldLimited = c.oldLimited()
	return comparison, nil
}

// oldLimited reports whether the load generator limited the run to compare with.
func (c *command) oldLimited() bool { return c.out.old != nil && c.out.old.ClientLimit() != "" }

// checkOld returns an error, before the run, if the run cannot be compared with the file of -compare.
func (c *command) checkOld() error {
	if text := c.oldNoSuccess(); text != "" {
		return errors.New(text)
	}
	current := (&run{cfg: c.cfg, target: c.target}).setup()
	if c.cfg.FindMax {
		current.Search = &report.Search{SLO: c.cfg.SLOText}
	}
	if text := c.incomparable(current); text != "" {
		return usageError(text)
	}
	return nil
}

// incomparable returns why clauses cannot refer to the old runs; "" if they can, or if none does.
func (c *command) incomparable(current *report.Run) string {
	if !c.cfg.ComparesOld() || c.out.old == nil {
		return ""
	}
	if c.out.old.Interrupted {
		return "not comparable: the old run was interrupted, so its figures are incomplete"
	}
	if text := report.Difference(c.out.old, current); text != "" {
		return "not comparable: " + text
	}
	return ""
}

// oldNoSuccess describes the first old run without a 2xx response; "" if all have one, or if there are none.
func (c *command) oldNoSuccess() string {
	if c.out.old == nil {
		return ""
	}
	text := c.out.old.NoSuccess()
	switch {
	case text == "":
		return ""
	case c.cfg.CompareURL != nil:
		text = c.out.old.Target.URL + " (the old server): " + text
	default:
		text = c.cfg.Compare + " (the old run): " + text
	}
	return text + "; there is nothing to compare with"
}

// oldMetrics returns the metrics of the runs in the file of -compare; nil if no clause refers to them.
func (c *command) oldMetrics() (metrics []*slo.Metrics, err error) {
	if !c.cfg.ComparesOld() || c.out.old == nil {
		return nil, nil
	}
	runs := c.out.old.Repeats
	if len(runs) == 0 {
		runs = []*report.Run{c.out.old}
	}
	return metricsOf(runs)
}

func metricsOf(runs []*report.Run) (metrics []*slo.Metrics, err error) {
	for _, r := range runs {
		m, err := r.Metrics()
		if err != nil {
			return nil, fmt.Errorf("cannot compare: %w", err)
		}
		metrics = append(metrics, m)
	}
	return metrics, nil
}
