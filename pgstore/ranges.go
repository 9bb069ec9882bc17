package pgstore

import "math"

// A ranges divides the ids next..last into ranges with at most size users each. While ids are dense, a range is size
// ids wide. Where they are sparse, it ends where the index says that size users are reached, so gaps cost nothing. The
// first ranges are smaller.
type ranges struct {
	next, last int64
	size       int64
	step       int64 // width of the next dense range; it doubles, up to size
	sparse     bool
	done       bool
}

// nextDense returns the next step ids.
func (r *ranges) nextDense() (low, high int64) {
	low, high = r.next, r.last
	width := min(r.step, r.size)
	r.step = 2 * width
	if uint64(r.last)-uint64(r.next) >= uint64(width) { //nolint:gosec // the distance, which may be above MaxInt64
		high = low + width - 1
	}
	r.advance(high)
	return low, high
}

// nextBefore returns the ids before end, or all that are left if end is nil.
func (r *ranges) nextBefore(end *int64) (low, high int64) {
	low, high = r.next, r.last
	if end != nil && *end <= r.last {
		high = *end - 1
	}
	r.sparse = uint64(high)-uint64(low) >= 2*uint64(r.size) //nolint:gosec // the distance
	r.advance(high)
	return low, high
}

func (r *ranges) advance(high int64) {
	if high == r.last || high == math.MaxInt64 {
		r.done = true
		return
	}
	r.next = high + 1
}

// recordDensity records that n users had ids in low..high.
func (r *ranges) recordDensity(low, high, n int64) {
	distance := uint64(high) - uint64(low)                    //nolint:gosec // it may be above MaxInt64
	if distance < uint64(r.size) && 2*uint64(n) <= distance { //nolint:gosec // neither is negative
		r.sparse = true
	}
}

// shrink limits further ranges to size users, or to firstBatch if that is more. It never makes them larger.
func (r *ranges) shrink(size uint64) {
	size = min(max(size, firstBatch), uint64(r.size)) //nolint:gosec // positive
	r.size = int64(size)                              //nolint:gosec // at most as large as before
}
