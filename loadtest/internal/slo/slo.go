// Package slo parses and evaluates service-level objectives such as "p99<50ms,errors<0.1%". They are used as the SLO of
// a search for the highest rate, and as assertions on a single run.
//
//	clauses, err := slo.Parse("p99<50ms,errors<0.1%")
//	results, met := slo.Evaluate(clauses, &slo.Metrics{Latency: latency, Requests: 1000, Failed: 2})
package slo

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/internal/record"
)

// Usage describes the clauses in a few lines.
const Usage = `comma-separated; each is METRIC OP VALUE, where OP is one of < <= > >= = !=
p50 p99.9 ... min mean max   latency, with a unit: p99<50ms
rps                          successful (2xx) responses per second: rps>3000
failed                       requests without a complete response: failed=0 or failed<0.1%
errors                       failed requests and non-2xx responses: errors<0.1%
non2xx length aborted resent violations   counts, or % of all requests
p99<=1.1*old, rps>=old       relative to the runs of -compare
errors<1% is added unless a clause limits errors; if a clause limits non2xx, failed<1% is added instead. If a
clause has old, the old runs must pass the added clause, too.
A clause without samples fails.`

// MaxErrorShare is the share of errors, 0 to 1, at which checks fail by default.
const MaxErrorShare = 0.01

// WithErrorLimit returns the clauses and, unless they limit the errors, errors<1%: a server that only answers 503, or
// closes all connections, could meet any latency limit. If they limit non2xx, it adds failed<1% instead. It adds
// nothing if there are no clauses.
func WithErrorLimit(clauses []Clause) []Clause {
	limit := func(metric string) bool {
		return slices.ContainsFunc(clauses, func(c Clause) bool { return c.metric == metric && c.IsUpperBound() })
	}
	metric := "errors"
	switch {
	case len(clauses) == 0, limit("errors"), limit("non2xx") && limit("failed"):
		return clauses
	case limit("non2xx"):
		metric = "failed"
	}
	relative := slices.ContainsFunc(clauses, func(c Clause) bool { return c.relative })
	return append(slices.Clone(clauses), Clause{
		metric: metric, op: "<", limit: MaxErrorShare, share: true, alsoOld: relative,
		text: fmt.Sprintf("%s<%g%%", metric, 100*MaxErrorShare),
	})
}

// MinRequests returns how many requests can show that a run meets the clauses: 100 or, for clauses such as errors<0.1%
// or p99.9<1s, so many that 15 of them may exceed the limit. With fewer, a server that exceeds it twice as often could
// meet them by chance; with these, the probability is 0.1% (Poisson distribution).
func MinRequests(clauses []Clause) int64 {
	const least, above = 100, 15
	n := float64(least) // errors=0 in a few requests shows nothing, either
	for _, c := range clauses {
		share := 0.0
		if p, ok := c.percentile(); ok {
			share = (100 - p) / 100
		} else if c.share {
			share = c.limit
		}
		if share > 0 && c.IsUpperBound() {
			n = max(n, math.Ceil(above/share-1e-6))
		}
	}
	return int64(min(n, math.MaxInt32))
}

// A Clause is a bound on one metric.
type Clause struct {
	metric string
	op     string
	limit  float64 // seconds for a latency, a fraction for a percentage
	share  bool    // the limit is a share of all requests
	text   string

	relative bool // the limit is a factor of the old runs' value
	alsoOld  bool // old runs must pass the clause, too
}

// Metrics are the measurements of a run that clauses refer to.
type Metrics struct {
	Latency *record.Distribution
	Rate    float64 // successful responses per second

	Requests                                            int64 // that have ended, or were due but not sent
	Failed, Non2xx, Length, Aborted, Resent, Violations int64

	Successful int64 // 2xx responses
	Checked    int64 // responses checked against the contract, for violations
	AnyLength  bool  // nothing was counted for length

	Comparison *Comparison // for relative clauses; nil if there are no old runs
}

// A Result is the outcome of a clause. Measured is the measured value with its unit, or the reason why there is none.
type Result struct {
	Clause   string `json:"clause"`
	Measured string `json:"measured"`
	Met      bool   `json:"met"`
}

// allOperators are the operators in the order of the help text.
const allOperators = "< <= > >= = !="

// operators returns the operators, longest first.
func operators() []string { return []string{"<=", ">=", "!=", "<", ">", "="} }

// counts returns the metrics that count requests. Their limit may be a percentage.
func counts() []string {
	return []string{"failed", "errors", "non2xx", "length", "aborted", "resent", "violations"}
}

// Parse parses comma-separated clauses. An error quotes the clause and names the rule that it breaks.
func Parse(s string) ([]Clause, error) {
	var clauses []Clause
	for text := range strings.SplitSeq(s, ",") {
		if strings.TrimSpace(text) == "" {
			return nil, fmt.Errorf("%q: a clause is empty: each must have the form METRIC OP VALUE, e.g. p99<50ms", s)
		}
		c, err := parseClause(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		clauses = append(clauses, c)
	}
	return clauses, nil
}

func parseClause(text string) (Clause, error) {
	at, op := findOperator(text)
	if at < 0 {
		return Clause{}, fmt.Errorf("%q: a clause must have the form METRIC OP VALUE, e.g. p99<50ms", text)
	}
	c := Clause{text: text, op: op, metric: strings.ToLower(strings.TrimSpace(text[:at]))}
	value := joinUnit(text[at+len(op):])
	if rest := strings.TrimLeft(value, "<>=!"); rest != value {
		return Clause{}, fmt.Errorf("%q: the operator must be one of %s, got %s",
			text, allOperators, op+strings.TrimSuffix(value, rest))
	}
	if hasClause(value) {
		return Clause{}, fmt.Errorf("%q: separate clauses by commas", text)
	}
	if err := c.setLimit(value); err != nil {
		return Clause{}, fmt.Errorf("%q: %w", text, err)
	}
	return c, nil
}

// setLimit sets the limit from the value of the clause, in the form that its metric requires.
func (c *Clause) setLimit(value string) error {
	factor, relative, err := parseRelative(value)
	isCount := slices.Contains(counts(), c.metric)
	switch {
	case err != nil:
		return err
	case !c.isLatency() && c.metric != "rps" && !isCount:
		return unknownMetric(c.metric, c.op, value)
	case relative && (c.op == "=" || c.op == "!="):
		return fmt.Errorf("a clause relative to the old runs needs one of < <= > >=, got %s", c.op)
	case relative:
		c.limit, c.relative = factor, true
		return nil
	case c.isLatency():
		d, err := time.ParseDuration(value)
		if err != nil {
			return fmt.Errorf("a latency must have a unit, e.g. 50ms, got %q", value)
		}
		if d < 0 {
			return fmt.Errorf("a latency must not be negative, got %q", value)
		}
		c.limit = d.Seconds()
		return nil
	}
	number, isPercentage := strings.CutSuffix(value, "%")
	if c.share = isPercentage && isCount; !c.share {
		number = value
	}
	c.limit, err = strconv.ParseFloat(number, 64)
	if err != nil || !(c.limit >= 0) || math.IsInf(c.limit, 0) || strings.ContainsAny(number, "xX") {
		return fmt.Errorf("the value must be a number, at least 0, got %q", number)
	}
	if c.share {
		if c.limit > 100 { // such a limit would replace errors<1% by none
			return fmt.Errorf("a share of the requests must be at most 100%%, got %q", value)
		}
		c.limit /= 100
	} else if isCount && c.limit != math.Trunc(c.limit) { // in k6, 0.01 is a share
		return fmt.Errorf("a count must be a whole number, or a share of the requests such as 1%%, got %q", value)
	}
	return nil
}

// unknownMetric returns the error for a clause with a metric that does not exist.
func unknownMetric(metric, op, value string) error {
	if instead := hint(metric, op, value); instead != "" {
		return fmt.Errorf("unknown metric: use %s", instead)
	}
	return fmt.Errorf("the metric must be a percentile such as p99.9, or one of min, mean, max, rps, %s; got %q",
		strings.Join(counts(), ", "), metric)
}

// joinUnit removes the space between a number and its unit, as in 50 ms and 1 %.
func joinUnit(value string) string {
	value = strings.TrimSpace(value)
	fields := strings.Fields(value)
	const digits = "0123456789"
	if len(fields) != 2 || strings.Trim(fields[0], digits+".") != "" || strings.ContainsAny(fields[1][:1], digits) {
		return value
	}
	return fields[0] + fields[1]
}

// hasClause reports whether the value of a clause ends with another clause.
func hasClause(value string) bool {
	return strings.ContainsAny(value, ";&|") || strings.IndexAny(value, "<>=!") > 0
}

// hint returns what to use instead of a metric of k6; "" if there is nothing. In k6, a threshold may name the metric
// before a colon, and latencies are in milliseconds.
func hint(metric, op, value string) string {
	metric = strings.TrimSpace(metric[strings.LastIndexByte(metric, ':')+1:])
	percentile := Clause{metric: strings.NewReplacer("(", "", ")", "").Replace(metric)}
	switch {
	case percentile.isLatency():
		if _, err := strconv.ParseFloat(value, 64); err == nil {
			value += "ms"
		}
		return percentile.metric + op + value
	case metric == "avg":
		return "mean, e.g. mean<200ms"
	case metric == "med":
		return "p50, e.g. p50<200ms"
	case metric == "http_req_duration":
		return "a percentile, e.g. p95<200ms"
	case metric == "rate", metric == "http_req_failed":
		return "failed or errors, e.g. failed<1%"
	case metric == "http_reqs":
		return "rps, e.g. rps>100"
	}
	return ""
}

// findOperator returns the position of the first operator of a clause, and the operator; -1 if there is none.
func findOperator(text string) (int, string) {
	at := strings.IndexAny(text, "<>=!")
	if at < 0 {
		return -1, ""
	}
	for _, op := range operators() {
		if strings.HasPrefix(text[at:], op) {
			return at, op
		}
	}
	return -1, ""
}

func (c *Clause) isLatency() bool {
	if _, ok := c.percentile(); ok {
		return true
	}
	return slices.Contains([]string{"min", "mean", "max"}, c.metric)
}

// percentile returns the number in a metric such as p99.9.
func (c *Clause) percentile() (float64, bool) {
	digits, ok := strings.CutPrefix(c.metric, "p")
	if !ok || strings.Trim(digits, "0123456789.") != "" {
		return 0, false
	}
	p, err := strconv.ParseFloat(digits, 64)
	return p, err == nil && p <= 100
}

// IsUpperBound reports whether the clause bounds its metric from above. rps=N does not count: it is also a minimum.
func (c *Clause) IsUpperBound() bool {
	return c.op == "<" || c.op == "<=" || c.op == "=" && c.metric != "rps"
}

// String returns the clause as it was given.
func (c *Clause) String() string { return c.text }

// noSamples is Result.Measured of a clause without samples.
const noSamples = "no samples"

// Evaluate returns the outcome of each clause, and whether all of them pass. A clause without samples fails.
func Evaluate(clauses []Clause, m *Metrics) (results []Result, met bool) {
	met = true
	for _, c := range clauses {
		r := Result{Clause: c.text, Measured: noSamples}
		if c.relative {
			r = c.evaluateRelative(m.Comparison)
		} else if c.hasSamples(m) {
			measured := c.measure(m)
			r.Measured, r.Met = c.format(measured), c.holds(measured)
			if p, ok := c.percentile(); ok && IsMaximum(p, m.Latency.Count()) {
				r.Measured += maximumOf(m.Latency.Count())
			}
		}
		if c.alsoOld && m.Comparison != nil {
			c.checkOld(&r, m.Comparison.Old)
		}
		met = met && r.Met
		results = append(results, r)
	}
	return results, met
}

// IsMaximum reports whether there are so few samples that the percentile, 0 to 100, is their maximum. It returns false
// for the 100th percentile, which always is.
func IsMaximum(percentile float64, samples int64) bool {
	return percentile < 100 && int64(float64(samples)*percentile/100) >= samples-1
}

// maximumOf returns the text after a percentile that is the maximum.
func maximumOf(samples int64) string {
	if samples == 1 {
		return " (the only sample)"
	}
	return fmt.Sprintf(" (the maximum of %d samples)", samples)
}

func (c *Clause) hasSamples(m *Metrics) bool {
	switch {
	case c.isLatency():
		return m.Latency.Count() > 0
	case c.metric == "violations":
		return m.Checked > 0
	case c.metric == "length" && m.AnyLength:
		return false
	}
	return m.Requests > 0
}

func (c *Clause) measure(m *Metrics) float64 {
	if c.metric == "rps" {
		return m.Rate
	}
	if c.isLatency() {
		return c.latency(m.Latency).Seconds()
	}
	n := map[string]int64{
		"failed": m.Failed, "errors": m.Failed + m.Non2xx, "non2xx": m.Non2xx, "length": m.Length, "aborted": m.Aborted,
		"resent": m.Resent, "violations": m.Violations,
	}[c.metric]
	if c.share || c.relative { // the runs to compare may have different numbers of requests
		return float64(n) / float64(m.Requests)
	}
	return float64(n)
}

func (c *Clause) latency(d *record.Distribution) time.Duration {
	switch c.metric {
	case "min":
		return d.Min()
	case "mean":
		return d.Mean()
	case "max":
		return d.Max()
	}
	p, _ := c.percentile()
	return d.Percentile(p)
}

// holds reports whether the measured value passes the clause.
func (c *Clause) holds(measured float64) bool { return c.compareTo(measured, c.limit) }

// compareTo applies the operator to the measured value and the limit.
func (c *Clause) compareTo(measured, limit float64) bool {
	switch c.op {
	case "<":
		return measured < limit
	case "<=":
		return measured <= limit
	case ">":
		return measured > limit
	case ">=":
		return measured >= limit
	case "=":
		return measured == limit
	default:
		return measured != limit
	}
}

func (c *Clause) format(measured float64) string {
	switch {
	case c.isLatency():
		return time.Duration(measured * float64(time.Second)).Round(100 * time.Nanosecond).String()
	case c.share, c.relative && c.metric != "rps":
		return strconv.FormatFloat(measured*100, 'g', 4, 64) + "%"
	case c.metric == "rps":
		return strconv.FormatFloat(measured, 'f', 2, 64)
	}
	return strconv.FormatInt(int64(measured), 10)
}
