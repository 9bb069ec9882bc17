// Package memstore is a [points.Store] in memory.
//
//	store, err := memstore.New(1_000_000) // users 1..1,000,000 with 0 points
//
// Each field is a column: 9 bytes a user in all. A read takes no lock, and an update is seen as a whole or not at all: it
// draws a new column of points beside the old one, on all processors, and then puts it in the old one's place. Each
// block of users has its maximum noted, so that a read that finds nobody does not look at everybody.
package memstore
