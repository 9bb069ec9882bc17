package pgstore

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Each id is in exactly one range, no range has more than size ids, and the number of ranges depends on the number of ids
// only: gaps cost nothing.
func TestRanges(t *testing.T) {
	anyID := rapid.OneOf(rapid.Int64(), rapid.Int64Range(-50, 50), rapid.Int64Range(math.MaxInt64-50, math.MaxInt64),
		rapid.Int64Range(math.MinInt64, math.MinInt64+50), rapid.Int64Range(1, 1_000_000))
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfNDistinct(anyID, 1, 200, rapid.ID).Draw(t, "ids")
		slices.Sort(ids)
		size := rapid.Int64Range(1, 20).Draw(t, "size")
		r := ranges{next: ids[0], last: ids[len(ids)-1], size: size, step: rapid.Int64Range(1, 30).Draw(t, "step")}

		reached, taken := 0, 0
		for !r.done {
			var low, high int64
			if r.sparse {
				low, high = r.nextBefore(idAfter(ids, r.next, size))
			} else {
				low, high = r.nextDense()
			}
			taken++
			held := int64(0)
			for ; reached < len(ids) && ids[reached] <= high; reached++ {
				require.GreaterOrEqual(t, ids[reached], low, "an id that no range has")
				held++
			}
			require.LessOrEqual(t, held, size)
			r.recordDensity(low, high, held)
		}
		require.Equal(t, len(ids), reached)
		// A range is full, or its neighbour in a sparse stretch is; dense stretches may be half full, and the first are small.
		require.LessOrEqual(t, taken, 4*len(ids)/int(size)+8)
	})
}

// idAfter simulates the query of countBatch.
func idAfter(ids []int64, from, offset int64) *int64 {
	i, _ := slices.BinarySearch(ids, from)
	if i += int(offset); i < len(ids) {
		return &ids[i]
	}
	return nil
}

// The first ranges are small, so that a first update soon has something to find.
func TestRangesBeginSmall(t *testing.T) {
	r := ranges{next: 1, last: 100_000, size: 25_000, step: firstBatch}
	var widths []int64
	for !r.done {
		low, high := r.nextDense()
		widths = append(widths, high-low+1)
	}
	require.Equal(t, []int64{1_000, 2_000, 4_000, 8_000, 16_000, 25_000, 25_000, 19_000}, widths)
}

// The timeout for reading all users is RetryTimeout for each span, without overflow for the longest RetryTimeout.
func TestReadTimeout(t *testing.T) {
	for name, test := range map[string]struct{ retry, want time.Duration }{
		"a minute": {time.Minute, 3 * time.Minute},
		"longest":  {math.MaxInt64, math.MaxInt64 / 3 * 3},
	} {
		u := &update{lease: &lease{Store: &Store{cfg: Config{RetryTimeout: test.retry}}}, spans: []int64{1, 2, 3}}
		require.Equal(t, test.want, u.readTimeout(), name)
	}
}

// Ranges shrink at most to the size of the first one.
func TestRangesShrink(t *testing.T) {
	for _, test := range []struct {
		size, want int64
		to         uint64
	}{
		{size: 25_000, to: 12_500, want: 12_500},
		{size: 25_000, to: 25_000, want: 25_000},
		{size: 25_000, to: math.MaxUint64, want: 25_000},
		{size: 1_500, to: 750, want: firstBatch},
		{size: firstBatch, to: 0, want: firstBatch},
		{size: 10, to: 5, want: 10},
	} {
		r := ranges{size: test.size}
		r.shrink(test.to)
		require.Equal(t, test.want, r.size, test)
	}
}
