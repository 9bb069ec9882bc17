package storetest

import (
	"math"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

// everyUser updates stores of different sizes, several times: rows may have moved since the first update.
func everyUser(t tester, open opener) {
	for _, users := range []int{0, 1, 2, 101, many} {
		ids := upTo(users)
		store := open(ids)
		for key := range uint64(3) {
			update(t, store, ids, key)
			requireDrawn(t, store, ids, key)
		}
	}
}

// zeroAndMaxPoints counts the users at both ends of the range, where off-by-one errors are likely.
func zeroAndMaxPoints(t tester, open opener) {
	const key = 7
	ids := upTo(5000)
	store := open(ids)
	update(t, store, ids, key)
	for _, end := range []struct {
		name    string
		minimum int
	}{{"100 points", points.MaxPoints - 1}, {"more than 0 points", 0}} {
		users, err := store.UsersAbove(t.Context(), end.minimum, len(ids)+1)
		require.NoError(t, err, "UsersAbove, min %d", end.minimum)
		require.Equal(t, len(above(ids, key, end.minimum)), len(users),
			"number of users with %s, of %d: one in %d must have 100, and one 0", end.name, len(ids), points.MaxPoints+1)
	}
}

// anyIDs updates users with negative and extreme ids, ids far above the number of users, and gaps of all sizes.
func anyIDs(t tester, open opener) {
	const each = 2000
	ids := slices.Grow([]int64{
		math.MinInt64, math.MinInt64 + 1, -1 << 40, -70, -1, 0, 1, 2, 1 << 31, 1<<40 + 3, math.MaxInt64 - 1, math.MaxInt64,
	}, 3*each)
	for i := range int64(each) { // dense, sparse, sparser
		ids = append(ids, 1000+i, 1_000_000+i*977, 1<<50+i*1_000_003)
	}
	slices.Sort(ids)
	store := open(ids)
	for _, key := range []uint64{0, 1 << 63, math.MaxUint64} {
		update(t, store, ids, key)
		requireDrawn(t, store, ids, key)
	}
}

func sameKeySamePoints(t tester, open opener) {
	ids := upTo(1000)
	store := open(ids)
	for _, key := range []uint64{5, 6, 5, 5} {
		update(t, store, ids, key)
		requireDrawn(t, store, ids, key)
	}
}

func times(t tester, open opener) {
	ids := upTo(100)
	store := open(ids)
	before := all(t, store, ids)
	for key := range uint64(3) {
		waitForNextMicrosecond()
		update(t, store, ids, key)
		after := all(t, store, ids)
		for i, u := range after {
			requireTime(t, before[i].InsertedAt, "inserted_at", u.ID)
			requireTime(t, before[i].UpdatedAt, "updated_at", u.ID)
			require.True(t, u.InsertedAt.Equal(before[i].InsertedAt),
				"an update must not change inserted_at: user %d had %v, then %v",
				u.ID, before[i].InsertedAt, u.InsertedAt)
			require.True(t, u.UpdatedAt.After(before[i].UpdatedAt),
				"an update must set updated_at to a later time: user %d had %v, then %v",
				u.ID, before[i].UpdatedAt, u.UpdatedAt)
		}
		before = after
	}
}

func requireTime(t tester, at time.Time, field string, id int64) {
	require.False(t, at.IsZero(), "%s of user %d must be set", field, id)
	require.Equal(t, time.UTC, at.Location(), "%s of user %d must be in UTC, got %v", field, id, at)
	require.Zero(t, at.Nanosecond()%1000, "%s of user %d must have microsecond precision, got %v", field, id, at)
}

// waitForNextMicrosecond returns when the clock has advanced by a microsecond.
func waitForNextMicrosecond() {
	for begin := time.Now().UnixMicro(); time.Now().UnixMicro() <= begin; {
		<-time.After(time.Microsecond)
	}
}
