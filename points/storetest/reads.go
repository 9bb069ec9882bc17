package storetest

import (
	"math"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

// above returns the ids of the users with more than minimum points after the update with key.
func above(ids []int64, key uint64, minimum int) []int64 {
	found := []int64{}
	for _, id := range ids {
		if points.Draw(id, key) > minimum {
			found = append(found, id)
		}
	}
	return found
}

// strictlyAbove reads with every min around the range of points, and with extreme ones.
func strictlyAbove(t tester, open opener) {
	const key = 7
	ids := upTo(1000)
	store := open(ids)
	update(t, store, ids, key)
	minimums := []int{math.MinInt, math.MinInt32, -256, math.MaxInt32, math.MaxInt}
	for minimum := -2; minimum <= points.MaxPoints+2; minimum++ {
		minimums = append(minimums, minimum)
	}
	for _, minimum := range minimums {
		users, err := store.UsersAbove(t.Context(), minimum, len(ids)+1)
		require.NoError(t, err, "UsersAbove, min %d", minimum)
		if why := sortAll(users, above(ids, key, minimum)); why != "" {
			require.Failf(t, "wrong users", "of the users with more than %d points, %s", minimum, why)
		}
		require.Empty(t, notDrawn(users, key), "min %d", minimum)
	}
}

// limit reads fewer users than there are, as many, and more.
func limit(t tester, open opener) {
	const key = 7
	ids := upTo(1000)
	store := open(ids)
	update(t, store, ids, key)
	for _, minimum := range []int{-1, 0, 50, 98, 99} {
		total := above(ids, key, minimum)
		for _, limit := range []int{1, 2, 3, len(total) - 1, len(total), len(total) + 1, math.MaxInt} {
			users, err := store.UsersAbove(t.Context(), minimum, limit)
			require.NoError(t, err, "UsersAbove, limit %d", limit)
			require.Equal(t, min(limit, len(total)), len(users),
				"number of users for limit %d, where %d users have more than %d points", limit, len(total), minimum)
			seen := map[int64]bool{}
			for _, u := range users {
				require.Greater(t, u.Points, minimum, "points of user %d", u.ID)
				require.False(t, seen[u.ID], "user %d is listed twice in one read", u.ID)
				seen[u.ID] = true
			}
		}
	}
}

// emptyNeverNil makes reads that find no user.
func emptyNeverNil(t tester, open opener) {
	for _, users := range []int{0, 1, 5000} {
		ids := upTo(users)
		store := open(ids)
		for _, minimum := range []int{0, 50, 99, 100} {
			requireNoUser(t, store, minimum, "all of %d users have 0 points", users)
		}
		update(t, store, ids, 7)
		requireNoUser(t, store, points.MaxPoints, "none of %d users has more than MaxPoints", users)
	}
}

func requireNoUser(t tester, store points.Store, minimum int, why string, users int) {
	found, err := store.UsersAbove(t.Context(), minimum, 2)
	require.NoError(t, err, "UsersAbove, min %d", minimum)
	require.Empty(t, found, why, users)
	require.NotNil(t, found, "UsersAbove must return an empty slice rather than nil: "+why, users)
}

// callerOwnsTheSlice writes to the results of reads, also beyond their end.
func callerOwnsTheSlice(t tester, open opener) {
	const key = 7
	ids := upTo(10)
	store := open(ids)
	update(t, store, ids, key)
	for _, limit := range []int{5, len(ids)} {
		first, err := store.UsersAbove(t.Context(), -1, limit)
		require.NoError(t, err, "UsersAbove")
		firstCopy := slices.Clone(first)
		second, err := store.UsersAbove(t.Context(), -1, limit)
		require.NoError(t, err, "UsersAbove")
		secondCopy := slices.Clone(second)

		mark := points.User{ID: -9, Points: -9}
		_ = append(first, mark)
		require.True(t, slices.Equal(secondCopy, second),
			"the result of a read must not change when another result is appended to")
		_ = append(second, mark)
		for i := range second {
			second[i] = mark
		}
		require.True(t, slices.Equal(firstCopy, first),
			"the result of a read must not change when another result is written to")
		require.Empty(t, notDrawn(all(t, store, ids), key),
			"users must not change when the result of a read is written to")
	}
}
