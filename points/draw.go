package points

import "math/bits"

// Draw returns the points of user id in the update with this key. It is a counter-based random function, uniform on
// 0..MaxPoints: the same id and key always give the same points, so that part of an update can be retried, stores can
// be compared, and an update can be verified user by user.
//
// It equals PostgreSQL's
//
//	(hashint8extended(id, key) & 9223372036854775807) % 101
//
// for every id and every key (as a bigint: int64(key)). The hash is Bob Jenkins's lookup3, as in PostgreSQL's
// src/common/hashfn.c. Reducing its 2^63 values modulo 101 gives a bias below 1e-16.
func Draw(id int64, key uint64) int {
	return NewGenerator(key).Points(id)
}

// A Generator is [Draw] for a fixed key: faster for many users, because it hashes the key once. It is safe for
// concurrent use.
type Generator struct {
	a, b, c uint32
}

// NewGenerator returns the Generator of key.
func NewGenerator(key uint64) Generator {
	// The initial value of hash_bytes_uint32_extended: the golden ratio, plus the length of the input, plus a constant.
	const start = 0x9e3779b9 + 4 + 3923095
	var a, b, c uint32 = start, start, start
	if key != 0 {
		a += uint32(key >> 32)
		b += uint32(key) //nolint:gosec // the low half

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
	return Generator{a, b, c}
}

// Points returns the points of user id: Draw(id, key).
func (g Generator) Points(id int64) int {
	// hashint8extended folds the halves so that a number has the same hash as an int8, int4 and int2.
	low, high := uint32(id), uint32(id>>32) //nolint:gosec // the halves
	if id < 0 {
		high = ^high
	}
	a, b, c := g.a+(low^high), g.b, g.c

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
