package record

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// requireSame checks that two distributions agree in all figures.
func requireSame(t require.TestingT, want, got *Distribution) {
	require.Equal(t, want.Count(), got.Count())
	require.Equal(t, want.Min(), got.Min())
	require.Equal(t, want.Max(), got.Max())
	require.InDelta(t, want.Mean().Seconds(), got.Mean().Seconds(), 1e-6)
	require.InDelta(t, want.Deviation().Seconds(), got.Deviation().Seconds(), 1e-5)
	for _, p := range []float64{0, 1, 50, 90, 99, 99.9, 100} {
		require.Equal(t, want.Percentile(p), got.Percentile(p))
	}
}

// TestMergeAndEncode splits durations into two distributions, encodes and decodes them, and merges them again.
func TestMergeAndEncode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all, parts := NewDistribution(), [2]*Distribution{NewDistribution(), NewDistribution()}
		for _, us := range rapid.SliceOfN(rapid.Int64Range(0, 5_000_000_000), 0, 50).Draw(t, "durations") {
			d := time.Duration(us) * time.Microsecond
			all.Add(d)
			parts[rapid.IntRange(0, 1).Draw(t, "part")].Add(d)
		}
		if rapid.Bool().Draw(t, "aborted") {
			all.ExtendMax(time.Hour)
			parts[1].ExtendMax(time.Hour)
		}
		merged := NewDistribution()
		for _, part := range parts {
			b, err := json.Marshal(part)
			require.NoError(t, err)
			var decoded Distribution
			require.NoError(t, json.Unmarshal(b, &decoded))
			requireSame(t, part, &decoded)
			merged.Merge(&decoded)
		}
		requireSame(t, all, merged)
	})
}

func TestDecodeErrors(t *testing.T) {
	valid, err := json.Marshal(NewDistribution())
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(valid, &fields))
	for name, change := range map[string]func(){
		"count": func() { fields["count"] = 1 }, "min": func() { fields["min_us"] = -1 }, "max": func() { fields["max_us"] = -1 },
		"mean": func() { fields["mean_us"] = -1 }, "hdr": func() { fields["hdr"] = "AAAA" }, "type": func() { fields["hdr"] = 5 },
	} {
		require.NoError(t, json.Unmarshal(valid, &fields))
		change()
		b, err := json.Marshal(fields)
		require.NoError(t, err)
		assert.Error(t, new(Distribution).UnmarshalJSON(b), name)
	}
}
