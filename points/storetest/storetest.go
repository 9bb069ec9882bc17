// Package storetest tells whether a [points.Store] does what an engine relies on.
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(tb testing.TB, ids []int64) points.Store {
//			// a store of one user with 0 points for each of ids
//		})
//	}
//
// It uses nothing but the Store interface, so it can test a store that others have written.
package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

// NewStore returns a store of one user with 0 points for each of ids, which differ, and registers its cleanup with tb.
type NewStore func(tb testing.TB, ids []int64) points.Store

// Run tests the store that newStore returns, in a subtest for each thing that a Store must do.
func Run(t *testing.T, newStore NewStore) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			c.run(t, func(ids []int64) points.Store { return newStore(t, ids) })
		})
	}
}

// T is what a check needs of a [testing.T]: this package's own test hands in one that may fail.
type tester interface {
	require.TestingT
	Context() context.Context
}

type check struct {
	name string
	run  func(t tester, open func(ids []int64) points.Store)
}

var checks = []check{
	{"strictly above", strictlyAbove},
	{"limit", limit},
	{"empty, never nil", emptyNeverNil},
	{"every user once", everyUserOnce},
	{"any ids", anyIDs},
	{"same key, same points", sameKey},
	{"times", times},
	{"slices are the caller's", slicesAreTheCallers},
	{"reads beside updates", readsBesideUpdates},
	{"ended contexts", endedContexts},
	{"cancelled update", cancelledUpdate},
	{"two updates at once", twoUpdatesAtOnce},
}

// many is enough for several batches of a store that updates in batches: have it take some thousand users at once.
const many = 20_000

func upTo(n int64) []int64 {
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = int64(i) + 1
	}
	return ids
}

// all returns every user, in the order of ids, which is ascending.
func all(t tester, store points.Store, ids []int64) []points.User {
	users, err := store.UsersAbove(t.Context(), -1, len(ids)+1)
	require.NoError(t, err)
	require.Len(t, users, len(ids), "users above -1 are all users")
	slices.SortFunc(users, func(a, b points.User) int { return cmp.Compare(a.ID, b.ID) })
	for i, u := range users {
		if u.ID != ids[i] {
			require.Fail(t, "users above -1 are all users, each once", "user %d is missing, or another comes twice", ids[i])
		}
	}
	return users
}

// update updates all, which must be len(ids).
func update(t tester, store points.Store, ids []int64, key uint64) {
	n, err := store.UpdateAll(t.Context(), key)
	require.NoError(t, err)
	require.EqualValues(t, len(ids), n, "UpdateAll returns the number of users that it updated")
}

// requireDrawn checks that every user has the points of the update with one of keys, the same for all.
func requireDrawn(t tester, store points.Store, ids []int64, keys ...uint64) {
	users := all(t, store, ids)
	var why string
	for _, key := range keys {
		wrong := 0
		for _, u := range users {
			if u.Points == points.Draw(u.ID, key) {
				continue
			}
			if wrong == 0 {
				why += fmt.Sprintf("user %d has %d points and not Draw(%d, %d) = %d; ",
					u.ID, u.Points, u.ID, key, points.Draw(u.ID, key))
			}
			wrong++
		}
		if wrong == 0 {
			return
		}
		why += fmt.Sprintf("%d of %d users were not reached with key %d; ", wrong, len(ids), key)
	}
	require.Fail(t, "the update has not reached every user", why)
}

func strictlyAbove(t tester, open func([]int64) points.Store) {
	ids := upTo(1000)
	store := open(ids)
	update(t, store, ids, 7)
	for _, minimum := range []int{math.MinInt32, -1, 0, 1, 49, 50, 98, 99, 100, 101, math.MaxInt32} {
		want := []int64{}
		for _, id := range ids {
			if points.Draw(id, 7) > minimum {
				want = append(want, id)
			}
		}
		users, err := store.UsersAbove(t.Context(), minimum, len(ids)+1)
		require.NoError(t, err)
		got := []int64{}
		for _, u := range users {
			got = append(got, u.ID)
			require.Equal(t, points.Draw(u.ID, 7), u.Points, "points of user %d", u.ID)
		}
		slices.Sort(got)
		require.Equal(t, want, got, "users with more than %d points", minimum)
	}
}

func limit(t tester, open func([]int64) points.Store) {
	ids := upTo(1000)
	store := open(ids)
	update(t, store, ids, 7)
	for _, minimum := range []int{-1, 50, 98, 99} {
		count := 0
		for _, id := range ids {
			if points.Draw(id, 7) > minimum {
				count++
			}
		}
		for _, limit := range []int{1, 2, 3, count - 1, count, count + 1} {
			if limit < 1 {
				continue
			}
			users, err := store.UsersAbove(t.Context(), minimum, limit)
			require.NoError(t, err)
			require.Len(t, users, min(limit, count), "limit %d where %d users have more than %d points", limit, count, minimum)
			seen := map[int64]bool{}
			for _, u := range users {
				require.Greater(t, u.Points, minimum)
				require.False(t, seen[u.ID], "user %d was returned twice", u.ID)
				seen[u.ID] = true
			}
		}
	}
}

func emptyNeverNil(t tester, open func([]int64) points.Store) {
	for _, ids := range [][]int64{{}, {1}, upTo(5000)} {
		store := open(ids)
		for _, minimum := range []int{0, 50, 100} {
			users, err := store.UsersAbove(t.Context(), minimum, 2)
			require.NoError(t, err)
			require.Empty(t, users, "all of %d users have 0 points", len(ids))
			require.NotNil(t, users, "nobody is an empty slice, never nil")
		}
		update(t, store, ids, 7)
		users, err := store.UsersAbove(t.Context(), points.MaxPoints, 2)
		require.NoError(t, err)
		require.Empty(t, users, "nobody has more than %d points", points.MaxPoints)
		require.NotNil(t, users, "nobody is an empty slice, never nil")
	}
}

func everyUserOnce(t tester, open func([]int64) points.Store) {
	for _, n := range []int64{0, 1, 2, 101, many} {
		ids := upTo(n)
		store := open(ids)
		for key := range uint64(3) {
			update(t, store, ids, key)
			requireDrawn(t, store, ids, key)
		}
	}
}

func anyIDs(t tester, open func([]int64) points.Store) {
	ids := []int64{math.MinInt64, math.MinInt64 + 1, -1 << 40, -70, -1, 0, 1, 2, 1 << 31, 1<<40 + 3, math.MaxInt64 - 1, math.MaxInt64}
	for i := range int64(2000) { // dense, sparse, sparser
		ids = append(ids, 1000+i, 1_000_000+i*977, 1<<50+i*1_000_003)
	}
	slices.Sort(ids)
	store := open(ids)
	for _, key := range []uint64{0, math.MaxUint64, 1 << 63} {
		update(t, store, ids, key)
		requireDrawn(t, store, ids, key)
	}
}

func sameKey(t tester, open func([]int64) points.Store) {
	ids := upTo(1000)
	store := open(ids)
	for _, key := range []uint64{5, 6, 5, 5} {
		update(t, store, ids, key)
		requireDrawn(t, store, ids, key)
	}
}

func times(t tester, open func([]int64) points.Store) {
	ids := upTo(100)
	store := open(ids)
	before := all(t, store, ids)
	for key := range uint64(2) {
		update(t, store, ids, key)
		after := all(t, store, ids)
		for i, u := range after {
			for _, at := range []time.Time{u.InsertedAt, u.UpdatedAt} {
				require.Equal(t, time.UTC, at.Location(), "times are in UTC")
				require.Equal(t, at, at.Truncate(time.Microsecond), "times have a precision of a microsecond")
				require.False(t, at.IsZero(), "times are set")
			}
			require.Equal(t, before[i].InsertedAt, u.InsertedAt, "an update leaves inserted_at as it was")
			require.False(t, u.UpdatedAt.Before(before[i].UpdatedAt), "updated_at never goes back: %v, then %v",
				before[i].UpdatedAt, u.UpdatedAt)
			require.False(t, key > 0 && u.UpdatedAt.Equal(before[i].UpdatedAt), "an update sets updated_at")
		}
		before = after
	}
}

func slicesAreTheCallers(t tester, open func([]int64) points.Store) {
	ids := upTo(10)
	store := open(ids)
	update(t, store, ids, 7)
	users, err := store.UsersAbove(t.Context(), -1, 10)
	require.NoError(t, err)
	for i := range users {
		users[i] = points.User{ID: -9, Points: -9}
	}
	requireDrawn(t, store, ids, 7)
}

// A read sees each user as the last finished update left it, or as one that has begun since does.
func readsBesideUpdates(t tester, open func([]int64) points.Store) {
	const updates, readers = 6, 4
	ids := upTo(many)
	store := open(ids)
	update(t, store, ids, 0)

	var begun, ended atomic.Uint64 // keys
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for reader := range readers {
		wg.Go(func() {
			for round := 0; ; round++ {
				select {
				case <-stop:
					return
				default:
				}
				minimum, limit := 98, 50
				if (round+reader)%8 == 0 {
					minimum, limit = -1, len(ids)
				}
				oldest := ended.Load()
				users, err := store.UsersAbove(t.Context(), minimum, limit)
				newest := begun.Load()
				if !assert.NoError(t, err) {
					return
				}
				if minimum < 0 && !assert.Len(t, users, len(ids), "every user is there at every moment") {
					return
				}
				for _, u := range users {
					if !drawnBetween(u, oldest, newest) {
						assert.Fail(t, "a read is from no moment between its call and its return",
							"user %d had %d points, which is in none of the updates %d..%d", u.ID, u.Points, oldest, newest)
						return
					}
				}
			}
		})
	}
	for key := uint64(1); key <= updates; key++ {
		begun.Store(key)
		n, err := store.UpdateAll(t.Context(), key)
		assert.NoError(t, err)
		assert.EqualValues(t, len(ids), n)
		ended.Store(key)
	}
	close(stop)
	wg.Wait()
	requireDrawn(t, store, ids, updates)
}

func drawnBetween(u points.User, oldest, newest uint64) bool {
	for key := oldest; key <= newest; key++ {
		if u.Points == points.Draw(u.ID, key) {
			return true
		}
	}
	return false
}

func endedContexts(t tester, open func([]int64) points.Store) {
	ids := upTo(100)
	store := open(ids)
	update(t, store, ids, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	_, err := store.UsersAbove(ctx, 50, 2)
	require.ErrorIs(t, err, context.Canceled, "UsersAbove with a context that has ended")
	_, err = store.UpdateAll(ctx, 2)
	require.ErrorIs(t, err, context.Canceled, "UpdateAll with a context that has ended")

	update(t, store, ids, 3)
	requireDrawn(t, store, ids, 3)
}

// Whenever an update is cancelled, the next one reaches every user.
func cancelledUpdate(t tester, open func([]int64) points.Store) {
	ids := upTo(many)
	store := open(ids)
	update(t, store, ids, 1)
	for key := uint64(2); key < 6; key++ {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			defer cancel()
			// Until the update shows, if it does before its end. The first is cancelled as soon as it has begun.
			for deadline := time.Now().Add(time.Second); key > 2 && time.Now().Before(deadline) && ctx.Err() == nil; {
				users, err := store.UsersAbove(ctx, -1, 1)
				if err != nil || len(users) == 1 && users[0].Points == points.Draw(users[0].ID, key) {
					return
				}
			}
		})
		n, err := store.UpdateAll(ctx, key)
		if err == nil {
			require.EqualValues(t, len(ids), n)
			requireDrawn(t, store, ids, key)
		} else {
			require.ErrorIs(t, err, context.Canceled)
		}
		cancel()
		wg.Wait()
		update(t, store, ids, 100+key)
		requireDrawn(t, store, ids, 100+key)
	}
}

func twoUpdatesAtOnce(t tester, open func([]int64) points.Store) {
	const updates = 3
	ids := upTo(many)
	store := open(ids)
	for round := range uint64(4) {
		keys := make(chan uint64, updates)
		var begin, end sync.WaitGroup
		begin.Add(updates)
		for i := range uint64(updates) {
			end.Go(func() {
				key := 10*round + i
				begin.Done()
				begin.Wait()
				n, err := store.UpdateAll(t.Context(), key)
				switch {
				case err == nil:
					assert.EqualValues(t, len(ids), n)
					keys <- key
				case !errors.Is(err, points.ErrUpdateRunning):
					assert.NoError(t, err)
				}
			})
		}
		end.Wait()
		close(keys)
		var done []uint64
		for key := range keys {
			done = append(done, key)
		}
		require.NotEmpty(t, done, "of updates at once, one at least is done")
		requireDrawn(t, store, ids, done...)
	}
}

// Benchmark measures reads in several states, and updates, of the store that newStore returns.
func Benchmark(b *testing.B, newStore NewStore) {
	for _, n := range []int64{10_000, 100_000} {
		b.Run(fmt.Sprintf("users=%d", n), func(b *testing.B) {
			store := newStore(b, upTo(n))
			read := func(name string, above int) {
				b.Run("UsersAbove/"+name, func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if _, err := store.UsersAbove(b.Context(), above, 2); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
			read("all zero", 0)
			b.Run("UpdateAll", func(b *testing.B) {
				for key := uint64(0); b.Loop(); key++ {
					if _, err := store.UpdateAll(b.Context(), key); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "users/s")
			})
			for _, above := range []int{0, 50, 99, 100} {
				read(fmt.Sprintf("above %d", above), above)
			}
		})
	}
}
