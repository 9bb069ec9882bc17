// Package storetest tests and benchmarks implementations of [points.Store]. It checks the documented behaviour that an
// engine relies on, using nothing but the interface. The test of a store is:
//
//	func TestStore(t *testing.T) { storetest.Run(t, newStore) }
//
//	func BenchmarkStore(b *testing.B) { storetest.Benchmark(b, newStore) }
//
//	func newStore(tb testing.TB, ids []int64) points.Store {
//		// a new store of users with these ids and 0 points each
//	}
//
// Run it with -race, too. It opens about twenty stores, most of them small, and updates 20,000 users about forty times.
// On a database this takes seconds, and creating the tables takes longer. If the store updates in batches, open it with
// batches of at most a few thousand users, so that an update has several.
//
// [RunShared] tests the shared state of stores that several processes use as one.
//
// Passing does not prove that a store is correct. In particular, write your own tests for lost connections, crashes and
// other processes.
package storetest
