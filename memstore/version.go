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

// blockSize is the number of users whose most points are noted together, and that are drawn between two looks at the
// context: in some 10 µs.
const blockSize = 4096

// A version is the points of all users as an update left them. It never changes.
type version struct {
	points    []uint8 // of the user whose id has the same index
	tops      []uint8 // the most points in each block
	top       uint8   // the most points of all
	updatedAt time.Time
}

func newVersion(users int) *version {
	return &version{
		points: make([]uint8, users),
		tops:   make([]uint8, (users+blockSize-1)/blockSize),
	}
}

// draw returns the version that the update with this key makes, without its time.
func draw(ctx context.Context, ids []int64, key uint64) (*version, error) {
	v := newVersion(len(ids))
	drawing := points.NewGenerator(key)
	var taken atomic.Int64 // blocks
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(v.tops)) {
		workers.Go(func() {
			for ctx.Err() == nil {
				block := int(taken.Add(1)) - 1
				if block >= len(v.tops) {
					return
				}
				first := block * blockSize
				last := min(first+blockSize, len(ids))
				v.tops[block] = fill(v.points[first:last], ids[first:last], drawing)
			}
		})
	}
	workers.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(v.tops) > 0 {
		v.top = slices.Max(v.tops)
	}
	return v, nil
}

// fill draws the points of ids, of which there is one at least, and returns the most of them.
func fill(block []uint8, ids []int64, drawing points.Generator) uint8 {
	block = block[:len(ids)] // spares a bounds check for each user
	for i, id := range ids {
		block[i] = uint8(drawing.Points(id)) //nolint:gosec // at most MaxPoints
	}
	// Nearly every block has someone with MaxPoints, and to look for one byte is much faster than to compare all.
	if bytes.IndexByte(block, points.MaxPoints) >= 0 {
		return points.MaxPoints
	}
	return slices.Max(block)
}

// count returns how many users have more than above points, or limit if they are more.
func (v *version) count(above, limit int) int {
	n := 0
	for at := -1; n < limit; n++ {
		if at = v.next(at+1, above); at < 0 {
			break
		}
	}
	return n
}

// next returns the index of the first user from this index on who has more than above points, or -1.
func (v *version) next(from, above int) int {
	if above >= int(v.top) {
		return -1
	}
	for block := from / blockSize; ; block++ {
		skipped := indexAbove(v.tops[block:], above)
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

// indexAbove returns the index of the first of values that is more than above, or -1. above is less than MaxPoints.
func indexAbove(values []uint8, above int) int {
	// Eight values at a time. None is more than 100, and the addend is 28 to 128: a sum never carries into the next
	// byte, and has its own byte's highest bit set if and only if the value is more than above.
	const each, highest = 0x0101010101010101, 0x8080808080808080
	addend := uint64(127-max(above, -1)) * each //nolint:gosec // not negative
	i := 0
	for ; i+8 <= len(values); i += 8 {
		if hits := (binary.LittleEndian.Uint64(values[i:]) + addend) & highest; hits != 0 {
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
