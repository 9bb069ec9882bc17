package points

import "math/bits"

// Draw returns the points of user id in the update that has this key: a keyed (counter-based) random function, uniform
// on 0..MaxPoints. The same id and key always give the same points, so an update can be repeated in part, compared
// between stores and proven to have reached every user.
//
// It is PostgreSQL's
//
//	(hashint8extended(id, key) & 9223372036854775807) % 101
//
// bit for bit, for every id and for every key (as a bigint: int64(key)). The hash is Bob Jenkins's lookup3 as in
// PostgreSQL's src/common/hashfn.c; of its 2^63 values some points take one more than others, a bias below 1e-16.
func Draw(id int64, key uint64) int {
	return NewDrawing(key).Points(id)
}

// A Drawing is Draw with its key: the part of the hash that depends on the key alone is done once. It is for stores
// that draw for many users; it is safe for concurrent use.
type Drawing struct {
	a, b, c uint32
}

// NewDrawing returns the Drawing of key.
func NewDrawing(key uint64) Drawing {
	// hash_bytes_uint32_extended starts from this value: the golden ratio, plus the length of its input, plus a
	// constant.
	const start = 0x9e3779b9 + 4 + 3923095
	var a, b, c uint32 = start, start, start
	if key != 0 {
		a += uint32(key >> 32)
		b += uint32(key) //nolint:gosec // its low half

		a -= c
		a ^= bits.RotateLeft32(c, 4)
		c += b
		b -= a
		b ^= bits.RotateLeft32(a, 6)
		a += c
		c -= b
		c ^= bits.RotateLeft32(b, 8)
		b += a
		a -= c
		a ^= bits.RotateLeft32(c, 16)
		c += b
		b -= a
		b ^= bits.RotateLeft32(a, 19)
		a += c
		c -= b
		c ^= bits.RotateLeft32(b, 4)
		b += a
	}
	return Drawing{a, b, c}
}

// Points returns the points of user id: Draw(id, key).
func (d Drawing) Points(id int64) int {
	// hashint8extended folds the halves so that a number hashes the same as an int8, int4 or int2.
	low, high := uint32(id), uint32(id>>32) //nolint:gosec // its halves
	if id < 0 {
		high = ^high
	}
	a, b, c := d.a+(low^high), d.b, d.c

	c ^= b
	c -= bits.RotateLeft32(b, 14)
	a ^= c
	a -= bits.RotateLeft32(c, 11)
	b ^= a
	b -= bits.RotateLeft32(a, 25)
	c ^= b
	c -= bits.RotateLeft32(b, 16)
	a ^= c
	a -= bits.RotateLeft32(c, 4)
	b ^= a
	b -= bits.RotateLeft32(a, 14)
	c ^= b
	c -= bits.RotateLeft32(b, 24)

	return int((uint64(b)<<32 | uint64(c)) & (1<<63 - 1) % (MaxPoints + 1))
}
