package storetest_test

import (
	"testing"

	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/points"
	"github.com/pointsapp/pointsapp/points/storetest"
)

// newStore returns a store to test: here one in memory. A store on a database would create a table here, insert ids, and
// drop the table in tb.Cleanup.
func newStore(tb testing.TB, ids []int64) points.Store {
	store, err := memstore.FromIDs(ids)
	if err != nil {
		tb.Fatal(err)
	}
	return store
}

func Example() {
	// In a _test.go file of your store's package, these are its
	TestStore := func(t *testing.T) { storetest.Run(t, newStore) }
	BenchmarkStore := func(b *testing.B) { storetest.Benchmark(b, newStore) }

	_, _ = TestStore, BenchmarkStore
	// Output:
}
