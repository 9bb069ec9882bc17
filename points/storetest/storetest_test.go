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
	t.Run("locked for a batch", func(t *testing.T) {
		Run(t, func(_ testing.TB, ids []int64) points.Store { return newPlain(ids) })
	})
	t.Run("immediate", func(t *testing.T) {
		Run(t, func(_ testing.TB, ids []int64) points.Store { return immediate{newPlain(ids)} })
	})
	t.Run("all in one transaction", func(t *testing.T) {
		Run(t, func(_ testing.TB, ids []int64) points.Store {
			p := newPlain(ids)
			p.batch = len(ids) + 1
			return p
		})
	})
}

// Every fault is found by the check that is for it, which says what is wrong. The first ones are those of the Elixir
// original and its siblings; the others are what goes wrong next to them.
func TestFaultyStoresFail(t *testing.T) {
	type fault struct {
		name  string
		check string
		says  string
		store func(*plain) points.Store
	}
	faults := []fault{
		{"batches by OFFSET of rows that move", "every user", "after the update with key 0; first, user 2001 has 0 points", pagesByOffset},
		{">= for >", "strictly above", "of those with more than 0 points, user 30 does not belong to them", orEqual},
		{"never 100", "0 and 100 points", "number of users with 100 points", draws(drawUpTo99)},
		{"never 0", "0 and 100 points", "number of users with more than 0 points", draws(drawFrom1)},
		{"nil for nobody", "empty, never nil", "an empty slice rather than nil", nilForNobody},
		{"updates at once mix", "two updates at once", "users do not after the update with key", mixes},
		{"random points", "same key, same points", "users do not after the update with key 5", draws(randomDraw)},

		{"min as a byte", "strictly above", "of those with more than -9223372036854775808 points, user", minAsAByte},
		{"one point more", "strictly above", "users do not after the update", draws(drawOneMore)},
		{"limit ignored", "limit", "number of users for limit 1", ignoresLimit},
		{"fewer than there are", "limit", "number of users for limit 3", atMostTwo},
		{"a user twice in a read", "limit", "comes twice in one read", repeatsAUser},
		{"returns its own slice", "slices are the caller's", "when what another has is written to", sharesItsRows},
		{"returns one buffer", "slices are the caller's", "when what another has is written to", reusesABuffer},
		{"returns parts of one buffer", "slices are the caller's", "when what another has is appended to", cutsFromABuffer},

		{"draws by half the id", "any ids", "users do not after the update with key 0", draws(drawByHalfTheID)},
		{"draws by half the key", "any ids", "users do not after the update with key 9223372036854775808", draws(drawByHalfTheKey)},
		{"only ids 1..n", "any ids", "first, user -9223372036854775808 has 0 points", onlyContiguous},
		{"only ids from 0 on", "any ids", "first, user -9223372036854775808 has 0 points", onlyFromZero},
		{"an error for no users", "every user", "no rows", failsForNobody},
		{"counts one more", "every user", "must return the number of users", counts(func(n int64) int64 { return n + 1 })},
		{"counts one fewer", "every user", "must return the number of users", counts(func(n int64) int64 { return max(n-1, 0) })},
		{"counts only the last batch", "every user", "must return the number of users", counts(func(n int64) int64 { return n % 2000 })},
		{"draws a user twice, and counts it so", "every user", "must return the number of users", drawsTwice(true)},
		{"draws a user twice", "reads are of one moment", "user 1 was updated, and updated again 1 µs later", drawsTwice(false)},
		{"returns before it is done", "every user", "users do not after the update", returnsEarly},

		{"goes back", "every user", "must not decrease", reports(func(ctx context.Context, done, total int64) {
			points.ReportProgress(ctx, done, total)
			points.ReportProgress(ctx, done-1, total)
		})},
		{"more than there is", "every user", "must not decrease, nor be more", reports(func(ctx context.Context, done, _ int64) {
			points.ReportProgress(ctx, done+1, done)
		})},
		{"never there", "every user", "must be that all is done", reports(func(ctx context.Context, done, total int64) {
			points.ReportProgress(ctx, done/2, total)
		})},

		{"updated_at stays", "times", "an update must set updated_at", rows(func(u *points.User) { u.UpdatedAt = u.InsertedAt })},
		{"inserted_at changes", "times", "an update must leave inserted_at", rows(func(u *points.User) { u.InsertedAt = u.UpdatedAt })},
		{"no inserted_at", "times", "inserted_at of user 1 must be set", rows(func(u *points.User) { u.InsertedAt = time.Time{} })},
		{"nanoseconds", "times", "must have a precision of a microsecond", rows(func(u *points.User) { u.InsertedAt = u.InsertedAt.Add(1) })},
		{"local time", "times", "updated_at of user 1 must be in UTC", rows(func(u *points.User) {
			u.UpdatedAt = u.UpdatedAt.In(time.FixedZone("CET", 3600))
		})},

		{"reads a stale copy", "reads beside updates", "a read must be of a moment between its call and its return", readsAStaleCopy},
		{"sets to zero before it draws", "reads beside updates", "a read must be of a moment between its call and its return", zeroesFirst},
		{"users are away while they are updated", "reads beside updates", "user 20000 is missing, 19999 users of 20000 are there", deletesAndInserts},
		{"reads fail beside an update", "reads beside updates", "a read beside an update", failsReads},
		{"torn reads", "reads are of one moment", "a read must be of one moment", tearsReads},
		{"torn rows", "reads are of one moment", "a user's points and updated_at must be of one moment", tearsRows},
		{"undone and done again", "reads are of one moment", "an earlier read saw updated", undoes},
		{"refuses without a reason", "two updates at once", "UpdateAll while another update runs", refusesWithoutReason},

		{"reads heed no context", "ended contexts", "UsersAbove with a context that had ended", heedlessReads},
		{"updates heed no context", "ended contexts", "UpdateAll with a context that had ended", heedlessUpdates},
		{"hides why it stopped", "ended contexts", "UpdateAll with a context that had ended", hidesTheReason},
		{"looks at its context once", "cancelled update", "UpdateAll must return soon after its context ends", looksOnce},
		{"stops without an error", "cancelled update", "users do not after the update", stopsSilently},
		{"goes on where it was stopped", "cancelled update", "users do not after the update", resumes},
		{"stays taken when it is stopped", "cancelled update", "points: an update is running", staysTaken},
		{"immediate reads wait for an update", "immediate reads", "a read of a store with ImmediateReads must not wait", locksOutReads},
	}
	for _, c := range checks() {
		assert.True(t, slices.ContainsFunc(faults, func(f fault) bool { return f.check == c.name }), "%q finds no fault", c.name)
	}
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			i := slices.IndexFunc(checks(), func(c check) bool { return c.name == fault.check })
			require.GreaterOrEqual(t, i, 0, "there is no check %q", fault.check)
			failures := failuresOf(t, checks()[i], func(ids []int64) points.Store { return fault.store(newPlain(ids)) })
			require.NotEmpty(t, failures, "%q has not found it", fault.check)
			assert.Contains(t, strings.Join(strings.Fields(failures[0]), " "), fault.says)
		})
	}
}

// failuresOf runs a check that is to fail, and returns what it says. In synctest, so that a faulty store can wait for the
// reads, or the cancellation, that show its fault, and never waits in vain.
func failuresOf(t *testing.T, c check, open opener) (failures []string) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{ctx: t.Context()}
		done := make(chan struct{})
		go func() { // that FailNow may end
			defer close(done)
			c.run(r, open)
		}()
		<-done
		failures = r.failures
	})
	return failures
}

// A recorder keeps the failures of a check.
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
