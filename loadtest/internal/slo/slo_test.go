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
	return &Metrics{Latency: latency, Rate: 3000.5, Requests: 1000, Failed: 2, Non2xx: 3, Length: 4, Violations: 5}
}

func TestEvaluate(t *testing.T) {
	tests := map[string]struct {
		measured string
		met      bool
	}{
		"p50<502us":     {"501µs", true},
		"p50<501µs":     {"501µs", false},
		"P50 <= 501us":  {"501µs", true},
		"p99.9>=1ms":    {"1ms", true},
		"p100!=1ms":     {"1ms", false},
		"min=1us":       {"1µs", true},
		"mean>500us":    {"500.5µs", true},
		"max<1ms":       {"1ms", false},
		"rps>3000":      {"3000.50", true},
		"rps<3e3":       {"3000.50", false},
		"failed=0":      {"2", false},
		"failed<0.3%":   {"0.2%", true},
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

func TestEvaluateAll(t *testing.T) {
	clauses, err := Parse("p50<1s, failed=0,rps>1")
	require.NoError(t, err)
	results, met := Evaluate(clauses, metrics())
	require.Len(t, results, 3)
	assert.False(t, met)
	assert.Equal(t, []bool{true, false, true}, []bool{results[0].Met, results[1].Met, results[2].Met})
}

// TestNoSamples checks that a clause which nothing was measured for is missed, whatever it says.
func TestNoSamples(t *testing.T) {
	for _, text := range []string{"p99<50ms", "max>=0s", "failed=0", "errors<0.1%", "rps>=0", "violations=0"} {
		clauses, err := Parse(text)
		require.NoError(t, err)
		results, met := Evaluate(clauses, &Metrics{Latency: record.NewDistribution()})
		assert.False(t, met, text)
		assert.Equal(t, []Result{{Clause: text, Measured: "no samples"}}, results)
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":              "must have the form",
		"p99":           "must have the form",
		"p99!5ms":       "must have the form",
		"p99<50":        "must have a unit",
		"p99<-1ms":      "must have a unit",
		"p99<":          "must have a unit",
		"p101<1s":       "the metric must be",
		"p<1s":          "the metric must be",
		"p5.5.5<1s":     "the metric must be",
		"speed<3":       "the metric must be",
		"rps>fast":      "must be a number",
		"rps>5%":        "must be a number",
		"failed<NaN":    "must be a number",
		"failed<-1":     "must be a number",
		"rps>1,,rps>2":  "must have the form",
		"rps>1,p50<9xs": "must have a unit",
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
