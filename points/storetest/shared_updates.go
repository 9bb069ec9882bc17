package storetest

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

// A recording is two engines, "a" and "b", that record updates through two stores.
type recording struct{ a, b sharedState }

func newRecording(t tester, open sharedOpener) recording {
	opened := open(upTo(3))
	r := recording{openState(t, opened), openState(t, opened)}
	r.a.start(time.Hour)
	return r
}

// record records an update twice: of "b" if its ID is even.
func (r recording) record(u points.SharedUpdate) points.SharedStatus {
	state := r.a
	if u.Instance = "a"; u.ID%2 == 0 {
		state, u.Instance = r.b, "b"
	}
	u.InstanceID = instanceID(u.Instance)
	request := points.SyncRequest{Instance: u.Instance, Interval: time.Hour, Update: &u}
	state.sync(request)
	return state.sync(request).Status
}

// runningUpdate records an update that is running, and then that it has ended.
func runningUpdate(t tester, open sharedOpener) {
	r := newRecording(t, open)
	before := r.a.status().Time
	status := r.record(points.SharedUpdate{ID: 1})
	require.Len(t, status.Updates, 1, "SharedStatus.Updates with a running update")
	running := status.Updates[0]
	require.False(t, running.Started.Before(before) || running.Started.After(status.Time), "SharedUpdate.Started")
	require.Equal(t, points.SharedUpdate{
		ID: 1, Instance: "a", InstanceID: instanceID("a"), Started: running.Started,
	}, running)

	ended := points.SharedUpdate{ID: 1, Duration: time.Second, Users: 3, Outcome: points.UpdateSucceeded}
	status = r.record(ended)
	ended.Instance, ended.InstanceID, ended.Started = "a", instanceID("a"), running.Started
	require.Equal(t, []points.SharedUpdate{ended}, status.Updates, "SharedStatus.Updates after the update has ended")
	require.Equal(t, ended, status.LastSuccess, "SharedStatus.LastSuccess")
	require.Zero(t, status.LastFailure, "SharedStatus.LastFailure")
	ended.Outcome = points.UpdateFailed
	status = r.record(ended)
	require.Equal(t, points.UpdateSucceeded, status.Updates[0].Outcome, "an outcome must not change")
	require.Zero(t, status.Failures, "an outcome must not change")
}

// outcomes records updates that have ended. Failures count until a success; skipped and cancelled updates are neither.
func outcomes(t tester, open sharedOpener) {
	const message = "lost connection: \"Ende\"\n\tüber"
	r := newRecording(t, open)
	for i, test := range []struct {
		outcome           points.UpdateOutcome
		failures, skipped uint64
	}{
		{points.UpdateFailed, 1, 0},
		{points.UpdateSkipped, 1, 1},
		{points.UpdateFailed, 2, 1},
		{points.UpdateCancelled, 2, 1},
		{points.UpdateUnfinished, 2, 1},
		{points.UpdateSkipped, 2, 2},
		{points.UpdateFailed, 3, 2},
		{points.UpdateSucceeded, 0, 2},
		{points.UpdateFailed, 1, 2},
	} {
		update := points.SharedUpdate{ID: uint64(i) + 10, Users: 1, Outcome: test.outcome}
		if test.outcome == points.UpdateFailed {
			update.Err = message
		}
		if test.outcome != points.UpdateUnfinished {
			update.Duration = time.Microsecond
		}
		before := r.a.status().Time
		status := r.record(update)
		why := fmt.Sprintf("after update %d, which is %v", i, test.outcome)
		require.EqualValues(t, test.failures, status.Failures, "SharedStatus.Failures "+why)
		require.Equal(t, test.skipped, status.Skipped, "SharedStatus.Skipped "+why)
		got := status.Updates[0]
		if test.outcome == points.UpdateSkipped {
			require.NotEqual(t, update.ID, got.ID, "SharedStatus.Updates must not have a skipped update")
			continue
		}
		require.Equal(t, update.ID, got.ID, "SharedStatus.Updates has the latest update first")
		require.False(t, got.Started.Before(before.Add(-update.Duration)) || got.Started.After(status.Time),
			"SharedUpdate.Started is Duration before the first Sync with the update")
		require.Equal(t, update.Err, got.Err, "SharedUpdate.Err")
	}
}

// latestUpdates records more updates than a status has. The latest success and failure are known for longer.
func latestUpdates(t tester, open sharedOpener) {
	r := newRecording(t, open)
	r.record(points.SharedUpdate{ID: 1, Outcome: points.UpdateFailed, Err: "lost connection"})
	r.record(points.SharedUpdate{ID: 2, Outcome: points.UpdateSucceeded})
	r.record(points.SharedUpdate{ID: 3, Outcome: points.UpdateFailed, Err: "lost connection"})
	for i := range uint64(points.MaxSharedUpdates + 2) {
		r.record(points.SharedUpdate{ID: 10 + i, Outcome: points.UpdateCancelled})
	}
	const largest = math.MaxUint64
	r.record(points.SharedUpdate{ID: largest, Outcome: points.UpdateCancelled})
	var status points.SharedStatus
	for i := range uint64(points.MaxSharedUpdates) {
		status = r.record(points.SharedUpdate{ID: 1000 + i, Outcome: points.UpdateSkipped})
	}
	require.EqualValues(t, points.MaxSharedUpdates, status.Skipped, "SharedStatus.Skipped")
	require.Len(t, status.Updates, points.MaxSharedUpdates, "SharedStatus.Updates")
	require.Equal(t, uint64(largest), status.Updates[0].ID, "SharedStatus.Updates has the latest update first")
	require.EqualValues(t, 10+points.MaxSharedUpdates+1, status.Updates[1].ID, "SharedStatus.Updates is in order")
	for i := 1; i < len(status.Updates); i++ {
		require.False(t, status.Updates[i].Started.After(status.Updates[i-1].Started), "SharedStatus.Updates is in order")
	}
	require.EqualValues(t, 2, status.LastSuccess.ID, "SharedStatus.LastSuccess after many other updates")
	require.EqualValues(t, 3, status.LastFailure.ID, "SharedStatus.LastFailure after many other updates")
	require.Equal(t, "lost connection", status.LastFailure.Err, "SharedStatus.LastFailure after many other updates")
	require.Equal(t, 1, status.Failures, "SharedStatus.Failures after many other updates")
}

// instances tests SharedStatus.Instances.
func instances(t tester, open sharedOpener) {
	opened := open(upTo(3))
	first, second := openState(t, opened), openState(t, opened)
	const namesake = 1 // the ID of a second "b"
	sync := func(state sharedState, instance string, starting, stopping bool) []points.SharedInstance {
		status := state.sync(points.SyncRequest{
			Instance: instance, Starting: starting, Stopping: stopping, Interval: time.Hour,
		}).Status
		for _, i := range status.Instances {
			require.False(t, i.Seen.After(status.Time) || i.Started.After(i.Seen), "SharedInstance.Started and Seen")
		}
		return status.Instances
	}
	names := func(instances []points.SharedInstance) (names []string) {
		for _, i := range instances {
			names = append(names, i.Instance)
		}
		return names
	}
	require.Empty(t, first.status().Instances, "SharedStatus.Instances before the first Sync")
	before := first.status().Time
	require.Equal(t, []string{"b"}, names(sync(first, "b", true, false)), "SharedStatus.Instances")
	got := sync(second, "a", true, false)
	require.Equal(t, []string{"a", "b"}, names(got), "SharedStatus.Instances is in order")
	require.False(t, got[1].Started.Before(before), "SharedInstance.Started")
	require.Equal(t, []string{"a", "b", "ä"}, names(sync(second, "ä", true, false)), "SharedStatus.Instances is in order")

	again := sync(first, "b", false, false)
	require.Equal(t, got[1].Started, again[1].Started, "SharedInstance.Started stays until the next start")
	require.True(t, again[1].Seen.After(got[1].Seen), "SharedInstance.Seen is the latest Sync")
	again = sync(first, "b", true, false)
	require.True(t, again[1].Started.After(got[1].Started), "SharedInstance.Started is the latest start")

	require.Equal(t, []string{"a", "b"}, names(sync(second, "ä", false, true)),
		"an engine that stops leaves the instances")
	both := second.sync(points.SyncRequest{Instance: "b", InstanceID: namesake, Starting: true, Interval: time.Hour})
	require.Equal(t, []string{"a", "b", "b"}, names(both.Status.Instances), "two engines with one name are two instances")
	ids := []uint64{both.Status.Instances[1].ID, both.Status.Instances[2].ID}
	require.ElementsMatch(t, []uint64{instanceID("b"), namesake}, ids, "SharedInstance.ID")
	both = second.sync(points.SyncRequest{Instance: "b", InstanceID: namesake, Stopping: true, Interval: time.Hour})
	require.Equal(t, instanceID("b"), both.Status.Instances[1].ID, "of two engines with one name, one stops")
	for left := points.InstanceTimeout + 100*time.Millisecond; left > 0; left -= time.Second {
		<-time.After(min(left, time.Second))
		require.Contains(t, names(sync(first, "b", false, false)), "b", "an engine that calls Sync every second")
	}
	require.Equal(t, []string{"b"}, names(first.status().Instances),
		"an engine that has not called Sync for InstanceTimeout leaves the instances")
}

// sharedEndedContexts makes calls with contexts that have already ended.
func sharedEndedContexts(t tester, open sharedOpener) {
	opened := open(upTo(3))
	state := openState(t, opened)
	state.start(time.Hour)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	paused := true
	for _, ctx := range []context.Context{cancelled, expired} {
		_, err := state.AnswerBatch(ctx, 1, 2)
		require.ErrorIs(t, err, ctx.Err(), "AnswerBatch with an ended context")
		_, err = state.Sync(ctx, points.SyncRequest{Instance: "a", TickNow: true, Interval: time.Hour})
		require.ErrorIs(t, err, ctx.Err(), "Sync with an ended context")
		_, err = state.Configure(ctx, points.ScheduleChange{Paused: &paused})
		require.ErrorIs(t, err, ctx.Err(), "Configure with an ended context")
	}
	status := state.status()
	require.Zero(t, status.Ticks, "a Sync with an ended context must change nothing")
	require.False(t, status.Paused, "a Configure with an ended context must change nothing")
	require.True(t, state.answer(1, 2).PreviousTimestamp.IsZero(),
		"an AnswerBatch with an ended context must take no timestamp")
}
