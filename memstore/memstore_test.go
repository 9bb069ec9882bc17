package memstore_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/points"
	"github.com/pointsapp/pointsapp/points/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) { storetest.Run(t, newStore) }

func BenchmarkStore(b *testing.B) { storetest.Benchmark(b, newStore) }

func newStore(tb testing.TB, ids []int64) points.Store {
	store, err := memstore.FromIDs(ids)
	require.NoError(tb, err)
	return store
}

func TestNew(t *testing.T) {
	_, err := memstore.New(-1)
	require.EqualError(t, err, "memstore: the number of users cannot be negative: -1")

	_, err = memstore.FromIDs([]int64{3, 1, 3})
	require.EqualError(t, err, "memstore: ids must differ: 3 comes twice")

	store, err := memstore.New(3)
	require.NoError(t, err)
	assert.Equal(t, 3, store.Len())
	users, err := store.UsersAbove(t.Context(), -1, 10)
	require.NoError(t, err)
	var ids []int64
	for _, u := range users {
		ids = append(ids, u.ID)
	}
	assert.Equal(t, []int64{1, 2, 3}, ids)
}

// An update that fails leaves every user as it was.
func TestCancelledUpdateChangesNothing(t *testing.T) {
	store, err := memstore.New(100_000)
	require.NoError(t, err)
	_, err = store.UpdateAll(t.Context(), 1)
	require.NoError(t, err)
	before, err := store.UsersAbove(t.Context(), -1, 100_000)
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = store.UpdateAll(ctx, 2)
	require.ErrorIs(t, err, context.Canceled)
	after, err := store.UsersAbove(t.Context(), -1, 100_000)
	require.NoError(t, err)
	assert.Equal(t, before, after)
}

// A read allocates what its caller keeps, and nothing else.
func TestAllocations(t *testing.T) {
	store, err := memstore.New(100_000)
	require.NoError(t, err)
	read := func(above int) func() {
		return func() { _, _ = store.UsersAbove(context.Background(), above, 2) }
	}
	assert.Zero(t, testing.AllocsPerRun(100, read(0)), "all have 0 points")
	_, err = store.UpdateAll(t.Context(), 1)
	require.NoError(t, err)
	assert.InDelta(t, 1, testing.AllocsPerRun(100, read(50)), 0)
	assert.Zero(t, testing.AllocsPerRun(100, read(100)))
}

func BenchmarkUsersAbove(b *testing.B) {
	for _, users := range []int{10_000, 1_000_000, 10_000_000} {
		store, err := memstore.New(users)
		require.NoError(b, err)
		read := func(name string, above int) {
			b.Run(fmt.Sprintf("users=%d/%s", users, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					_, _ = store.UsersAbove(context.Background(), above, 2)
				}
			})
		}
		read("all zero", 0)
		_, err = store.UpdateAll(b.Context(), 1)
		require.NoError(b, err)
		for _, above := range []int{0, 50, 99, 100} {
			read(fmt.Sprintf("above=%d", above), above)
		}
	}
}

func BenchmarkUpdateAll(b *testing.B) {
	store, err := memstore.New(1_000_000)
	require.NoError(b, err)
	for key := uint64(0); b.Loop(); key++ {
		_, err := store.UpdateAll(b.Context(), key)
		require.NoError(b, err)
	}
}

func Example() {
	store, err := memstore.New(1000)
	if err != nil {
		panic(err)
	}
	updated, err := store.UpdateAll(context.Background(), 42)
	if err != nil {
		panic(err)
	}
	users, err := store.UsersAbove(context.Background(), 99, 1)
	if err != nil {
		panic(err)
	}
	fmt.Println(updated, len(users), users[0].Points, points.Draw(users[0].ID, 42))
	// Output: 1000 1 100 100
}
