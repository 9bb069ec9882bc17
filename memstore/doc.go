// Package memstore is a [points.Store] in memory.
//
//	store, err := memstore.New(1_000_000) // users 1..1,000,000 with 0 points
//
// Each field is a column, 9 bytes a user in all: a million users take 9 MB, and an update leaves 1 MB to the garbage
// collector. The points of all users are one version, which never changes. An update draws the next version beside it,
// on all processors, and puts it in its place at once: reads take no lock, and see an update as a whole or not at all.
// The most points in each block of users are noted, so that a read that finds nobody does not look at everybody.
package memstore
