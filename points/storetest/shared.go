package storetest

import (
	"fmt"
	"hash/fnv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

// NewShared creates users with these ids and 0 points each, and a new shared state. The ids are
// ascending and unique. It fails tb if it cannot, and registers cleanups with tb.
type NewShared func(tb testing.TB, ids []int64) SharedStores

// SharedStores are stores on the same users with the same shared state.
type SharedStores struct {
	// Open opens one more store, as another process does.
	Open func() points.Store

	// Crash makes the database lose what it can lose in a crash, and returns when it is about to recover. Calls that are
	// in progress, and calls during the recovery, may fail. It may be nil: then crashes are not tested.
	Crash func()
}

// RunShared tests the [points.SharedState] of stores that newShared creates, in one subtest for each requirement. Run
// tests their other methods.
//
// Each subtest has its own users and state, and opens up to seven stores on them, whose calls are concurrent. On a
// database, all subtests together take some ten seconds (half of that is points.InstanceTimeout), plus the time of
// about twenty calls of newShared and two of Crash.
func RunShared(t *testing.T, newShared NewShared) {
	for _, c := range sharedChecks() {
		t.Run(c.name, func(t *testing.T) {
			c.run(t, func(ids []int64) SharedStores { return newShared(t, ids) })
		})
	}
}

type sharedOpener func(ids []int64) SharedStores

type sharedCheck struct {
	name string
	run  func(t tester, open sharedOpener)
}

func sharedChecks() []sharedCheck {
	return []sharedCheck{
		{"one order", oneOrder},
		{"consecutive timestamps", consecutiveTimestamps},
		{"ticks are claimed once", ticksAreClaimedOnce},
		{"an engine dies after a claim", deathAfterClaim},
		{"first tick", firstTick},
		{"pause", pause},
		{"interval", interval},
		{"running update", runningUpdate},
		{"outcomes of updates", outcomes},
		{"latest updates", latestUpdates},
		{"instances", instances},
		{"shared state with ended contexts", sharedEndedContexts},
		{"crash", crash},
	}
}

// A sharedState is a state with helpers for checks, which name the engine "a" unless they say otherwise.
type sharedState struct {
	points.SharedState

	t tester
}

// openState opens a store and returns its state.
func openState(t tester, stores SharedStores) sharedState {
	state := stores.Open().Capabilities().SharedState
	require.NotNil(t, state, "Capabilities().SharedState of a store")
	return sharedState{state, t}
}

// sync makes a Sync that must succeed.
func (s sharedState) sync(request points.SyncRequest) points.SyncResult {
	if request.Instance == "" {
		request.Instance = "a"
	}
	if request.InstanceID == 0 {
		request.InstanceID = instanceID(request.Instance)
	}
	result, err := s.Sync(s.t.Context(), request)
	require.NoError(s.t, err, "Sync")
	return result
}

// instanceID returns the InstanceID of the engine with this name, where names are unique. Most are above those of
// int64.
func instanceID(name string) uint64 {
	hash := fnv.New64a()
	hash.Write([]byte(name))
	return hash.Sum64()
}

// start makes the first Sync of an engine. No tick is due.
func (s sharedState) start(interval time.Duration) points.SharedStatus {
	result := s.sync(points.SyncRequest{Starting: true, Interval: interval})
	require.False(s.t, result.Claimed, "the first tick comes after an interval")
	return result.Status
}

// configure makes a Configure that must succeed.
func (s sharedState) configure(change points.ScheduleChange) points.SharedStatus {
	status, err := s.Configure(s.t.Context(), change)
	require.NoError(s.t, err, "Configure")
	return status
}

// status returns the status, by a change of nothing.
func (s sharedState) status() points.SharedStatus { return s.configure(points.ScheduleChange{}) }

// claim calls Sync until it claims a tick. The interval must be short.
func (s sharedState) claim(request points.SyncRequest) points.SharedStatus {
	const patience = 20 * time.Second
	for begin := time.Now(); ; <-time.After(time.Millisecond) {
		if result := s.sync(request); result.Claimed {
			return result.Status
		}
		require.Less(s.t, time.Since(begin), patience, "a tick is due every %v, but no Sync claims one", request.Interval)
	}
}

// answer makes an AnswerBatch that must succeed, and checks what is true of each batch.
func (s sharedState) answer(n, limit int) points.SharedBatch {
	batch, err := s.AnswerBatch(s.t.Context(), n, limit)
	require.NoError(s.t, err, "AnswerBatch")
	require.Empty(s.t, wrongBatch(batch, n, limit))
	return batch
}

// wrongBatch returns what is wrong with a batch of n queries, or "".
func wrongBatch(batch points.SharedBatch, n, limit int) string {
	first := batch.LastTimestamp.Add(-time.Duration(n-1) * time.Microsecond)
	switch {
	case batch.Users == nil:
		return "AnswerBatch must return an empty slice rather than nil"
	case len(batch.Users) > limit:
		return "AnswerBatch must return at most limit users"
	case batch.PreviousTimestamp.Location() != time.UTC || batch.LastTimestamp.Location() != time.UTC:
		return "timestamps must be in UTC"
	case batch.PreviousTimestamp.Nanosecond()%1000 != 0 || batch.LastTimestamp.Nanosecond()%1000 != 0:
		return "timestamps must have microsecond precision"
	case !first.After(batch.PreviousTimestamp):
		return fmt.Sprintf("the %d timestamps of a batch, a microsecond apart, must come after the one before them", n)
	}
	return ""
}
