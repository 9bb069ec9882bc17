// Package memstore is a [points.Store] in memory.
//
//	store, err := memstore.New(1_000_000) // users 1..1,000,000 with 0 points
//	engine, err := points.New(store, points.Config{UpdateOnStart: true})
//
// It takes 9 bytes per user, and 10 while an update runs ([Memory]); each update leaves 1 byte per user to the garbage
// collector. The points of all users form an immutable version. An update computes the next version on all CPUs and
// then swaps it in, so reads take no lock and see an update as a whole or not at all. A version also holds the maximum
// points of each block of users, so a read skips blocks without a match.
package memstore
