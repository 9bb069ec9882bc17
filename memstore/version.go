package memstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// blockSize is the number of users that share a maximum, and whose points are drawn between two checks of the context
// (in some 10 µs).
const blockSize = 4096

// A version holds the points of all users after an update. It is immutable.
type version struct {
	points    []uint8 // by index of the user
	blockMax  []uint8 // maximum points of each block
	max       uint8   // maximum points of all
	updatedAt time.Time
}

func newVersion(users int) *version {
	return &version{
		points:   make([]uint8, users),
		blockMax: make([]uint8, (users+blockSize-1)/blockSize),
	}
}

// newUpdate returns the version after the update with this key. Its updatedAt is not set.
func newUpdate(ctx context.Context, ids []int64, key uint64) (*version, error) {
	v := newVersion(len(ids))
	generator := points.NewGenerator(key)
	var nextBlock atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(v.blockMax)) {
		workers.Go(func() {
			for ctx.Err() == nil {
				block := int(nextBlock.Add(1)) - 1
				if block >= len(v.blockMax) {
					return
				}
				first := block * blockSize
				last := min(first+blockSize, len(ids))
				v.blockMax[block] = fill(v.points[first:last], ids[first:last], generator)
			}
		})
	}
	workers.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(v.blockMax) > 0 {
		v.max = slices.Max(v.blockMax)
	}
	return v, nil
}

// fill draws the points of a block of at least one user, and returns their maximum.
func fill(block []uint8, ids []int64, generator points.Generator) uint8 {
	block = block[:len(ids)] // eliminates the bounds check in the loop
	for i, id := range ids {
		block[i] = uint8(generator.Points(id)) //nolint:gosec // at most MaxPoints
	}
	// Nearly every block has a user with MaxPoints, and IndexByte is much faster than Max.
	if bytes.IndexByte(block, points.MaxPoints) >= 0 {
		return points.MaxPoints
	}
	return slices.Max(block)
}

// count returns the number of users with more than min points, but at most limit.
func (v *version) count(min, limit int) int {
	n := 0
	for at := -1; n < limit; n++ {
		if at = v.next(at+1, min); at < 0 {
			break
		}
	}
	return n
}

// next returns the index of the first user at or after from with more than above points, or -1.
func (v *version) next(from, above int) int {
	if above >= int(v.max) {
		return -1
	}
	for block := from / blockSize; ; block++ {
		skipped := indexAbove(v.blockMax[block:], above)
		if skipped < 0 {
			return -1
		}
		block += skipped
		from = max(from, block*blockSize)
		if i := indexAbove(v.points[from:min((block+1)*blockSize, len(v.points))], above); i >= 0 {
			return from + i
		}
	}
}

// indexAbove returns the index of the first value greater than above, or -1. above must be less than MaxPoints.
func indexAbove(values []uint8, above int) int {
	// Eight values at a time. Values are at most 100 and the addend is 28 to 128, so a sum does not carry into the next
	// byte, and its high bit is set if and only if the value is greater than above.
	const ones, highBits = 0x0101010101010101, 0x8080808080808080
	addend := uint64(127-max(above, -1)) * ones //nolint:gosec // not negative
	i := 0
	for ; i+8 <= len(values); i += 8 {
		if hits := (binary.LittleEndian.Uint64(values[i:]) + addend) & highBits; hits != 0 {
			return i + bits.TrailingZeros64(hits)/8
		}
	}
	for ; i < len(values); i++ {
		if int(values[i]) > above {
			return i
		}
	}
	return -1
}
