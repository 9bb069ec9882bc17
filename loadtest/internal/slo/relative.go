package slo

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
)

// confidence is the level of the confidence intervals of relative clauses.
const confidence = 0.95

// A Comparison holds the metrics of the runs that relative clauses such as p99<=1.1*old compare.
type Comparison struct {
	Old, New []*Metrics

	// Interleaved means that New[i] ran right before or after Old[i], under the same conditions.
	Interleaved bool

	// OldLimited means that the load generator limited the old runs: the old server may be better than they show, so no
	// relative clause passes.
	OldLimited bool
}

// parseRelative parses a value such as 1.1*old; ok is false if it has another form.
func parseRelative(value string) (factor float64, ok bool, err error) {
	before, isRelative := strings.CutSuffix(value, "old")
	if !isRelative {
		return 0, false, nil
	}
	before = strings.TrimSpace(before)
	if before == "" {
		return 1, true, nil
	}
	before, hasStar := strings.CutSuffix(before, "*")
	factor, err = strconv.ParseFloat(strings.TrimSpace(before), 64)
	if !hasStar || err != nil || !(factor > 0) || math.IsInf(factor, 0) {
		return 0, true, fmt.Errorf("a value relative to the old runs must have the form 1.1*old, got %q", value)
	}
	return factor, true, nil
}

// IsRelative reports whether the clause refers to old runs.
func (c *Clause) IsRelative() bool { return c.relative }

// evaluateRelative evaluates a relative clause.
func (c *Clause) evaluateRelative(runs *Comparison) Result {
	r := c.compare(runs)
	if r.Met && runs.OldLimited {
		r.Measured += ", undecided: the old run was limited by the load generator"
		r.Met = false
	}
	return r
}

// compare compares the measurements. With at least two runs on both sides, the clause passes only if it holds in the
// whole confidence interval of the ratio.
func (c *Clause) compare(runs *Comparison) Result {
	r := Result{Clause: c.text, Measured: noSamples}
	if runs == nil || len(runs.Old) == 0 || len(runs.New) == 0 {
		return r
	}
	if anyWithoutSuccess(runs.Old) {
		r.Measured = "an old run has no 2xx response: nothing to compare with"
		return r
	}
	before, okOld := c.values(runs.Old)
	after, okNew := c.values(runs.New)
	if !okOld || !okNew {
		return r
	}
	if c.metric == "rps" && smallest(before) <= 0 {
		r.Measured = "an old run has a rate of 0: nothing to compare with"
		return r
	}
	oldMean, newMean := stat.Mean(before, nil), stat.Mean(after, nil)
	if math.Min(smallest(before), smallest(after)) <= 0 { // a logarithm would be infinite
		r.Measured = fmt.Sprintf("%s, old %s", c.format(newMean), c.format(oldMean))
		r.Met = c.compareTo(newMean, c.limit*oldMean)
		return r
	}
	var resolution float64
	if c.isLatency() { // in whole microseconds
		resolution = 1e-6 / math.Min(smallest(before), smallest(after))
	}
	ratio, low, high := interval(logs(before), logs(after), runs.Interleaved && len(before) == len(after), resolution)
	kind := ""
	if len(before) > 1 || len(after) > 1 { // the ratio is that of these means; the tables have the figures of all requests
		kind = "geometric means of the runs: "
	}
	r.Measured = fmt.Sprintf("%.3g*old (%s%s, old %s", ratio, kind,
		c.format(stat.GeometricMean(after, nil)), c.format(stat.GeometricMean(before, nil)))
	if math.IsNaN(low) {
		r.Measured += "; single runs: no confidence interval, see -repeat)"
		r.Met = c.compareTo(ratio, c.limit)
		return r
	}
	r.Measured += fmt.Sprintf("; %d%% interval %.3g to %.3g)", int(100*confidence), low, high)
	metLow, metHigh := c.compareTo(low, c.limit), c.compareTo(high, c.limit)
	r.Met = metLow && metHigh
	if metLow != metHigh {
		r.Measured += ", undecided: raise -repeat"
	}
	return r
}

// anyWithoutSuccess reports whether a run has no successful response.
func anyWithoutSuccess(runs []*Metrics) bool {
	return slices.ContainsFunc(runs, func(m *Metrics) bool { return m.Successful == 0 })
}

// Absolute returns the clauses that do not refer to old runs.
func Absolute(clauses []Clause) []Clause {
	return slices.DeleteFunc(slices.Clone(clauses), func(c Clause) bool { return c.relative })
}

// checkOld makes r fail if an old run fails the clause.
func (c *Clause) checkOld(r *Result, old []*Metrics) {
	for _, m := range old {
		if !c.hasSamples(m) {
			continue // then the relative clauses fail
		}
		if measured := c.measure(m); !c.holds(measured) {
			r.Measured += ", old " + c.format(measured)
			r.Met = false
			return
		}
	}
}

// values returns the measurements of the clause's metric; ok is false if a run has none.
func (c *Clause) values(runs []*Metrics) (values []float64, ok bool) {
	for _, m := range runs {
		if !c.hasSamples(m) {
			return nil, false
		}
		values = append(values, c.measure(m))
	}
	return values, true
}

func smallest(values []float64) float64 {
	least := math.Inf(1)
	for _, v := range values {
		least = min(least, v)
	}
	return least
}

func logs(values []float64) []float64 {
	logs := make([]float64, 0, len(values))
	for _, v := range values {
		logs = append(logs, math.Log(v))
	}
	return logs
}

// interval returns the ratio of the geometric means, and the bounds of its confidence interval: Student's for the
// differences of pairs, otherwise Welch's. The standard error of the difference is at least resolution, because equal
// rounded values are no certainty. The bounds are NaN if a side has fewer than two runs.
func interval(before, after []float64, paired bool, resolution float64) (ratio, low, high float64) {
	difference := stat.Mean(after, nil) - stat.Mean(before, nil)
	if len(before) < 2 || len(after) < 2 {
		return math.Exp(difference), math.NaN(), math.NaN()
	}
	var deviation, freedom float64 // of the difference
	if paired {
		differences := make([]float64, len(after))
		for i := range after {
			differences[i] = after[i] - before[i]
		}
		deviation = stat.StdDev(differences, nil) / math.Sqrt(float64(len(differences)))
		freedom = float64(len(differences) - 1)
	} else {
		n, m := float64(len(before)), float64(len(after))
		a, b := stat.Variance(before, nil)/n, stat.Variance(after, nil)/m
		deviation = math.Sqrt(a + b)
		freedom = n + m - 2
		if a+b > 0 {
			freedom = max((a+b)*(a+b)/(a*a/(n-1)+b*b/(m-1)), 1)
		}
	}
	deviation = max(deviation, resolution)
	if deviation == 0 { // all runs are equal
		return math.Exp(difference), math.Exp(difference), math.Exp(difference)
	}
	t := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: freedom}.Quantile((1 + confidence) / 2)
	return math.Exp(difference), math.Exp(difference - t*deviation), math.Exp(difference + t*deviation)
}
