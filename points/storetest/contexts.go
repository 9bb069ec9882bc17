package storetest

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

// endedContexts makes calls with contexts that have already ended.
func endedContexts(t tester, open opener) {
	ids := upTo(100)
	store := open(ids)
	update(t, store, ids, 1)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for _, ctx := range []context.Context{cancelled, expired} {
		for _, minimum := range []int{-1, 50, points.MaxPoints} {
			_, err := store.UsersAbove(ctx, minimum, 2)
			require.ErrorIs(t, err, ctx.Err(), "UsersAbove with an ended context, min %d", minimum)
		}
		_, err := store.UpdateAll(ctx, 2)
		require.ErrorIs(t, err, ctx.Err(), "UpdateAll with an ended context")
	}
	update(t, store, ids, 3)
	requireDrawn(t, store, ids, 3)
}

// cancelledUpdate cancels running updates. Whatever they have updated, the next update must reach every user.
//
// An update that is cancelled near its end may succeed. If reads show partial updates, this cannot happen each time. If
// they show whole updates only, it cannot be checked from outside.
func cancelledUpdate(t tester, open opener) {
	const enough, enoughUnseen = 10, 5
	ids := upTo(many)
	store := open(ids)
	update(t, store, ids, 0)
	ignored, late := 0, 0
	for key := uint64(1); late < enoughUnseen; key += 2 {
		atOnce := key == 1
		early, err := updateAndCancel(t, store, ids, key, atOnce)
		if err == nil {
			requireDrawn(t, store, ids, key)
		} else {
			require.ErrorIs(t, err, context.Canceled, "UpdateAll after its context was cancelled")
			if !hasPointsOf(t, all(t, store, ids), key-1, key) {
				return
			}
		}
		update(t, store, ids, key+1)
		requireDrawn(t, store, ids, key+1)

		switch {
		case err != nil && !atOnce:
			return
		case err == nil && early:
			ignored++
			require.Less(t, ignored, enough, "UpdateAll must return soon after its context ends: "+
				"each time it was cancelled before it had reached half of the users, it reached all of them")
		default:
			late++
		}
	}
}

// updateAndCancel cancels an update at once, or when a read shows that it has started. early: it was cancelled before
// it had reached half of the users.
func updateAndCancel(t tester, store points.Store, ids []int64, key uint64, atOnce bool) (early bool, err error) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var returned atomic.Bool
	var canceller sync.WaitGroup
	canceller.Go(func() {
		defer cancel()
		for !atOnce && !returned.Load() {
			users, err := store.UsersAbove(t.Context(), -1, len(ids)+1)
			if !assert.NoError(t, err, "a read during an update") {
				return
			}
			if n := reached(users, key); n > 0 {
				cancel()
				early = n < len(ids)/2 && !returned.Load()
				return
			}
		}
	})
	_, err = store.UpdateAll(ctx, key)
	returned.Store(true)
	canceller.Wait()
	return early, err
}

// reached returns the number of users whose points show that the update with this key has reached them.
func reached(users []points.User, key uint64) (n int) {
	for _, u := range users {
		if u.Points == points.Draw(u.ID, key) && u.Points != points.Draw(u.ID, key-1) {
			n++
		}
	}
	return n
}
