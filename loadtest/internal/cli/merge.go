package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pointsapp/pointsapp/loadtest/internal/report"
	"github.com/pointsapp/pointsapp/loadtest/internal/slo"
)

// merge reports runs that several load generators made at the same time as one run.
func (c *command) merge(ctx context.Context) (err error) {
	if c.out, err = openOutputs(ctx, c.cfg, c.stdout); err != nil {
		return err
	}
	defer c.out.close()
	if c.cfg.UsesStdout() {
		c.stdout = c.stderr
	}
	runs, err := readRuns(ctx, c.cfg.Files)
	if err != nil {
		return err
	}
	result, err := c.mergeRuns(runs)
	if err != nil {
		return err
	}
	if text := c.incomparable(result); text != "" {
		return errors.New(text)
	}
	metrics, err := result.Metrics()
	if err != nil {
		return err
	}
	old, err := c.oldMetrics()
	if err != nil {
		return err
	}
	metrics.Comparison = &slo.Comparison{Old: old, New: []*slo.Metrics{metrics}, OldLimited: c.oldLimited()}
	if len(runs) == 1 && len(runs[0].Repeats) > 0 {
		if metrics.Comparison.New, err = metricsOf(runs[0].Repeats); err != nil {
			return err
		}
	}
	result.Assertions, _ = slo.Evaluate(c.cfg.Assertions, metrics)
	summary, err := result.Summary()
	if err != nil {
		return err
	}
	c.writeFiles(result, &summary)
	if err := c.print(&summary, result); ignoreClosedPipe(err) != nil {
		return err
	}
	if result.Interrupted {
		first := slices.IndexFunc(runs, func(r *report.Run) bool { return r.Interrupted })
		return fmt.Errorf("the run in %s was interrupted, so its figures are incomplete: repeat it", c.cfg.Files[first])
	}
	return failure(result, "")
}

// mergeRuns merges the runs of the files.
func (c *command) mergeRuns(runs []*report.Run) (*report.Run, error) {
	result, err := report.Merge(c.cfg.Files, runs)
	switch {
	case errors.Is(err, report.ErrDifferentTimes) && len(runs) == 2:
		return nil, fmt.Errorf("%w; to compare them: loadtest merge -compare %s %s", err, c.cfg.Files[0], c.cfg.Files[1])
	case err != nil:
		return nil, err
	}
	if text := report.TargetsNote(runs); text != "" {
		note(c.stderr, text)
	}
	result.Command, result.Incomparable = c.cfg.Command, c.oldNoSuccess()
	return result, nil
}

// failure returns the error of a run that failed; nil if it did not. hint is appended if there was no 2xx response.
func failure(result *report.Run, hint string) error {
	switch {
	case result.NoSuccess() != "":
		return errors.New(result.NoSuccess() + hint)
	case result.Incomparable != "":
		return errors.New(result.Incomparable)
	case result.Verdict == report.VerdictFail:
		return errCheckFailed
	}
	return nil
}

// readRuns reads the -json files of runs, all of which must be different.
func readRuns(ctx context.Context, names []string) ([]*report.Run, error) {
	runs := make([]*report.Run, 0, len(names))
	for _, name := range names {
		run, err := readRun(ctx, name)
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(runs, run.Same); i >= 0 {
			return nil, fmt.Errorf("cannot merge %s and %s: both are the same run", names[i], name)
		}
		if run.Merged > 1 && len(names) > 1 { // it may have one of the others
			return nil, fmt.Errorf("cannot merge %s with others: it has %d merged runs: merge their own files", name, run.Merged)
		}
		runs = append(runs, run)
	}
	return runs, nil
}

// readRun reads the -json file of a run.
func readRun(ctx context.Context, name string) (*report.Run, error) {
	content, err := readFile(ctx, name, "the run")
	if err != nil {
		return nil, err
	}
	run, err := report.ReadJSON(bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("cannot read the run in %s: %w", name, err)
	}
	return run, nil
}
