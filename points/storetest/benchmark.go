package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pointsapp/pointsapp/points"
)

// Benchmark benchmarks stores opened by newStore: reads of at most 2 users before the first update, after it, during
// updates and after many updates, and updates.
func Benchmark(b *testing.B, newStore NewStore) {
	for _, users := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("users=%d", users), func(b *testing.B) {
			store := newStore(b, upTo(users))
			requireStore(b, store)
			b.Run("UsersAbove/all zero", func(b *testing.B) { benchmarkRead(b, store, 0) })

			updateOrFail(b, store, 1)
			for _, minimum := range []int{0, 50, 99, 100} {
				b.Run(fmt.Sprintf("UsersAbove/min=%d", minimum), func(b *testing.B) { benchmarkRead(b, store, minimum) })
			}
			b.Run("UsersAbove/parallel", func(b *testing.B) { benchmarkParallelReads(b, store) })
			b.Run("UsersAbove/during updates", func(b *testing.B) {
				stop := updateUntilStopped(b, store)
				defer stop()
				benchmarkRead(b, store, 50)
			})

			b.Run("UpdateAll", func(b *testing.B) {
				for key := uint64(0); b.Loop(); key++ {
					updateOrFail(b, store, key)
				}
				b.ReportMetric(float64(users)*float64(b.N)/b.Elapsed().Seconds(), "users/s")
			})
			b.Run("UsersAbove/after updates", func(b *testing.B) { benchmarkRead(b, store, 50) })
		})
	}
}

func benchmarkRead(b *testing.B, store points.Store, minimum int) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := store.UsersAbove(b.Context(), minimum, 2); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkParallelReads(b *testing.B, store points.Store) {
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := store.UsersAbove(b.Context(), 50, 2); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// updateUntilStopped runs updates back to back until stop, which waits for the last one.
func updateUntilStopped(b *testing.B, store points.Store) (stop func()) {
	var stopped atomic.Bool
	var updater sync.WaitGroup
	updater.Go(func() {
		for key := uint64(2); !stopped.Load(); key++ {
			if _, err := store.UpdateAll(b.Context(), key); err != nil {
				b.Error(err)
				return
			}
		}
	})
	return func() {
		stopped.Store(true)
		updater.Wait()
	}
}

func updateOrFail(b *testing.B, store points.Store, key uint64) {
	if _, err := store.UpdateAll(b.Context(), key); err != nil {
		b.Fatal(err)
	}
}
