package storetest_test

import (
	"testing"

	"github.com/pointsapp/pointsapp/internal/sharedtest"
	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/points"
	"github.com/pointsapp/pointsapp/points/storetest"
)

// The whole test of a store, here of memstore: in its package the two functions are TestStore and BenchmarkStore.
func Example() {
	newStore := func(tb testing.TB, ids []int64) points.Store {
		store, err := memstore.FromIDs(ids)
		if err != nil {
			tb.Fatal(err)
		}
		return store
	}
	testStore := func(t *testing.T) { storetest.Run(t, newStore) }
	benchmarkStore := func(b *testing.B) { storetest.Benchmark(b, newStore) }

	_, _ = testStore, benchmarkStore
	// Output:
}

// The whole test of a shared state, here of one in memory.
func ExampleRunShared() {
	openDatabase := func(ids []int64) *sharedtest.Database {
		users := make([]points.User, 0, len(ids))
		for _, id := range ids {
			users = append(users, points.User{ID: id})
		}
		return sharedtest.New(users)
	}
	testShared := func(t *testing.T) {
		storetest.RunShared(t, func(_ testing.TB, ids []int64) storetest.SharedStores {
			database := openDatabase(ids)
			return storetest.SharedStores{Open: database.Open, Crash: database.Crash}
		})
	}

	_ = testShared
	// Output:
}
