package storetest

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/sharedtest"
	"github.com/pointsapp/pointsapp/points"
)

// newSharedStores returns stores on a database in memory, whose calls wait a little at each position.
func newSharedStores(ids []int64, fault sharedtest.Fault) SharedStores {
	users := make([]points.User, 0, len(ids))
	for _, id := range ids {
		users = append(users, points.User{ID: id})
	}
	database := sharedtest.New(users)
	database.Fault = fault
	database.At = func(context.Context, sharedtest.Position) { <-time.After(rand.N(100 * time.Microsecond)) }
	return SharedStores{Open: database.Open, Crash: database.Crash}
}

func TestCorrectSharedStatePasses(t *testing.T) {
	for _, c := range sharedChecks() {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.run(t, func(ids []int64) SharedStores { return newSharedStores(ids, sharedtest.None) })
			})
		})
	}
}

// The same in real time.
func TestRunShared(t *testing.T) {
	RunShared(t, func(_ testing.TB, ids []int64) SharedStores { return newSharedStores(ids, sharedtest.None) })
}

func TestCrashIsOptional(t *testing.T) {
	failures := failuresOf(t, func(t tester) {
		crash(t, func(ids []int64) SharedStores { return SharedStores{Open: newSharedStores(ids, sharedtest.None).Open} })
	})
	assert.Empty(t, failures)
}

func TestSharedMutantsFail(t *testing.T) {
	mutants := []struct {
		fault   sharedtest.Fault
		check   string
		message string
	}{
		{sharedtest.SnapshotIsOlder, "one order", "users and min number of a batch must be of one moment"},
		{sharedtest.RepeatableRead, "one order", "users and min number of a batch must be of one moment"},
		{sharedtest.MinDuringBatch, "one order", "users and min number of a batch must be of one moment"},
		{sharedtest.StateInProcess, "one order", "each batch must return the last timestamp of the batch before it"},
		{sharedtest.InTheFuture, "one order", "timestamps must not be in the future"},
		{sharedtest.NotConsecutive, "consecutive timestamps", "the 5000 timestamps of a batch, a microsecond apart"},
		{sharedtest.NoBound, "crash", "a batch must not be the first one again after a crash"},
		{sharedtest.LosesSchedule, "crash", "a pause must survive a crash"},
		{sharedtest.ClaimedTwice, "ticks are claimed once", "no Sync may claim a tick before it is due"},
		{sharedtest.WaitsForUpdate, "an engine dies after a claim", "but no Sync claims one"},
		{sharedtest.TickNowAlways, "first tick", "Sync claims the first tick: "},
		{sharedtest.DelaysSecond, "first tick", "must come an interval after a change or the first tick, not later"},
		{sharedtest.StoppingClaims, "first tick", "Sync claims the first tick: stopping"},
		{sharedtest.TicksWhilePaused, "pause", "no Sync may claim a tick after Configure has paused the ticks"},
		{sharedtest.ResumesAtOnce, "pause", "the next tick must come a whole interval after a change"},
		{sharedtest.ForgetsInterval, "interval", "an engine that starts with the same interval must not change the next tick"},
		{sharedtest.StartSetsInterval, "interval", "interval after a first Sync that is no start"},
		{sharedtest.ChangesOutcome, "running update", "an outcome must not change"},
		{sharedtest.CountsTwice, "outcomes of updates", "SharedStatus.Failures after update 0, which is failed"},
		{sharedtest.ForgetsSuccess, "latest updates", "SharedStatus.LastSuccess after many other updates"},
		{sharedtest.ListsSkipped, "outcomes of updates", "SharedStatus.Updates must not have a skipped update"},
		{sharedtest.NameIsIdentity, "instances", "two engines with one name are two instances"},
		{sharedtest.KeepsInstances, "instances", "has not called Sync for InstanceTimeout leaves the instances"},
		{sharedtest.IgnoresContext, "shared state with ended contexts", "AnswerBatch with an ended context"},
	}
	for _, c := range sharedChecks() {
		found := false
		for _, m := range mutants {
			found = found || m.check == c.name
		}
		assert.True(t, found, "no mutant fails %q", c.name)
	}
	for _, m := range mutants {
		t.Run(string(m.fault), func(t *testing.T) {
			i := slices.IndexFunc(sharedChecks(), func(c sharedCheck) bool { return c.name == m.check })
			require.GreaterOrEqual(t, i, 0, "there is no check %q", m.check)
			const runs = 10
			var failures []string
			for run := 0; run < runs && len(failures) == 0; run++ {
				failures = failuresOf(t, func(t tester) {
					sharedChecks()[i].run(t, func(ids []int64) SharedStores { return newSharedStores(ids, m.fault) })
				})
			}
			require.NotEmpty(t, failures, "the check %q passes", m.check)
			assert.Contains(t, strings.Join(strings.Fields(failures[0]), " "), m.message)
		})
	}
}
