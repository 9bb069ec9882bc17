package promise

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/loadtest/record"
)

// figures are of a run with latencies of 1 to 1000 µs.
func figures() *Figures {
	latency := record.NewDistribution()
	for i := range 1000 {
		latency.Add(time.Duration(i+1) * time.Microsecond)
	}
	return &Figures{Latency: latency, Rate: 3000.5, Requests: 1000, Failed: 2, Non2xx: 3, Length: 4, Violations: 5}
}

func TestJudge(t *testing.T) {
	tests := map[string]struct {
		measured string
		kept     bool
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
		verdicts, kept := Judge(clauses, figures())
		assert.Equal(t, []Verdict{{Clause: text, Measured: tt.measured, Kept: tt.kept}}, verdicts)
		assert.Equal(t, tt.kept, kept, text)
	}
}

func TestJudgeAll(t *testing.T) {
	clauses, err := Parse("p50<1s, failed=0,rps>1")
	require.NoError(t, err)
	verdicts, kept := Judge(clauses, figures())
	require.Len(t, verdicts, 3)
	assert.False(t, kept)
	assert.Equal(t, []bool{true, false, true}, []bool{verdicts[0].Kept, verdicts[1].Kept, verdicts[2].Kept})
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":              "no operator",
		"p99":           "no operator",
		"p99!5ms":       "no operator",
		"p99<50":        "needs a unit",
		"p99<-1ms":      "needs a unit",
		"p99<":          "needs a unit",
		"p101<1s":       "no figure",
		"p<1s":          "no figure",
		"p5.5.5<1s":     "no figure",
		"speed<3":       "no figure",
		"rps>fast":      "compares a number",
		"rps>5%":        "compares a number",
		"failed<NaN":    "compares a number",
		"failed<-1":     "compares a number",
		"rps>1,,rps>2":  "no operator",
		"rps>1,p50<9xs": "needs a unit",
	} {
		_, err := Parse(text)
		assert.ErrorContains(t, err, want, "%q", text)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"p99<50ms,errors<0.1%", "rps>3000", "failed=0", "p99.99>=1s,max!=2h", "<"} {
		f.Add(s)
	}
	run := figures()
	f.Fuzz(func(t *testing.T, s string) {
		clauses, err := Parse(s)
		if err != nil {
			return
		}
		require.NotEmpty(t, clauses)
		verdicts, kept := Judge(clauses, run)
		require.Len(t, verdicts, len(clauses))
		for _, v := range verdicts {
			require.NotEmpty(t, v.Measured)
			require.False(t, kept && !v.Kept)
		}
	})
}
