package storetest

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

// readsDuringUpdates reads concurrently with a sequence of updates. A read must see each user as the last update that
// ended before the call left it, or as a later update did that started before the return.
func readsDuringUpdates(t tester, open opener) {
	const updates, readers = 6, 4
	ids := upTo(many)
	store := open(ids)
	update(t, store, ids, 0)

	var started, ended atomic.Uint64 // keys
	var done atomic.Bool
	var wg sync.WaitGroup
	for reader := range readers {
		wg.Go(func() {
			for round := reader; !done.Load(); round++ {
				minimum, limit := 98, 50
				if round%8 == 0 {
					minimum, limit = -1, len(ids)+1
				}
				oldest := ended.Load()
				users, err := store.UsersAbove(t.Context(), minimum, limit)
				newest := started.Load()
				if !assert.NoError(t, err, "a read during an update") || !hasPointsOf(t, users, oldest, newest) {
					return
				}
				if minimum >= 0 {
					continue
				}
				if why := sortAll(users, ids); why != "" {
					assert.Fail(t, "users with more than -1 points are all users, each once, also during an update", why)
					return
				}
			}
		})
	}
	for key := uint64(1); key <= updates; key++ {
		started.Store(key)
		n, err := store.UpdateAll(t.Context(), key)
		assert.NoError(t, err, "an update during reads")
		assert.EqualValues(t, len(ids), n, "UpdateAll must return the number of users that it updated")
		ended.Store(key)
	}
	done.Store(true)
	wg.Wait()
	requireDrawn(t, store, ids, updates)
}

func hasPointsOf(t tester, users []points.User, oldest, newest uint64) bool {
next:
	for _, u := range users {
		for key := oldest; key <= newest; key++ {
			if u.Points == points.Draw(u.ID, key) {
				continue next
			}
		}
		return assert.Failf(t, "a read must be of a moment between its call and its return",
			"user %d had %d points, which no update gave it since the one with key %d, the last to end before the call",
			u.ID, u.Points, oldest)
	}
	return true
}

// readsAreConsistent reads all users concurrently with an update, and compares which users the update had reached in
// each read. Reads while the update reports its progress see the users as each batch leaves them. Without these, reads
// that are torn in the same way each time, such as those of two servers one after the other, would agree.
func readsAreConsistent(t tester, open opener) {
	const readers = 3
	ids := upTo(many / 2)
	store := open(ids)
	update(t, store, ids, 0)
	for key := uint64(1); key <= 2; key++ {
		before := all(t, store, ids)
		waitForNextMicrosecond()
		var seen [readers][]snapshot
		var done atomic.Bool
		var wg sync.WaitGroup
		for reader := range seen {
			wg.Go(func() { seen[reader] = snapshots(t, store, ids, before, key, &done) })
		}
		reported := &reportedSnapshots{read: func() (snapshot, bool) { return takeSnapshot(t, store, ids, before, key) }}
		n, err := store.UpdateAll(points.WithProgress(t.Context(), reported.report), key)
		done.Store(true)
		wg.Wait()
		reported.reads.Wait()
		require.NoError(t, err, "an update during reads")
		require.EqualValues(t, len(ids), n, "UpdateAll must return the number of users that it updated")

		after := all(t, store, ids)
		for _, snapshots := range append(seen[:], reported.seen) {
			for i, s := range snapshots {
				requireUpdatedOnce(t, s, after)
				if i > 0 {
					requireIncluded(t, snapshots[i-1], s, ids, "an earlier read saw updated")
				}
			}
		}
		ordered := slices.Concat(append(seen[:], reported.seen)...)
		slices.SortFunc(ordered, func(a, b snapshot) int { return cmp.Compare(a.count, b.count) })
		for i := 1; i < len(ordered); i++ {
			requireIncluded(t, ordered[i-1], ordered[i], ids, "a read that saw no more users updated saw updated")
		}
	}
}

// A snapshot is the result of a read of all users during an update.
type snapshot struct {
	updated []int64 // updated_at of each user in µs since 1970; 0 if the update had not reached it
	count   int     // users that the update had reached
}

// snapshots reads all users until done, or often enough. It takes from updated_at which users the update with this key
// has reached, and checks that their points agree.
func snapshots(
	t tester, store points.Store, ids []int64, before []points.User, key uint64, done *atomic.Bool,
) (seen []snapshot) {
	for !done.Load() && len(seen) < enoughSnapshots {
		s, ok := takeSnapshot(t, store, ids, before, key)
		if !ok {
			return nil
		}
		seen = append(seen, s)
	}
	return seen
}

// enoughSnapshots is the maximum number of reads of all users by one reader of an update.
const enoughSnapshots = 20

func takeSnapshot(t tester, store points.Store, ids []int64, before []points.User, key uint64) (s snapshot, ok bool) {
	users, err := store.UsersAbove(t.Context(), -1, len(ids)+1)
	if !assert.NoError(t, err, "a read during an update") {
		return snapshot{}, false
	}
	if why := sortAll(users, ids); why != "" {
		assert.Fail(t, "users with more than -1 points are all users, each once, also during an update", why)
		return snapshot{}, false
	}
	s.updated = make([]int64, len(users))
	for i, u := range users {
		want, when := before[i].Points, "before"
		if !u.UpdatedAt.Equal(before[i].UpdatedAt) {
			want, when = points.Draw(u.ID, key), "after"
			s.updated[i] = u.UpdatedAt.UnixMicro()
			s.count++
		}
		if u.Points != want {
			assert.Failf(t, "a user's points and updated_at must change together",
				"user %d had its updated_at from %s the update, but %d points instead of %d", u.ID, when, u.Points, want)
			return snapshot{}, false
		}
	}
	return s, true
}

// A reportedSnapshots takes a snapshot in each report of an update's progress. A store may hold a lock during a report,
// so that a read waits for its end; then no more snapshots are taken.
type reportedSnapshots struct {
	read    func() (s snapshot, ok bool)
	reads   sync.WaitGroup
	seen    []snapshot
	blocked bool
}

func (r *reportedSnapshots) report(_, _ int64) {
	if r.blocked || len(r.seen) == enoughSnapshots {
		return
	}
	taken := make(chan snapshot, 1)
	r.reads.Go(func() {
		defer close(taken)
		if s, ok := r.read(); ok {
			taken <- s
		}
	})
	select {
	case s, ok := <-taken:
		if ok {
			r.seen = append(r.seen, s)
		}
	case <-time.After(readTimeout):
		r.blocked = true
	}
}

// requireUpdatedOnce checks that the users updated in s were not updated again.
func requireUpdatedOnce(t tester, s snapshot, after []points.User) {
	for i, at := range s.updated {
		if last := after[i].UpdatedAt.UnixMicro(); at != 0 && at != last {
			require.Failf(t, "an update must reach each user once",
				"user %d was updated, and updated again %d µs later", after[i].ID, last-at)
		}
	}
}

// requireIncluded checks that the users updated in a are updated in b.
func requireIncluded(t tester, a, b snapshot, ids []int64, why string) {
	for i := range a.updated {
		if a.updated[i] != 0 && b.updated[i] == 0 {
			require.Failf(t, "a read must be of one moment",
				"it saw %d users updated, but not user %d, which %s", b.count, ids[i], why)
		}
	}
}
