// Package promise reads and judges clauses about a load test, such as "p99<50ms,errors<0.1%": the promise that the
// search for the highest rate keeps, and assertions.
package promise

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/record"
)

// Usage says in a few lines what clauses there are.
const Usage = `clauses joined by commas, each FIGURE OP VALUE, OP one of < <= > >= = !=
p50 p99.9 ... min mean max   latency, with a unit: p99<50ms
rps                          complete requests per second: rps>3000
failed                       requests without a complete answer: failed=0 or failed<0.1%
errors                       failed ones and non-2xx answers: errors<0.1%
non2xx length violations     counts, or % of all requests`

// A Clause says what a figure must be.
type Clause struct {
	figure string
	op     string
	limit  float64 // seconds for a latency, a share for a percentage
	share  bool    // the value is a percentage
	text   string
}

// Figures are what clauses are about.
type Figures struct {
	Latency *record.Distribution
	Rate    float64 // complete requests per second

	Requests                           int64 // all of them
	Failed, Non2xx, Length, Violations int64
}

// A Verdict is what became of a clause.
type Verdict struct {
	Clause   string `json:"clause"`
	Measured string `json:"measured"`
	Kept     bool   `json:"kept"`
}

// ops returns the operators, those first that begin like another.
func ops() []string { return []string{"<=", ">=", "!=", "<", ">", "="} }

// counts returns the figures that are counts, or shares of the requests.
func counts() []string { return []string{"failed", "errors", "non2xx", "length", "violations"} }

// Parse reads clauses. Its error names the clause and what it should be.
func Parse(s string) ([]Clause, error) {
	var clauses []Clause
	for text := range strings.SplitSeq(s, ",") {
		c, err := parseClause(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		clauses = append(clauses, c)
	}
	return clauses, nil
}

func parseClause(text string) (Clause, error) {
	at, op := findOp(text)
	if at < 0 {
		return Clause{}, fmt.Errorf("promise: %q has no operator: write it as p99<50ms", text)
	}
	c := Clause{text: text, op: op, figure: strings.ToLower(strings.TrimSpace(text[:at]))}
	value := strings.TrimSpace(text[at+len(op):])
	switch {
	case c.isLatency():
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return Clause{}, fmt.Errorf("promise: %q compares a latency, so its value needs a unit, as 50ms: %q", text, value)
		}
		c.limit = d.Seconds()
		return c, nil
	case c.figure == "rps", slices.Contains(counts(), c.figure):
		var err error
		if c.share = c.figure != "rps" && strings.HasSuffix(value, "%"); c.share {
			value = strings.TrimSuffix(value, "%")
		}
		c.limit, err = strconv.ParseFloat(value, 64)
		if err != nil || math.IsNaN(c.limit) || c.limit < 0 {
			return Clause{}, fmt.Errorf("promise: %q compares a number: %q is none", text, value)
		}
		if c.share {
			c.limit /= 100
		}
		return c, nil
	}
	return Clause{}, fmt.Errorf("promise: %q is no figure: they are p50, p99.9 and so on, min, mean, max, rps, %s",
		c.figure, strings.Join(counts(), ", "))
}

// findOp returns the first operator of a clause and where it is; -1 if there is none.
func findOp(text string) (int, string) {
	at := strings.IndexAny(text, "<>=!")
	if at < 0 {
		return -1, ""
	}
	for _, op := range ops() {
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
	return slices.Contains([]string{"min", "mean", "max"}, c.figure)
}

// percentile returns p of a figure pP.
func (c *Clause) percentile() (float64, bool) {
	digits, ok := strings.CutPrefix(c.figure, "p")
	if !ok || strings.Trim(digits, "0123456789.") != "" {
		return 0, false
	}
	p, err := strconv.ParseFloat(digits, 64)
	return p, err == nil && p <= 100
}

// Judge returns what became of each clause, and whether all were kept.
func Judge(clauses []Clause, f *Figures) (verdicts []Verdict, kept bool) {
	kept = true
	for _, c := range clauses {
		measured := c.measure(f)
		v := Verdict{Clause: c.text, Measured: c.format(measured), Kept: c.holds(measured)}
		kept = kept && v.Kept
		verdicts = append(verdicts, v)
	}
	return verdicts, kept
}

func (c *Clause) measure(f *Figures) float64 {
	if c.figure == "rps" {
		return f.Rate
	}
	if c.isLatency() {
		return c.latency(f.Latency).Seconds()
	}
	n := map[string]int64{
		"failed": f.Failed, "errors": f.Failed + f.Non2xx, "non2xx": f.Non2xx, "length": f.Length, "violations": f.Violations,
	}[c.figure]
	if c.share {
		return float64(n) / float64(max(f.Requests, 1))
	}
	return float64(n)
}

func (c *Clause) latency(d *record.Distribution) time.Duration {
	switch c.figure {
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

func (c *Clause) holds(measured float64) bool {
	switch c.op {
	case "<":
		return measured < c.limit
	case "<=":
		return measured <= c.limit
	case ">":
		return measured > c.limit
	case ">=":
		return measured >= c.limit
	case "=":
		return measured == c.limit
	default:
		return measured != c.limit
	}
}

func (c *Clause) format(measured float64) string {
	switch {
	case c.isLatency():
		return time.Duration(measured * float64(time.Second)).Round(100 * time.Nanosecond).String()
	case c.share:
		return strconv.FormatFloat(measured*100, 'g', 4, 64) + "%"
	case c.figure == "rps":
		return strconv.FormatFloat(measured, 'f', 2, 64)
	}
	return strconv.FormatInt(int64(measured), 10)
}
