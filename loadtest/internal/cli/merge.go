package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/pointsapp/pointsapp/loadtest/internal/report"
	"github.com/pointsapp/pointsapp/loadtest/internal/slo"
)

// merge reports runs of several machines at the same time as one run.
func (c *command) merge(context.Context) (err error) {
	if c.out, err = openOutputs(c.cfg, c.stdout); err != nil {
		return err
	}
	defer c.out.close()
	if c.cfg.UsesStdout() {
		c.stdout = c.stderr
	}
	runs := make([]*report.Run, 0, len(c.cfg.Files))
	for _, name := range c.cfg.Files {
		run, err := readRun(name)
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(runs, run.Same); i >= 0 {
			return fmt.Errorf("cannot merge %s and %s: both are the same run", c.cfg.Files[i], name)
		}
		runs = append(runs, run)
	}
	result, err := report.Merge(runs)
	if err != nil {
		return err
	}
	result.Command = c.cfg.Command
	metrics, err := result.Metrics()
	if err != nil {
		return err
	}
	old, err := c.baselineMetrics()
	if err != nil {
		return err
	}
	metrics.Comparison = &slo.Comparison{Old: old, New: []*slo.Metrics{metrics}}
	result.Assertions, _ = slo.Evaluate(c.cfg.Assertions, metrics)
	summary, err := result.Summary()
	if err != nil {
		return err
	}
	c.writeFiles(result, &summary)
	if err := c.print(&summary, result); ignoreClosedPipe(err) != nil {
		return err
	}
	switch {
	case result.Interrupted:
		first := slices.IndexFunc(runs, func(r *report.Run) bool { return r.Interrupted })
		return fmt.Errorf("the run in %s was interrupted, so its figures are incomplete: repeat it", c.cfg.Files[first])
	case result.Counts.Good == 0:
		return errors.New("no request succeeded")
	case result.Verdict == report.VerdictFail:
		return errCheckFailed
	}
	return nil
}

// readRun reads the -json file of a run.
func readRun(name string) (*report.Run, error) {
	f, err := os.Open(name) //nolint:gosec // named by the user
	if err != nil {
		return nil, fmt.Errorf("cannot read a run: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	run, err := report.ReadJSON(f)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, err)
	}
	return run, nil
}
