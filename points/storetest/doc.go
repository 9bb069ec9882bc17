// Package storetest tells whether a [points.Store] does what is said there and what an engine relies on, and how fast
// it does it. It uses nothing but the Store interface. A store's own test is:
//
//	func TestStore(t *testing.T) { storetest.Run(t, newStore) }
//
//	func BenchmarkStore(b *testing.B) { storetest.Benchmark(b, newStore) }
//
//	func newStore(tb testing.TB, ids []int64) points.Store {
//		// a new store of one user with 0 points for each of ids
//	}
//
// Run it with -race, too. It asks for some twenty stores, most of them small, and updates 20,000 users some forty
// times: a database does that in some seconds, and making the tables takes longer. A store that updates batch by batch
// should be made with batches of at most some thousand users, so that an update is made of several.
//
// It finds what can be found by calling a store; to pass is no proof. What goes wrong only with a lost connection,
// after a crash or beside another process needs tests of its own.
package storetest
