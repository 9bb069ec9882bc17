package storetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

// NewStore returns a new store of one user with 0 points for each of ids, which are ascending and all different. There
// may be none. It fails tb if it cannot, and registers with tb what is to be cleaned up.
type NewStore func(tb testing.TB, ids []int64) points.Store

// Run tests the stores that newStore returns, in a subtest for each thing that a Store must do.
func Run(t *testing.T, newStore NewStore) {
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			c.run(t, func(ids []int64) points.Store { return newStore(t, ids) })
		})
	}
}

// A tester is what a check needs of a testing.T. This package's own test has another one, that is meant to fail.
type tester interface {
	require.TestingT
	Context() context.Context
	Skip(args ...any)
}

// opener returns a new store of users with these ids.
type opener func(ids []int64) points.Store

type check struct {
	name string
	run  func(t tester, open opener)
}

func checks() []check {
	return []check{
		{"strictly above", strictlyAbove},
		{"limit", limit},
		{"empty, never nil", emptyNeverNil},
		{"slices are the caller's", slicesAreTheCallers},
		{"every user", everyUser},
		{"0 and 100 points", zeroAndMaxPoints},
		{"any ids", anyIDs},
		{"same key, same points", sameKeySamePoints},
		{"times", times},
		{"reads beside updates", readsBesideUpdates},
		{"reads are of one moment", readsAreOfOneMoment},
		{"two updates at once", twoUpdatesAtOnce},
		{"ended contexts", endedContexts},
		{"cancelled update", cancelledUpdate},
		{"immediate reads", immediateReads},
	}
}

// many is enough users for several batches of an update, and for an update to take long enough to be read beside.
const many = 20_000

// upTo returns the ids 1..n.
func upTo(n int) []int64 {
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = int64(i) + 1
	}
	return ids
}

// all returns every user, in the order of ids, which is ascending.
func all(t tester, store points.Store, ids []int64) []points.User {
	users, err := store.UsersAbove(t.Context(), -1, len(ids)+1)
	require.NoError(t, err, "reading all users")
	if why := sortAll(users, ids); why != "" {
		require.Fail(t, "users above -1 are all users, each once", why)
	}
	return users
}

// sortAll brings users in the order of ids. It returns why they are not the users with these ids, or "".
func sortAll(users []points.User, ids []int64) string {
	slices.SortFunc(users, func(a, b points.User) int { return cmp.Compare(a.ID, b.ID) })
	for i, u := range users {
		switch {
		case i > 0 && u.ID == users[i-1].ID:
			return fmt.Sprintf("user %d comes twice", u.ID)
		case i >= len(ids) || u.ID < ids[i]:
			return fmt.Sprintf("user %d does not belong to them", u.ID)
		case u.ID > ids[i]:
			return fmt.Sprintf("user %d is missing, %d users of %d are there", ids[i], len(users), len(ids))
		}
	}
	if len(users) < len(ids) {
		return fmt.Sprintf("user %d is missing, %d users of %d are there", ids[len(users)], len(users), len(ids))
	}
	return ""
}

// update updates all users, which are those with ids.
func update(t tester, store points.Store, ids []int64, key uint64) {
	progress := new(progress)
	n, err := store.UpdateAll(points.WithProgress(t.Context(), progress.report), key)
	require.NoError(t, err, "UpdateAll")
	require.EqualValues(t, len(ids), n, "UpdateAll must return the number of users that it updated")
	progress.require(t, n)
}

// A progress is what a store reports of an update, which must be of one call at a time: the race detector sees if not.
type progress struct {
	told        bool
	done, total int64
	wrong       string
}

func (p *progress) report(done, total int64) {
	if done < p.done || done > total {
		p.wrong = fmt.Sprintf("%d of %d users, after %d of %d", done, total, p.done, p.total)
	}
	p.told, p.done, p.total = true, done, total
}

// require checks what was reported of an update of n users, if anything was.
func (p *progress) require(t tester, n int64) {
	require.Empty(t, p.wrong, "the progress that UpdateAll reports must not decrease, nor be more than there is to do")
	if p.told {
		require.Equal(t, fmt.Sprintf("%d of %d", n, n), fmt.Sprintf("%d of %d", p.done, p.total),
			"the last progress that UpdateAll reports must be that all is done")
	}
}

// requireDrawn checks that every user has the points of the update with one of keys, the same for all users.
func requireDrawn(t tester, store points.Store, ids []int64, keys ...uint64) {
	users := all(t, store, ids)
	var why []string
	for _, key := range keys {
		not := notDrawn(users, key)
		if not == "" {
			return
		}
		why = append(why, not)
	}
	require.Fail(t, "every user must have the points Draw(id, key)", strings.Join(why, "\n"))
}

// notDrawn returns which of users do not have the points of the update with key, or "".
func notDrawn(users []points.User, key uint64) string {
	var first *points.User
	wrong := 0
	for i, u := range users {
		if u.Points == points.Draw(u.ID, key) {
			continue
		}
		if wrong == 0 {
			first = &users[i]
		}
		wrong++
	}
	if wrong == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d users do not after the update with key %d; first, user %d has %d points, and not %d",
		wrong, len(users), key, first.ID, first.Points, points.Draw(first.ID, key))
}
