package memstore_test

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/memstore"
)

// Reads by state and number of users.
func BenchmarkUsersAbove(b *testing.B) {
	for _, users := range []int{10_000, 1_000_000, 10_000_000} {
		store := newStore(b, users)
		read := func(state string, above int) {
			b.Run(fmt.Sprintf("users=%d/%s", users, state), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					_, _ = store.UsersAbove(b.Context(), above, 2)
				}
			})
		}
		read("all zero", 0)
		_, err := store.UpdateAll(b.Context(), 1)
		require.NoError(b, err)
		for _, above := range []int{0, 50, 98, 99, 100} {
			read(fmt.Sprintf("above=%d", above), above)
		}
	}
}

// Concurrent reads, without updates and beside continuous updates.
func BenchmarkUsersAboveParallel(b *testing.B) {
	for _, updating := range []bool{false, true} {
		b.Run(fmt.Sprintf("updating=%t", updating), func(b *testing.B) {
			store := newStore(b, 1_000_000)
			_, err := store.UpdateAll(b.Context(), 1)
			require.NoError(b, err)
			var stop atomic.Bool
			var updater sync.WaitGroup
			updater.Go(func() {
				for key := uint64(2); updating && !stop.Load(); key++ {
					_, _ = store.UpdateAll(b.Context(), key)
				}
			})
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_, _ = store.UsersAbove(b.Context(), 50, 2)
				}
			})
			stop.Store(true)
			updater.Wait()
		})
	}
}

// A read of all users.
func BenchmarkUsersAboveAll(b *testing.B) {
	store := newStore(b, 1_000_000)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = store.UsersAbove(b.Context(), -1, math.MaxInt)
	}
}

func BenchmarkUpdateAll(b *testing.B) {
	for _, users := range []int{100, 10_000, 1_000_000, 10_000_000} {
		b.Run(fmt.Sprintf("users=%d", users), func(b *testing.B) {
			store := newStore(b, users)
			b.ReportAllocs()
			for key := uint64(0); b.Loop(); key++ {
				if _, err := store.UpdateAll(b.Context(), key); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(users), "ns/user")
		})
	}
}

// Memory per user.
func BenchmarkNew(b *testing.B) {
	const users = 1_000_000
	var before, after runtime.MemStats
	var store *memstore.Store
	runtime.GC()
	runtime.ReadMemStats(&before)
	for b.Loop() {
		store = newStore(b, users)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/users, "heap-B/user")
	runtime.KeepAlive(store)
}
