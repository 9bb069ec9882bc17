package storetest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pointsapp/pointsapp/points"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCorrectStoresPass(t *testing.T) {
	t.Run("in batches", func(t *testing.T) {
		Run(t, func(_ testing.TB, ids []int64) points.Store { return newRefStore(ids) })
	})
	t.Run("immediate", func(t *testing.T) {
		Run(t, func(_ testing.TB, ids []int64) points.Store { return immediate{newRefStore(ids)} })
	})
	t.Run("all in one transaction", func(t *testing.T) {
		Run(t, func(_ testing.TB, ids []int64) points.Store {
			s := newRefStore(ids)
			s.batch = len(ids) + 1
			return s
		})
	})
}

// Each mutant fails the check that is for its fault, with a message that names the fault. The first ones have the faults of
// the original.
func TestMutantsFail(t *testing.T) {
	type mutant struct {
		name    string
		check   string
		message string
		store   func(*refStore) points.Store
	}
	mutants := []mutant{
		{"pages with OFFSET", "every user", "after the update with key 0; the first is user 2001 with 0 points", pagesByOffset},
		{">= instead of >", "strictly above", "of the users with more than 0 points, user 30 must not be listed", usesGreaterOrEqual},
		{"never 100", "0 and 100 points", "number of users with 100 points", withDraw(drawUpTo99)},
		{"never 0", "0 and 100 points", "number of users with more than 0 points", withDraw(drawFrom1)},
		{"nil for no users", "empty, never nil", "an empty slice rather than nil", returnsNil},
		{"concurrent updates interleave", "concurrent updates", "users do not after the update with key", interleavesUpdates},
		{"random points", "same key, same points", "users do not after the update with key 5", withDraw(randomDraw)},

		{"min as a byte", "strictly above", "of the users with more than -9223372036854775808 points, user", truncatesMin},
		{"one point more", "strictly above", "users do not after the update", withDraw(drawOneMore)},
		{"limit ignored", "limit", "number of users for limit 1", ignoresLimit},
		{"fewer users than there are", "limit", "number of users for limit 3", returnsAtMostTwo},
		{"a user twice in a read", "limit", "is listed twice in one read", repeatsAUser},
		{"returns its own slice", "caller owns the slice", "when another result is written to", returnsItsRows},
		{"returns one buffer", "caller owns the slice", "when another result is written to", reusesABuffer},
		{"returns parts of one buffer", "caller owns the slice", "when another result is appended to", slicesABuffer},

		{"draws by half the id", "any ids", "users do not after the update with key 0", withDraw(drawByHalfTheID)},
		{"draws by half the key", "any ids", "users do not after the update with key 9223372036854775808", withDraw(drawByHalfTheKey)},
		{"only ids 1..n", "any ids", "the first is user -9223372036854775808 with 0 points", updatesOnlyContiguousIDs},
		{"only ids from 0 on", "any ids", "the first is user -9223372036854775808 with 0 points", updatesOnlyFromZero},
		{"an error for no users", "every user", "no rows", failsWithoutUsers},
		{"counts one more", "every user", "must return the number of users", withCount(func(n int64) int64 { return n + 1 })},
		{"counts one fewer", "every user", "must return the number of users", withCount(func(n int64) int64 { return max(n-1, 0) })},
		{"counts only the last batch", "every user", "must return the number of users", withCount(func(n int64) int64 { return n % 2000 })},
		{"updates users twice, and counts them twice", "every user", "must return the number of users", updatesTwice(true)},
		{"updates users twice", "reads are consistent", "user 1 was updated, and updated again 1 µs later", updatesTwice(false)},
		{"returns before it is done", "every user", "users do not after the update", returnsEarly},

		{"progress decreases", "every user", "must not decrease", withProgress(func(ctx context.Context, done, total int64) {
			points.ReportProgress(ctx, done, total)
			points.ReportProgress(ctx, done-1, total)
		})},
		{"progress exceeds the total", "every user", "must not decrease, nor exceed the total", withProgress(func(ctx context.Context, done, _ int64) {
			points.ReportProgress(ctx, done+1, done)
		})},
		{"progress never completes", "every user", "must be the number of users", withProgress(func(ctx context.Context, done, total int64) {
			points.ReportProgress(ctx, done/2, total)
		})},

		{"updated_at stays", "times", "an update must set updated_at", withRows(func(u *points.User) { u.UpdatedAt = u.InsertedAt })},
		{"inserted_at changes", "times", "an update must not change inserted_at", withRows(func(u *points.User) { u.InsertedAt = u.UpdatedAt })},
		{"no inserted_at", "times", "inserted_at of user 1 must be set", withRows(func(u *points.User) { u.InsertedAt = time.Time{} })},
		{"nanoseconds", "times", "must have microsecond precision", withRows(func(u *points.User) { u.InsertedAt = u.InsertedAt.Add(1) })},
		{"local time", "times", "updated_at of user 1 must be in UTC", withRows(func(u *points.User) {
			u.UpdatedAt = u.UpdatedAt.In(time.FixedZone("CET", 3600))
		})},

		{"reads a stale copy", "reads during updates", "a read must be of a moment between its call and its return", readsAStaleCopy},
		{"sets to zero before it draws", "reads during updates", "a read must be of a moment between its call and its return", zeroesFirst},
		{"users are missing during an update", "reads during updates", "user 20000 is missing, got 19999 users of 20000", deletesAndInserts},
		{"reads fail during an update", "reads during updates", "a read during an update", failsReads},
		{"torn reads", "reads are consistent", "a read must be of one moment", tearsReads},
		{"torn reads, all alike", "reads are consistent", "a read must be of one moment", tearsReadsAlike},
		{"torn rows", "reads are consistent", "a user's points and updated_at must change together", tearsRows},
		{"rolled back and repeated", "reads are consistent", "an earlier read saw updated", rollsBack},
		{"rejects without ErrUpdateRunning", "concurrent updates", "UpdateAll while another update is running", rejectsWithoutErrUpdateRunning},

		{"reads ignore the context", "ended contexts", "UsersAbove with an ended context", ignoresContextInReads},
		{"updates ignore the context", "ended contexts", "UpdateAll with an ended context", ignoresContextInUpdates},
		{"hides the context's error", "ended contexts", "UpdateAll with an ended context", hidesContextError},
		{"checks the context once", "cancelled update", "UpdateAll must return soon after its context ends", checksContextOnce},
		{"stops without an error", "cancelled update", "users do not after the update", stopsSilently},
		{"resumes a cancelled update", "cancelled update", "users do not after the update", resumes},
		{"stays locked after a cancelled update", "cancelled update", "points: an update is running", staysLocked},
		{"immediate reads block during an update", "immediate reads", "a read of a store with ImmediateReads must not wait", blocksReads},
	}
	for _, c := range checks() {
		assert.True(t, slices.ContainsFunc(mutants, func(m mutant) bool { return m.check == c.name }), "no mutant fails %q", c.name)
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			i := slices.IndexFunc(checks(), func(c check) bool { return c.name == m.check })
			require.GreaterOrEqual(t, i, 0, "there is no check %q", m.check)
			// On a busy machine, faults that depend on timing may not show in a single run.
			const runs = 10
			var failures []string
			for run := 0; run < runs && len(failures) == 0; run++ {
				failures = failuresOf(t, func(t tester) {
					checks()[i].run(t, func(ids []int64) points.Store { return m.store(newRefStore(ids)) })
				})
			}
			require.NotEmpty(t, failures, "the check %q passes", m.check)
			assert.Contains(t, strings.Join(strings.Fields(failures[0]), " "), m.message)
		})
	}
}

// Reports that overlap are a fault, which no store shows reliably.
func TestConcurrentProgress(t *testing.T) {
	p := new(progress)
	p.mu.Lock()
	p.report(1, 2)
	p.mu.Unlock()
	r := &recorder{ctx: t.Context()}
	var check sync.WaitGroup
	check.Go(func() { p.require(r, 2) })
	check.Wait()
	require.Len(t, r.failures, 1)
	assert.Contains(t, r.failures[0], "must report its progress in one call at a time")
}

// failuresOf runs a check that must fail, and returns its failures. It runs in a bubble, so that a mutant can wait for the
// reads or the cancellation that show its fault, without waiting forever.
func failuresOf(t *testing.T, check func(tester)) (failures []string) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{ctx: t.Context()}
		done := make(chan struct{})
		go func() { // FailNow ends it
			defer close(done)
			check(r)
		}()
		<-done
		failures = r.failures
	})
	return failures
}

// A nil store, or a nil pointer as one, is one failure, not a panic.
func TestNilStoreFails(t *testing.T) {
	t.Parallel()
	for _, store := range []points.Store{nil, (*refStore)(nil)} {
		failures := failuresOf(t, func(t tester) { requireStore(t, store) })
		require.Len(t, failures, 1)
		assert.Contains(t, failures[0], "newStore must return a store")
	}
}

// A recorder is a tester that records failures.
type recorder struct {
	ctx      context.Context
	mu       sync.Mutex
	failures []string
}

func (r *recorder) Context() context.Context { return r.ctx }
func (r *recorder) FailNow()                 { runtime.Goexit() }
func (r *recorder) Skip(...any)              { runtime.Goexit() }
func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}
