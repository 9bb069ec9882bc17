package storetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

// NewStore opens a new store of users with these ids and 0 points each. The ids are ascending and unique; there may be
// none. NewStore fails tb if it cannot open the store, and registers cleanups with tb.
type NewStore func(tb testing.TB, ids []int64) points.Store

// Run tests stores opened by newStore, in one subtest for each requirement. It fails at once if newStore returns nil.
func Run(t *testing.T, newStore NewStore) {
	for _, c := range checks() {
		returnsNil := false
		t.Run(c.name, func(t *testing.T) {
			c.run(t, func(ids []int64) points.Store {
				store := newStore(t, ids)
				returnsNil = true
				requireStore(t, store)
				returnsNil = false
				return store
			})
		})
		if returnsNil {
			return // the other subtests would fail in the same way
		}
	}
}

// requireStore fails unless store is a store: a nil one, or a nil pointer as one, would panic somewhere in a check.
func requireStore(t require.TestingT, store points.Store) {
	require.NotNil(t, store, "newStore must return a store, or fail its testing.TB")
}

// A tester is the part of testing.T that checks use. The test of this package has another implementation, for checks
// that must fail.
type tester interface {
	require.TestingT
	Context() context.Context
	Skip(args ...any)
}

// An opener opens a new store of users with these ids.
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
		{"caller owns the slice", callerOwnsTheSlice},
		{"every user", everyUser},
		{"0 and 100 points", zeroAndMaxPoints},
		{"any ids", anyIDs},
		{"same key, same points", sameKeySamePoints},
		{"times", times},
		{"reads during updates", readsDuringUpdates},
		{"reads are consistent", readsAreConsistent},
		{"concurrent updates", concurrentUpdates},
		{"ended contexts", endedContexts},
		{"cancelled update", cancelledUpdate},
		{"immediate reads", immediateReads},
	}
}

// many users make an update take several batches, and long enough for reads during it.
const many = 20_000

// upTo returns the ids 1..n.
func upTo(n int) []int64 {
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = int64(i) + 1
	}
	return ids
}

// all returns all users in order of their ids.
func all(t tester, store points.Store, ids []int64) []points.User {
	users, err := store.UsersAbove(t.Context(), -1, len(ids)+1)
	require.NoError(t, err, "reading all users")
	if why := sortAll(users, ids); why != "" {
		require.Fail(t, "users with more than -1 points are all users, each once", why)
	}
	return users
}

// sortAll sorts users by id. It returns why their ids are not ids, or "".
func sortAll(users []points.User, ids []int64) string {
	slices.SortFunc(users, func(a, b points.User) int { return cmp.Compare(a.ID, b.ID) })
	for i, u := range users {
		switch {
		case i > 0 && u.ID == users[i-1].ID:
			return fmt.Sprintf("user %d is listed twice", u.ID)
		case i >= len(ids) || u.ID < ids[i]:
			return fmt.Sprintf("user %d must not be listed", u.ID)
		case u.ID > ids[i]:
			return fmt.Sprintf("user %d is missing, got %d users of %d", ids[i], len(users), len(ids))
		}
	}
	if len(users) < len(ids) {
		return fmt.Sprintf("user %d is missing, got %d users of %d", ids[len(users)], len(users), len(ids))
	}
	return ""
}

// update updates all users, whose ids are ids.
func update(t tester, store points.Store, ids []int64, key uint64) {
	progress := new(progress)
	n, err := store.UpdateAll(points.WithProgress(t.Context(), progress.report), key)
	require.NoError(t, err, "UpdateAll")
	require.EqualValues(t, len(ids), n, "UpdateAll must return the number of users that it updated")
	progress.require(t, n)
}

// A progress checks the progress that a store reports of one update.
type progress struct {
	mu          sync.Mutex
	reported    bool
	done, total int64
	wrong       string

	concurrent atomic.Bool // two reports overlapped
}

func (p *progress) report(done, total int64) {
	if !p.mu.TryLock() {
		p.concurrent.Store(true)
		return
	}
	defer p.mu.Unlock()
	if done < p.done || done > total {
		p.wrong = fmt.Sprintf("%d of %d users, after %d of %d", done, total, p.done, p.total)
	}
	p.reported, p.done, p.total = true, done, total
}

// require checks the reports of an update of n users, if there were any.
func (p *progress) require(t tester, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	require.False(t, p.concurrent.Load(), "UpdateAll must report its progress in one call at a time")
	require.Empty(t, p.wrong, "the progress that UpdateAll reports must not decrease, nor exceed the total")
	if p.reported {
		require.Equal(t, fmt.Sprintf("%d of %d", n, n), fmt.Sprintf("%d of %d", p.done, p.total),
			"the last progress that UpdateAll reports must be the number of users")
	}
}

// requireDrawn checks that all users have the points of the update with the same one of keys.
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

// notDrawn describes which users do not have the points of the update with key. It returns "" if all have.
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
	return fmt.Sprintf("%d of %d users do not after the update with key %d; "+
		"the first is user %d with %d points instead of %d",
		wrong, len(users), key, first.ID, first.Points, points.Draw(first.ID, key))
}
