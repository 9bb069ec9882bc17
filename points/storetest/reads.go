package storetest

import (
	"math"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

// above returns the ids of those who have more than minimum points after the update with key.
func above(ids []int64, key uint64, minimum int) []int64 {
	found := []int64{}
	for _, id := range ids {
		if points.Draw(id, key) > minimum {
			found = append(found, id)
		}
	}
	return found
}

// strictlyAbove reads each side of every number of points, and far from any.
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
			require.Failf(t, "wrong users", "of those with more than %d points, %s", minimum, why)
		}
		require.Empty(t, notDrawn(users, key), "min %d", minimum)
	}
}

// limit reads fewer, as many and more users than there are.
func limit(t tester, open opener) {
	const key = 7
	ids := upTo(1000)
	store := open(ids)
	update(t, store, ids, key)
	for _, minimum := range []int{-1, 0, 50, 98, 99} {
		there := above(ids, key, minimum)
		for _, limit := range []int{1, 2, 3, len(there) - 1, len(there), len(there) + 1, math.MaxInt} {
			users, err := store.UsersAbove(t.Context(), minimum, limit)
			require.NoError(t, err, "UsersAbove, limit %d", limit)
			require.Equal(t, min(limit, len(there)), len(users),
				"number of users for limit %d, where %d users have more than %d points", limit, len(there), minimum)
			seen := map[int64]bool{}
			for _, u := range users {
				require.Greater(t, u.Points, minimum, "points of user %d", u.ID)
				require.False(t, seen[u.ID], "user %d comes twice in one read", u.ID)
				seen[u.ID] = true
			}
		}
	}
}

// emptyNeverNil reads where nobody qualifies: before the first update everywhere.
func emptyNeverNil(t tester, open opener) {
	for _, users := range []int{0, 1, 5000} {
		ids := upTo(users)
		store := open(ids)
		for _, minimum := range []int{0, 50, 99, 100} {
			requireNobody(t, store, minimum, "all of %d users have 0 points", users)
		}
		update(t, store, ids, 7)
		requireNobody(t, store, points.MaxPoints, "nobody of %d users has more than the most points", users)
	}
}

func requireNobody(t tester, store points.Store, minimum int, why string, users int) {
	found, err := store.UsersAbove(t.Context(), minimum, 2)
	require.NoError(t, err, "UsersAbove, min %d", minimum)
	require.Empty(t, found, why, users)
	require.NotNil(t, found, "for nobody, UsersAbove must return an empty slice rather than nil: "+why, users)
}

// slicesAreTheCallers writes to what reads have returned, also past its end.
func slicesAreTheCallers(t tester, open opener) {
	const key = 7
	ids := upTo(10)
	store := open(ids)
	update(t, store, ids, key)
	for _, limit := range []int{5, len(ids)} {
		first, err := store.UsersAbove(t.Context(), -1, limit)
		require.NoError(t, err, "UsersAbove")
		keptFirst := slices.Clone(first)
		second, err := store.UsersAbove(t.Context(), -1, limit)
		require.NoError(t, err, "UsersAbove")
		keptSecond := slices.Clone(second)

		mine := points.User{ID: -9, Points: -9}
		_ = append(first, mine)
		require.True(t, slices.Equal(keptSecond, second),
			"what a read has returned must not change when what another has is appended to")
		_ = append(second, mine)
		for i := range second {
			second[i] = mine
		}
		require.True(t, slices.Equal(keptFirst, first),
			"what a read has returned must not change when what another has is written to")
		require.Empty(t, notDrawn(all(t, store, ids), key),
			"users must not change when what a read has returned is written to")
	}
}
