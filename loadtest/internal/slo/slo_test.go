package slo

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/loadtest/internal/record"
)

// metrics are those of a run with latencies of 1 to 1000 µs.
func metrics() *Metrics {
	latency := record.NewDistribution()
	for i := range 1000 {
		latency.Add(time.Duration(i+1) * time.Microsecond)
	}
	return &Metrics{Latency: latency, Rate: 3000.5, Requests: 1000, Failed: 2, Non2xx: 3, Length: 4, Violations: 5, Successful: 995, Checked: 995}
}

func TestEvaluate(t *testing.T) {
	tests := map[string]struct {
		measured string
		met      bool
	}{
		"p50<502us":     {"501µs", true},
		"p50<501µs":     {"501µs", false},
		"P50 <= 501us":  {"501µs", true},
		"p99.9>=1ms":    {"1ms (the maximum of 1000 samples)", true},
		"p99.8>=1ms":    {"999µs", false},
		"p100!=1ms":     {"1ms", false},
		"min=1us":       {"1µs", true},
		"mean>500us":    {"500.5µs", true},
		"max<1ms":       {"1ms", false},
		"rps>3000":      {"3000.50", true},
		"rps<3e3":       {"3000.50", false},
		"failed=0":      {"2", false},
		"failed<0.3%":   {"0.2%", true},
		"p50 < 502 us":  {"501µs", true},
		"errors < 1 %":  {"0.5%", true},
		"errors<=5":     {"5", true},
		"errors<0.5%":   {"0.5%", false},
		"non2xx=3":      {"3", true},
		"length=4":      {"4", true},
		"violations!=0": {"5", true},
	}
	for text, tt := range tests {
		clauses, err := Parse(text)
		require.NoError(t, err, text)
		results, met := Evaluate(clauses, metrics())
		assert.Equal(t, []Result{{Clause: text, Measured: tt.measured, Met: tt.met}}, results)
		assert.Equal(t, tt.met, met, text)
	}
}

func TestOneSample(t *testing.T) {
	clauses, err := Parse("p99<1s,max<1s")
	require.NoError(t, err)
	latency := record.NewDistribution()
	latency.Add(time.Millisecond)
	results, _ := Evaluate(clauses, &Metrics{Latency: latency, Requests: 1})
	assert.Equal(t, []string{"1ms (the only sample)", "1ms"}, []string{results[0].Measured, results[1].Measured})
}

func TestWithErrorLimit(t *testing.T) {
	for text, want := range map[string]string{
		"p99<1s": "errors<1%", "failed=0": "errors<1%", "rps>=old": "errors<1%", "errors>=0": "errors<1%", "errors!=5": "errors<1%",
		"errors<5%,p99<1s": "", "non2xx<=old": "failed<1%", "p99<1s,non2xx=0": "failed<1%", "non2xx<5%,failed<5%": "",
	} {
		clauses, err := Parse(text)
		require.NoError(t, err)
		with := WithErrorLimit(clauses)
		if want == "" {
			assert.Equal(t, clauses, with, text)
			continue
		}
		require.Len(t, with, len(clauses)+1, text)
		assert.Equal(t, want, with[len(clauses)].String(), text)
	}
	assert.Empty(t, WithErrorLimit(nil))
}

// TestNothingCounted tests a run in which neither violations nor lengths were counted.
func TestNothingCounted(t *testing.T) {
	for _, text := range []string{"violations=0", "violations<1%", "length=0"} {
		clauses, err := Parse(text)
		require.NoError(t, err)
		m := metrics()
		m.Checked, m.AnyLength = 0, true
		results, met := Evaluate(clauses, m)
		assert.False(t, met, text)
		assert.Equal(t, []Result{{Clause: text, Measured: "no samples"}}, results)
	}
}

func TestEvaluateAll(t *testing.T) {
	clauses, err := Parse("p50<1s, failed=0,rps>1")
	require.NoError(t, err)
	results, met := Evaluate(clauses, metrics())
	require.Len(t, results, 3)
	assert.False(t, met)
	assert.Equal(t, []bool{true, false, true}, []bool{results[0].Met, results[1].Met, results[2].Met})
}

// TestNoSamples checks that a clause without samples fails, whatever it says.
func TestNoSamples(t *testing.T) {
	for _, text := range []string{"p99<50ms", "max>=0s", "failed=0", "errors<0.1%", "rps>=0", "violations=0"} {
		clauses, err := Parse(text)
		require.NoError(t, err)
		results, met := Evaluate(clauses, &Metrics{Latency: record.NewDistribution()})
		assert.False(t, met, text)
		assert.Equal(t, []Result{{Clause: text, Measured: "no samples"}}, results)
	}
}

// TestParseHints checks the hints for metrics of k6.
func TestParseHints(t *testing.T) {
	for clause, want := range map[string]string{
		"p(95)<200":                     `"p(95)<200": unknown metric: use p95<200ms`,
		"http_req_duration: p(95)<200":  `"http_req_duration: p(95)<200": unknown metric: use p95<200ms`,
		"http_req_duration:p(99.9)<=1s": `"http_req_duration:p(99.9)<=1s": unknown metric: use p99.9<=1s`,
		"http_req_duration: avg<200":    `"http_req_duration: avg<200": unknown metric: use mean, e.g. mean<200ms`,
		"http_req_duration: max<200":    `"http_req_duration: max<200": unknown metric: use max<200ms`,
		"http_req_failed: rate<0.01":    `"http_req_failed: rate<0.01": unknown metric: use failed or errors, e.g. failed<1%`,
		"avg<200":                       `"avg<200": unknown metric: use mean, e.g. mean<200ms`,
		"med<200":                       `"med<200": unknown metric: use p50, e.g. p50<200ms`,
		"errors<0.01":                   `"errors<0.01": a count must be a whole number, or a share of the requests such as 1%, got "0.01"`,
		"resent<=1.5":                   `"resent<=1.5": a count must be a whole number, or a share of the requests such as 1%, got "1.5"`,
		"rate<0.01":                     `"rate<0.01": unknown metric: use failed or errors, e.g. failed<1%`,
		"http_req_failed<1%":            `"http_req_failed<1%": unknown metric: use failed or errors, e.g. failed<1%`,
		"http_req_duration<0.2s":        `"http_req_duration<0.2s": unknown metric: use a percentile, e.g. p95<200ms`,
		"http_reqs>100":                 `"http_reqs>100": unknown metric: use rps, e.g. rps>100`,
	} {
		_, err := Parse(clause)
		require.EqualError(t, err, want)
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"p99<50ms;errors<1%":     "separate clauses by commas",
		"p99<50ms && errors<1%":  "separate clauses by commas",
		"p99<50ms errors<1%":     "separate clauses by commas",
		"p99<50ms and errors<1%": "separate clauses by commas",
		"p99==50ms":              "the operator must be one of < <= > >= = !=, got ==",
		"p99=>50ms":              "the operator must be one of < <= > >= = !=, got =>",
		"p99<50ms,":              `"p99<50ms,": a clause is empty`,
		"rps>1 000":              "must be a number",
		"p(101)<200":             "the metric must be",
		"":                       "must have the form",
		"p99":                    "must have the form",
		"p99!5ms":                "must have the form",
		"p99<50":                 "must have a unit",
		"p99<-1ms":               "must not be negative",
		"p99<":                   "must have a unit",
		"p101<1s":                "the metric must be",
		"p<1s":                   "the metric must be",
		"p5.5.5<1s":              "the metric must be",
		"speed<3":                "the metric must be",
		"rps>fast":               "must be a number",
		"rps>5%":                 "must be a number",
		"errors<101%":            `a share of the requests must be at most 100%, got "101%"`,
		"non2xx<=200 %":          `a share of the requests must be at most 100%, got "200%"`,
		"failed<NaN":             "must be a number",
		"rps>=inf":               "must be a number",
		"rps<+Infinity":          "must be a number",
		"errors<NaN%":            "must be a number",
		"rps<1e999":              "must be a number",
		"rps>0x1p4":              "must be a number",
		"failed<-1":              "must be a number",
		"rps>1,,rps>2":           "must have the form",
		"rps>1,p50<9xs":          "must have a unit",
	} {
		_, err := Parse(text)
		assert.ErrorContains(t, err, want, "%q", text)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"p99<50ms,errors<0.1%", "rps>3000", "failed=0", "p99.99>=1s,max!=2h", "<"} {
		f.Add(s)
	}
	run := metrics()
	f.Fuzz(func(t *testing.T, s string) {
		clauses, err := Parse(s)
		if err != nil {
			return
		}
		require.NotEmpty(t, clauses)
		results, met := Evaluate(clauses, run)
		require.Len(t, results, len(clauses))
		for _, v := range results {
			require.NotEmpty(t, v.Measured)
			require.False(t, met && !v.Met)
		}
	})
}

// rates returns metrics with the given rates.
func rates(values ...float64) (runs []*Metrics) {
	for _, v := range values {
		m := metrics()
		m.Rate = v
		runs = append(runs, m)
	}
	return runs
}

func TestRelative(t *testing.T) {
	for name, tt := range map[string]struct {
		clause   string
		runs     Comparison
		measured string
		met      bool
	}{
		"better":      {"rps>=old", Comparison{Old: rates(100, 101, 99), New: rates(120, 121, 119)}, "1.2*old (geometric means of the runs: 120.00, old 100.00; 95% interval 1.17 to 1.23)", true},
		"worse":       {"rps>=0.9*old", Comparison{Old: rates(100, 101, 99), New: rates(80, 81, 79)}, "0.8*old (geometric means of the runs: 80.00, old 100.00; 95% interval 0.779 to 0.821)", false},
		"means":       {"rps<=9*old", Comparison{Old: rates(50, 200), New: rates(100, 400)}, "2*old (geometric means of the runs: 200.00, old 100.00; ", false},
		"noise":       {"rps>=0.9*old", Comparison{Old: rates(100, 130, 70), New: rates(95, 125, 65)}, "undecided: raise -repeat", false},
		"same noise":  {"rps>=0.9*old", Comparison{Old: rates(100, 130, 70), New: rates(95, 124, 67), Interleaved: true}, "95% interval 0.94", true},
		"single runs": {"rps>=0.9*old", Comparison{Old: rates(100), New: rates(95)}, "0.95*old (95.00, old 100.00; single runs: no confidence interval, see -repeat)", true},
		"one old run": {"rps>=0.9*old", Comparison{Old: rates(100), New: rates(95, 85)}, "single runs: no confidence interval", false},
		"equal runs":  {"p99<=1.1*old", Comparison{Old: rates(1, 2), New: rates(1, 2)}, "1*old (geometric means of the runs: 991µs, old 991µs; 95% interval 0.996 to 1)", true},
		"rounded":     {"p99<1.001*old", Comparison{Old: rates(1, 2), New: rates(1, 2)}, "interval 0.996 to 1), undecided: raise -repeat", false},
		"counts":      {"failed<=old", Comparison{Old: rates(1), New: rates(1)}, "1*old (0.2%, old 0.2%;", true},
		"zero":        {"aborted<=1.1 * old", Comparison{Old: rates(1), New: rates(1)}, "0%, old 0%", true},
		"zero before": {"aborted<old", Comparison{Old: rates(1), New: rates(1)}, "0%, old 0%", false},
		"broken":      {"rps>=old", Comparison{Old: []*Metrics{{Latency: metrics().Latency, Requests: 1}}, New: rates(1)}, "an old run has no 2xx response: nothing to compare with", false},
		"old rate 0":  {"rps>=0.9*old", Comparison{Old: rates(0), New: rates(0)}, "an old run has a rate of 0: nothing to compare with", false},
		"limited":     {"rps>=0.9*old", Comparison{Old: rates(100), New: rates(95), OldLimited: true}, "-repeat), undecided: the old run was limited by the load generator", false},
		"no old run":  {"rps>=old", Comparison{New: rates(1)}, "no samples", false},
		"no samples":  {"rps>=old", Comparison{Old: []*Metrics{{Successful: 1}}, New: rates(1)}, "no samples", false},
	} {
		t.Run(name, func(t *testing.T) {
			clauses, err := Parse(tt.clause)
			require.NoError(t, err)
			assert.True(t, clauses[0].IsRelative())
			m := metrics()
			m.Comparison = &tt.runs
			results, met := Evaluate(clauses, m)
			assert.Contains(t, results[0].Measured, tt.measured)
			assert.Equal(t, tt.met, met)
		})
	}
}

func TestRelativeErrors(t *testing.T) {
	for _, text := range []string{"p99<1.1old", "p99<x*old", "p99<-1*old", "p99<0*old", "p99=old", "p99<NaN*old", "other<old", "rps<1*gold"} {
		_, err := Parse(text)
		assert.Error(t, err, text)
	}
	clauses, err := Parse("rps<old")
	require.NoError(t, err)
	results, met := Evaluate(clauses, metrics())
	assert.Equal(t, []Result{{Clause: "rps<old", Measured: noSamples}}, results)
	assert.False(t, met)
}
