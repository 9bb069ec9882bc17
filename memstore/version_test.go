package memstore

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

// At every position, with every surrounding length and bound.
func TestIndexAbove(t *testing.T) {
	for length := range 20 {
		for at := range length {
			for above := -2; above < points.MaxPoints; above++ {
				values := make([]uint8, length)
				for i := range values {
					values[i] = uint8(max(above, 0)) // the largest that is not above
				}
				if above >= 0 {
					require.Equal(t, -1, indexAbove(values, above), "%v above %d", values, above)
				}
				for _, value := range []int{above + 1, points.MaxPoints} {
					values[at] = uint8(max(value, 0))
					want := at
					if above < 0 {
						want = 0
					}
					require.Equal(t, want, indexAbove(values, above), "%v above %d", values, above)
				}
			}
		}
	}
	require.Equal(t, -1, indexAbove(nil, -1))
}

// A user is found at any position of its block, and behind blocks that have none.
func TestNextAndCount(t *testing.T) {
	const users = 3*blockSize + 5
	for _, test := range []struct {
		name string
		at   []int // the users with 7 points; the others have 3
	}{
		{"no user", nil},
		{"the first", []int{0}},
		{"the last", []int{users - 1}},
		{"the ends of blocks", []int{blockSize - 1, 3*blockSize - 1}},
		{"the beginnings of blocks", []int{blockSize, 3 * blockSize}},
		{"a block in the middle", []int{blockSize + 9, blockSize + 10, blockSize + 4000}},
		{"every block", []int{1, 2, 3, blockSize + 1, 2*blockSize + 1, 3*blockSize + 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := newVersion(users)
			v.max = 3
			for i := range v.points {
				v.points[i] = 3
			}
			for i := range v.blockMax {
				v.blockMax[i] = 3
			}
			for _, at := range test.at {
				v.points[at], v.blockMax[at/blockSize], v.max = 7, 7, 7
			}

			for _, above := range []int{3, 4, 6} {
				var got []int
				for at := v.next(0, above); at >= 0; at = v.next(at+1, above) {
					got = append(got, at)
				}
				require.Equal(t, test.at, got, "above %d", above)
				for _, limit := range []int{-1, 0, 1, 2, users, math.MaxInt} {
					require.Equal(t, max(0, min(limit, len(test.at))), v.count(above, limit), "above %d, limit %d", above, limit)
				}
			}
			require.Equal(t, users, v.count(2, math.MaxInt))
			require.Equal(t, 2, v.count(-1, 2))
			require.Zero(t, v.count(7, 2))
		})
	}
}

// The maxima of a version are correct, also for numbers of users around the block size.
func TestMaxima(t *testing.T) {
	for _, users := range []int{0, 1, 2, 30, blockSize - 1, blockSize, blockSize + 1, 5*blockSize + 17} {
		t.Run(fmt.Sprintf("%d users", users), func(t *testing.T) {
			ids := make([]int64, users)
			for i := range ids {
				ids[i] = int64(i)*7 - 1000
			}
			for key := range uint64(20) {
				v, err := newUpdate(t.Context(), ids, key)
				require.NoError(t, err)
				drawn, blockMax := make([]uint8, users), make([]uint8, len(v.blockMax))
				var maximum uint8
				for i, id := range ids {
					drawn[i] = uint8(points.Draw(id, key))
					blockMax[i/blockSize] = max(blockMax[i/blockSize], drawn[i])
					maximum = max(maximum, drawn[i])
				}
				require.True(t, slices.Equal(drawn, v.points))
				require.Equal(t, blockMax, v.blockMax)
				require.Equal(t, maximum, v.max)
			}
		})
	}
}

// The maximum need not be in the first block.
func TestMaximumInALaterBlock(t *testing.T) {
	const key = 1
	var low, high []int64
	for id := int64(1); len(low) < blockSize || len(high) == 0; id++ {
		switch p := points.Draw(id, key); {
		case p < 50:
			low = append(low, id)
		case p == points.MaxPoints:
			high = append(high, id)
		}
	}
	v, err := newUpdate(t.Context(), append(low[:blockSize], high[0]), key)
	require.NoError(t, err)
	require.Equal(t, []uint8{49, points.MaxPoints}, v.blockMax)
	require.EqualValues(t, points.MaxPoints, v.max)
}
