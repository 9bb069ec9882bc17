package storetest

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

// ticksAreClaimedOnce calls Sync concurrently through several stores, much more often than a tick is due.
func ticksAreClaimedOnce(t tester, open sharedOpener) {
	const enough, stores, goroutines, interval = 20, 3, 9, 20 * time.Millisecond
	opened := open(upTo(3))
	state := openState(t, opened)
	before := state.start(interval)
	states := make([]sharedState, stores)
	for i := range states {
		states[i] = openState(t, opened)
	}
	deadline := time.Now().Add(20 * time.Second)
	var ticks atomic.Uint64
	var claims [goroutines][]points.SharedStatus
	var wg sync.WaitGroup
	for i := range goroutines {
		wg.Go(func() {
			for ticks.Load() < enough && time.Now().Before(deadline) {
				result, err := states[i%stores].Sync(t.Context(), points.SyncRequest{
					Instance: strconv.Itoa(i), InstanceID: uint64(i), //nolint:gosec // not negative
					Interval: interval, MinNumber: rand.IntN(points.MaxPoints + 1),
				})
				if !assert.NoError(t, err, "Sync") {
					return
				}
				if result.Claimed {
					claims[i] = append(claims[i], result.Status)
				}
				ticks.Store(max(ticks.Load(), result.Status.Ticks))
				<-time.After(time.Millisecond)
			}
		})
	}
	wg.Wait()
	require.GreaterOrEqual(t, ticks.Load(), uint64(enough), "a tick is due every %v: number of ticks", interval)
	all := slices.Concat(claims[:]...)
	slices.SortFunc(all, func(a, b points.SharedStatus) int { return a.NextTick.Compare(b.NextTick) })
	require.EqualValues(t, len(all), state.status().Ticks, "exactly one Sync must claim a tick: number of ticks")
	for i, claim := range all {
		require.EqualValues(t, i+1, claim.Ticks, "a claim must count its tick")
		require.False(t, claim.Time.Before(before.NextTick), "no Sync may claim a tick before it is due")
		next := before.NextTick.Add(interval)
		require.False(t, claim.NextTick.Before(next), "the next tick must be due a whole interval after this one")
		latest := claim.Time.Add(interval)
		if next.After(latest) {
			latest = next
		}
		require.False(t, claim.NextTick.After(latest),
			"the next tick must be due an interval after this one, or after the claim if that time has passed")
		before = claim
	}
}

// deathAfterClaim lets an engine claim a tick and never call again. Other engines still claim the next ticks.
func deathAfterClaim(t tester, open sharedOpener) {
	opened := open(upTo(3))
	dead, other := openState(t, opened), openState(t, opened)
	dead.start(time.Millisecond)
	claim := dead.claim(points.SyncRequest{Interval: time.Millisecond})
	require.EqualValues(t, 1, claim.Ticks)
	for ticks := range uint64(3) {
		claim = other.claim(points.SyncRequest{Instance: "b", Interval: time.Millisecond})
		require.Equal(t, ticks+2, claim.Ticks, "number of ticks")
	}
}

// firstTick tests SyncRequest.TickNow and Stopping.
func firstTick(t tester, open sharedOpener) {
	now := points.SyncRequest{Starting: true, TickNow: true, Interval: time.Hour}
	pauseTicks := func(s sharedState) { paused := true; s.configure(points.ScheduleChange{Paused: &paused}) }
	succeeded := now
	succeeded.Update = &points.SharedUpdate{ID: 1, Instance: "a", Outcome: points.UpdateSucceeded}
	stopping := now
	stopping.Starting, stopping.Stopping = false, true
	for name, test := range map[string]struct {
		before func(state sharedState)
		sync   points.SyncRequest
		claims bool
	}{
		"new state":                 {func(sharedState) {}, now, true},
		"again":                     {func(s sharedState) { require.True(t, s.sync(now).Claimed) }, now, false},
		"after a successful update": {func(s sharedState) { s.start(time.Hour); s.sync(succeeded) }, now, false},
		"paused":                    {pauseTicks, now, false},
		"stopping":                  {func(s sharedState) { s.start(time.Hour) }, stopping, false},
		"stopping when a tick is due": {func(s sharedState) {
			s.start(time.Millisecond)
			<-time.After(10 * time.Millisecond)
		}, stopping, false},
	} {
		opened := open(upTo(3))
		state := openState(t, opened)
		test.before(state)
		before := state.status().Time
		result := openState(t, opened).sync(test.sync)
		require.Equal(t, test.claims, result.Claimed, "Sync claims the first tick: %s", name)
		if result.Claimed {
			requireWholeInterval(t, before, result.Status)
		}
	}
}

// pause tests ScheduleChange.Paused.
func pause(t tester, open sharedOpener) {
	const interval = 10 * time.Millisecond
	opened := open(upTo(3))
	state, other := openState(t, opened), openState(t, opened)
	state.start(interval)
	yes, no := true, false
	for range 3 {
		state.claim(points.SyncRequest{Interval: interval})
		status := other.configure(points.ScheduleChange{Paused: &yes})
		require.True(t, status.Paused, "SharedStatus.Paused after a pause")
		require.Zero(t, status.NextTick, "SharedStatus.NextTick during a pause")
		for range 5 {
			<-time.After(interval)
			result := state.sync(points.SyncRequest{Interval: interval})
			require.False(t, result.Claimed, "no Sync may claim a tick after Configure has paused the ticks")
			require.True(t, result.Status.Paused, "SharedStatus.Paused during a pause")
			require.Equal(t, status.Ticks, result.Status.Ticks, "number of ticks during a pause")
		}
		before := state.status().Time
		status = state.configure(points.ScheduleChange{Paused: &no})
		require.False(t, status.Paused, "SharedStatus.Paused after the pause")
		requireWholeInterval(t, before, status)
		require.Equal(t, status.NextTick, state.configure(points.ScheduleChange{Paused: &no}).NextTick,
			"Paused that is not changed must not change the next tick")
	}
}

// requireWholeInterval checks that the next tick comes an interval after a change, which came after before.
func requireWholeInterval(t tester, before time.Time, status points.SharedStatus) {
	require.False(t, status.NextTick.Before(before.Add(status.Interval)),
		"the next tick must come a whole interval after a change or the first tick")
	require.False(t, status.NextTick.After(status.Time.Add(status.Interval)),
		"the next tick must come an interval after a change or the first tick, not later")
}

// interval tests when the interval of an engine applies, and ScheduleChange.Interval.
func interval(t tester, open sharedOpener) {
	opened := open(upTo(3))
	state, other := openState(t, opened), openState(t, opened)
	requireInterval := func(want time.Duration, got points.SharedStatus, why string) {
		require.Equal(t, want, got.Interval, why)
	}
	require.Zero(t, state.status().Interval, "SharedStatus.Interval before the first Sync")
	before := state.status().Time
	status := state.start(time.Hour)
	requireInterval(time.Hour, status, "interval of the first engine")
	requireWholeInterval(t, before, status)
	require.Equal(t, status.NextTick, other.sync(points.SyncRequest{
		Instance: "b", Starting: true, Interval: time.Hour,
	}).Status.NextTick, "an engine that starts with the same interval must not change the next tick")

	minute := time.Minute
	before = state.status().Time
	status = other.configure(points.ScheduleChange{Interval: &minute})
	requireInterval(time.Minute, status, "interval after Configure")
	requireWholeInterval(t, before, status)
	requireInterval(time.Minute, other.start(time.Hour), "interval after a start with the same Config.Interval")
	status = state.sync(points.SyncRequest{Interval: time.Second}).Status
	requireInterval(time.Minute, status, "interval after a Sync that is no start")
	before = state.status().Time
	status = state.start(2 * time.Hour)
	requireInterval(2*time.Hour, status, "interval after a start with another Config.Interval")
	requireWholeInterval(t, before, status)

	// A state that was created again while engines run gets their interval.
	again := openState(t, open(upTo(3)))
	before = again.status().Time
	status = again.sync(points.SyncRequest{Interval: time.Minute}).Status
	requireInterval(time.Minute, status, "interval after a first Sync that is no start")
	requireWholeInterval(t, before, status)
	require.Equal(t, status.NextTick, again.start(time.Minute).NextTick,
		"an engine that starts with the same interval must not change the next tick")

	// A shorter interval applies at once.
	short := time.Millisecond
	other.configure(points.ScheduleChange{Interval: &short})
	state.claim(points.SyncRequest{Interval: 2 * time.Hour})
}
