package memstore_test

import (
	"context"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/points"
	"github.com/pointsapp/pointsapp/points/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) { storetest.Run(t, fromIDs) }

func BenchmarkStore(b *testing.B) { storetest.Benchmark(b, fromIDs) }

func fromIDs(tb testing.TB, ids []int64) points.Store {
	store, err := memstore.FromIDs(ids)
	require.NoError(tb, err)
	return store
}

func newStore(tb testing.TB, users int) *memstore.Store {
	store, err := memstore.New(users)
	require.NoError(tb, err)
	return store
}

func all(tb testing.TB, store *memstore.Store) []points.User {
	users, err := store.UsersAbove(tb.Context(), -1, math.MaxInt)
	require.NoError(tb, err)
	require.Len(tb, users, store.Len())
	return users
}

func ids(users []points.User) []int64 {
	ids := make([]int64, len(users))
	for i, u := range users {
		ids[i] = u.ID
	}
	return ids
}

func TestNew(t *testing.T) {
	assert.Equal(t, []int64{1, 2, 3}, ids(all(t, newStore(t, 3))))
	assert.Zero(t, newStore(t, 0).Len())

	for _, n := range []int{-1, math.MinInt, math.MaxInt} {
		_, err := memstore.New(n)
		require.ErrorContains(t, err, "memstore: the number of users must be in 0..")
	}
}

func TestFromIDs(t *testing.T) {
	given := []int64{3, -1, math.MaxInt64, 0, math.MinInt64}
	store, err := memstore.FromIDs(given)
	require.NoError(t, err)
	assert.Equal(t, []int64{3, -1, math.MaxInt64, 0, math.MinInt64}, given, "the slice is not modified")
	given[0] = 99
	assert.Equal(t, []int64{math.MinInt64, -1, 0, 3, math.MaxInt64}, ids(all(t, store)))

	for _, none := range [][]int64{nil, {}} {
		store, err := memstore.FromIDs(none)
		require.NoError(t, err)
		assert.Zero(t, store.Len())
	}

	_, err = memstore.FromIDs([]int64{3, 1, 3})
	require.EqualError(t, err, "memstore: ids must be unique, got 3 twice")
}

// A countingContext counts the calls of Err, and calls onErr in each. Calls of Err are serialised, so that after one in which
// onErr cancels the context, all of them return an error.
type countingContext struct {
	context.Context
	onErr func(call int)

	mu    sync.Mutex
	calls int
}

func (c *countingContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	c.onErr(c.calls)
	return c.Context.Err()
}

// A cancelled update stops soon, and leaves every user unchanged.
func TestCancelledUpdateChangesNothing(t *testing.T) {
	const blocks, workersAtMost = 40, 4
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(min(workersAtMost, runtime.NumCPU())))
	store := newStore(t, blocks*4096)
	_, err := store.UpdateAll(t.Context(), 1)
	require.NoError(t, err)
	before := all(t, store)

	for _, last := range []int{1, 2, 10} {
		ctx, cancel := context.WithCancel(t.Context())
		counting := &countingContext{Context: ctx, onErr: func(call int) {
			if call == last {
				cancel()
			}
		}}
		n, err := store.UpdateAll(counting, 2)
		require.ErrorIs(t, err, context.Canceled)
		assert.Zero(t, n)
		// Each worker checks once more, and so does UpdateAll after them.
		assert.LessOrEqual(t, counting.calls, last+workersAtMost+1, "cancelled at check %d", last)
		assert.True(t, slices.Equal(before, all(t, store)), "no user has changed")
	}
}

func TestSecondUpdateIsRejected(t *testing.T) {
	store := newStore(t, 10_000)
	var once sync.Once
	ctx := &countingContext{Context: t.Context(), onErr: func(int) {
		once.Do(func() {
			_, err := store.UpdateAll(t.Context(), 2)
			assert.ErrorIs(t, err, points.ErrUpdateRunning)
			assert.ErrorContains(t, err, "memstore: ")
		})
	}}
	n, err := store.UpdateAll(ctx, 1)
	require.NoError(t, err)
	assert.EqualValues(t, 10_000, n)
	for _, u := range all(t, store) {
		require.Equal(t, points.Draw(u.ID, 1), u.Points)
	}
}

// A read sees an update as a whole or not at all.
func TestReadsSeeOneVersion(t *testing.T) {
	const updates = 30
	store := newStore(t, 3*4096+1)
	_, err := store.UpdateAll(t.Context(), 0)
	require.NoError(t, err)

	var readers sync.WaitGroup
	var done atomic.Bool
	for range 3 {
		readers.Go(func() {
			for key := uint64(0); !done.Load(); {
				users, err := store.UsersAbove(t.Context(), -1, math.MaxInt)
				if !assert.NoError(t, err) {
					return
				}
				for key < updates && !haveKey(users, key) {
					key++
				}
				if !assert.Less(t, key, uint64(updates), "a read must see one version, and none older than the read before") {
					return
				}
			}
		})
	}
	for key := range uint64(updates) {
		_, err := store.UpdateAll(t.Context(), key)
		require.NoError(t, err)
	}
	done.Store(true)
	readers.Wait()
}

func haveKey(users []points.User, key uint64) bool {
	for _, u := range users {
		if u.Points != points.Draw(u.ID, key) || !u.UpdatedAt.Equal(users[0].UpdatedAt) {
			return false
		}
	}
	return true
}

// Each update has a later time than the one before, also if the clock has not advanced, as in this bubble.
func TestUpdatedAtAlwaysAdvances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t, 1)
		created := all(t, store)[0]
		assert.Equal(t, time.Now().UTC(), created.InsertedAt)
		assert.Equal(t, created.InsertedAt, created.UpdatedAt)
		last := created.UpdatedAt
		for key := range uint64(5) {
			_, err := store.UpdateAll(t.Context(), key)
			require.NoError(t, err)
			u := all(t, store)[0]
			assert.Equal(t, last.Add(time.Microsecond), u.UpdatedAt)
			assert.Equal(t, created.InsertedAt, u.InsertedAt)
			last = u.UpdatedAt
		}
		<-time.After(time.Second)
		_, err := store.UpdateAll(t.Context(), 9)
		require.NoError(t, err)
		assert.Equal(t, time.Now().UTC(), all(t, store)[0].UpdatedAt)
	})
}

// A read allocates its result, in the exact size, and nothing else.
func TestAllocations(t *testing.T) {
	store := newStore(t, 100_000)
	allocations := func(above, limit int) float64 {
		return testing.AllocsPerRun(100, func() { _, _ = store.UsersAbove(context.Background(), above, limit) })
	}
	assert.Zero(t, allocations(0, 2), "all users have 0 points")
	_, err := store.UpdateAll(t.Context(), 1)
	require.NoError(t, err)
	assert.InDelta(t, 1, allocations(50, 2), 0)
	assert.InDelta(t, 1, allocations(99, 1_000_000), 0)
	assert.Zero(t, allocations(100, 2))

	users, err := store.UsersAbove(t.Context(), 99, math.MaxInt)
	require.NoError(t, err)
	assert.Equal(t, len(users), cap(users))
}

func TestNewContextEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var done []int64
	ctx = points.WithProgress(ctx, func(n, total int64) {
		assert.EqualValues(t, 10_000_000, total)
		done = append(done, n)
		cancel()
	})
	_, err := memstore.NewContext(ctx, 10_000_000)
	require.ErrorIs(t, err, context.Canceled)
	assert.Len(t, done, 1)
	assert.EqualValues(t, 20, memstore.Memory(2))
}
