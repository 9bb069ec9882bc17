package pgstore_test

import (
	"context"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
)

// openShared returns the shared state of a table on the pool. It creates what does not exist.
func openShared(t *testing.T, pool *pgxpool.Pool, cfg pgstore.Config) points.SharedState {
	t.Helper()
	cfg.Shared = true
	store, err := pgstore.New(pool, cfg)
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	return store.Capabilities().SharedState
}

// sharedUsers returns the pool of a new database with 1,000 users with points, and the shared state of their table.
func sharedUsers(t *testing.T) (points.SharedState, *pgxpool.Pool) {
	t.Helper()
	pool := pgtest.Pool(t)
	state := openShared(t, pool, pgstore.Config{})
	execSQL(t, pool, "INSERT INTO users (id, points) SELECT i, i % 101 FROM generate_series(1, 1000) AS i")
	return state, pool
}

// start registers a server that does not tick for an hour.
func start(t *testing.T, state points.SharedState, instance string) points.SyncResult {
	t.Helper()
	result, err := state.Sync(t.Context(), points.SyncRequest{
		Instance: instance, InstanceID: instanceID(instance), Starting: true, Interval: time.Hour,
	})
	require.NoError(t, err)
	return result
}

// instanceID returns the InstanceID of the server with this name.
func instanceID(name string) uint64 { return math.MaxUint64 - uint64(name[0]) }

// TestUnsharedServerIsWarned checks a table whose state other servers share, or have shared.
func TestUnsharedServerIsWarned(t *testing.T) {
	state, pool := sharedUsers(t)
	warnings := func() string {
		var log logBuffer
		store, err := pgstore.New(pool, pgstore.Config{Logger: log.logger()})
		require.NoError(t, err)
		require.NoError(t, store.Check(t.Context()))
		return log.String()
	}
	assert.Empty(t, warnings(), "no server has started")
	start(t, state, "a")
	assert.Contains(t, warnings(), "other servers (1) share the state of the table, but Config.Shared is not set here")
	_, err := state.Sync(t.Context(), points.SyncRequest{Instance: "a", InstanceID: instanceID("a"), Stopping: true})
	require.NoError(t, err)
	assert.Empty(t, warnings(), "the server has stopped")
}

// Engines work with the longest possible interval.
func TestLongestSharedInterval(t *testing.T) {
	state, _ := sharedUsers(t)
	start(t, state, "a")
	const longest = time.Duration(math.MaxInt64)
	status, err := state.Configure(t.Context(), points.ScheduleChange{Interval: new(longest)})
	require.NoError(t, err)
	assert.Equal(t, longest.Truncate(time.Microsecond), status.Interval)
	assert.True(t, status.NextTick.After(time.Now()), "%v", status.NextTick)
}

// A limit above the size of an array in PostgreSQL works.
func TestLargeSharedLimit(t *testing.T) {
	state, pool := sharedUsers(t)
	execSQL(t, pool, "UPDATE users_state SET min_number = 98")
	for _, limit := range []int{100, math.MaxInt32, math.MaxInt} {
		batch, err := state.AnswerBatch(t.Context(), 1, limit)
		require.NoError(t, err)
		assert.Len(t, batch.Users, 18, "%d", limit)
	}
}

// The order continues if another table gets the name of the users: calls that use either table take turns.
func TestOrderLockIsOfTheClock(t *testing.T) {
	state, pool := sharedUsers(t)
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(context.Background()) //nolint:errcheck // it ends the transaction, also if the test fails
	// A tick takes the lock, and does not use the users.
	_, err = tx.Exec(t.Context(), "SELECT users_sync('a', 1, true, 3600000000, true, 50, NULL, 0, 0, 0, '', false)")
	require.NoError(t, err)
	execSQL(t, pool, "ALTER TABLE users RENAME TO users_old; CREATE TABLE users (LIKE users_old INCLUDING ALL)")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = state.AnswerBatch(ctx, 1, 2)
	require.ErrorIs(t, err, context.DeadlineExceeded, "the transaction holds the order lock")
}

func TestSharedAnswers(t *testing.T) {
	state, pool := sharedUsers(t)
	execSQL(t, pool, "UPDATE users_state SET min_number = 98")
	before := queryOne[time.Time](t, pool, "SELECT clock_timestamp()")
	first, err := state.AnswerBatch(t.Context(), 10, 2)
	require.NoError(t, err)
	assert.Zero(t, first.PreviousTimestamp, "there was no query before the first")
	assert.True(t, first.LastTimestamp.After(before), "%v is not after %v", first.LastTimestamp, before)
	require.Len(t, first.Users, 2)
	for _, u := range first.Users {
		assert.Greater(t, u.Points, 98)
		assert.Equal(t, time.UTC, u.UpdatedAt.Location())
		assert.Equal(t, queryOne[time.Time](t, pool, "SELECT updated_at FROM users WHERE id = $1", u.ID).UTC(), u.UpdatedAt)
	}
	second, err := state.AnswerBatch(t.Context(), 3, 100)
	require.NoError(t, err)
	assert.Equal(t, first.LastTimestamp, second.PreviousTimestamp)
	assert.GreaterOrEqual(t, second.LastTimestamp.Sub(second.PreviousTimestamp), 3*time.Microsecond)
	assert.Len(t, second.Users, 18)

	execSQL(t, pool, "UPDATE users_state SET min_number = 100")
	third, err := state.AnswerBatch(t.Context(), 1, 2)
	require.NoError(t, err)
	assert.NotNil(t, third.Users)
	assert.Empty(t, third.Users)
	assert.Equal(t, second.LastTimestamp, third.PreviousTimestamp)
}

// Batches of several stores on one table have one order, without gaps or overlaps.
func TestSharedOneOrderOfBatches(t *testing.T) {
	first, pool := sharedUsers(t)
	execSQL(t, pool, "UPDATE users_state SET min_number = 50") // not 100, which no user has more than
	states := []points.SharedState{first, openShared(t, pool, pgstore.Config{Schema: "public"})}
	const goroutines, calls = 4, 50
	type batch struct{ previous, first, last time.Time }
	var mu sync.Mutex
	var batches []batch
	var wg sync.WaitGroup
	for i := range goroutines {
		wg.Go(func() {
			for n := 1; n <= calls; n++ {
				b, err := states[i%2].AnswerBatch(t.Context(), n, 2)
				if !assert.NoError(t, err) {
					return
				}
				assert.Len(t, b.Users, 2)
				mu.Lock()
				batches = append(batches, batch{b.PreviousTimestamp, b.LastTimestamp.Add(-time.Duration(n-1) * time.Microsecond), b.LastTimestamp})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(t, batches, goroutines*calls)
	slices.SortFunc(batches, func(a, b batch) int { return a.last.Compare(b.last) })
	var last time.Time
	for _, b := range batches {
		require.Equal(t, last, b.previous)
		require.True(t, b.first.After(last), "%v is not after %v", b.first, last)
		last = b.last
	}
	assert.False(t, last.After(queryOne[time.Time](t, pool, "SELECT clock_timestamp()")))
}

// A batch measures how long it waited for the order lock.
func TestSharedLockWait(t *testing.T) {
	state, pool := sharedUsers(t)
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // it has been rolled back
	_, err = tx.Exec(t.Context(), "SELECT FROM users_answer(1, 2, 0, false, 0)")
	require.NoError(t, err)
	answered := make(chan points.SharedBatch, 1)
	go func() {
		b, err := state.AnswerBatch(t.Context(), 1, 2)
		assert.NoError(t, err)
		answered <- b
	}()
	const waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted" +
		" AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
	require.Eventually(t, func() bool { return queryOne[int](t, pool, waiting) == 1 }, time.Minute, time.Millisecond)
	waits := time.Now()
	assert.Equal(t, 1, queryOne[int](t, pool, waiting))
	held := time.Since(waits)
	require.NoError(t, tx.Rollback(t.Context()))
	assert.GreaterOrEqual(t, (<-answered).LockWait, held)
}

func TestSharedTickIsClaimedOnce(t *testing.T) {
	first, pool := sharedUsers(t)
	states := []points.SharedState{first, openShared(t, pool, pgstore.Config{})}
	for i, state := range states {
		assert.False(t, start(t, state, string(rune('a'+i))).Claimed)
	}
	for tick := 1; tick <= 5; tick++ {
		execSQL(t, pool, "UPDATE users_state SET next_tick = 0, min_number = -1")
		var mu sync.Mutex
		claimed := 0
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				r, err := states[i%2].Sync(t.Context(), points.SyncRequest{
					Instance: string(rune('a' + i%2)), InstanceID: uint64(i % 2), Interval: time.Hour, MinNumber: 40 + i,
				})
				if assert.NoError(t, err) && r.Claimed {
					mu.Lock()
					claimed++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		assert.Equal(t, 1, claimed)
		assert.Equal(t, tick, queryOne[int](t, pool, "SELECT ticks FROM users_state"))
		assert.Contains(t, []int{40, 41, 42, 43}, queryOne[int](t, pool, "SELECT min_number FROM users_state"))
	}
}

func TestSharedSchedule(t *testing.T) {
	state, pool := sharedUsers(t)
	sync := func(r points.SyncRequest) points.SyncResult {
		t.Helper()
		r.Instance, r.MinNumber = "a", 7
		result, err := state.Sync(t.Context(), r)
		require.NoError(t, err)
		return result
	}
	untilTick := func(s points.SharedStatus) time.Duration { return s.NextTick.Sub(s.Time).Round(time.Minute) }

	s := sync(points.SyncRequest{Starting: true, Interval: time.Hour, TickNow: true})
	require.True(t, s.Claimed, "there was neither a tick nor an update")
	assert.Equal(t, time.Hour, s.Status.Interval)
	assert.Equal(t, time.Hour, untilTick(s.Status))
	assert.EqualValues(t, 1, s.Status.Ticks)
	assert.False(t, sync(points.SyncRequest{Starting: true, Interval: time.Hour, TickNow: true}).Claimed)

	configure := func(c points.ScheduleChange) points.SharedStatus {
		t.Helper()
		status, err := state.Configure(t.Context(), c)
		require.NoError(t, err)
		return status
	}
	day, paused, resumed := 24*time.Hour, true, false
	assert.Equal(t, day, untilTick(configure(points.ScheduleChange{Interval: &day})))
	execSQL(t, pool, "UPDATE users_state SET next_tick = 0")
	status := configure(points.ScheduleChange{Paused: &paused})
	assert.True(t, status.Paused)
	assert.Zero(t, status.NextTick)
	s = sync(points.SyncRequest{Starting: true, Interval: time.Hour})
	assert.False(t, s.Claimed, "a paused tick is not due")
	assert.Equal(t, day, s.Status.Interval, "the configured interval is that of the latest start")
	status = configure(points.ScheduleChange{Paused: &resumed})
	assert.False(t, status.Paused)
	assert.Equal(t, day, untilTick(status))
	assert.Equal(t, status.NextTick, configure(points.ScheduleChange{Paused: &resumed}).NextTick, "nothing changed")

	execSQL(t, pool, "UPDATE users_state SET next_tick = next_tick - $1", (day + time.Minute).Microseconds())
	s = sync(points.SyncRequest{})
	assert.True(t, s.Claimed)
	assert.Equal(t, day-time.Minute, untilTick(s.Status), "ticks keep their rhythm")
	s = sync(points.SyncRequest{Starting: true, Interval: time.Minute})
	assert.Equal(t, time.Minute, s.Status.Interval)
	assert.Equal(t, time.Minute, untilTick(s.Status))
}

func TestSharedUpdates(t *testing.T) {
	state, pool := sharedUsers(t)
	record := func(instance string, u points.SharedUpdate) points.SharedStatus {
		t.Helper()
		u.Instance, u.InstanceID = instance, instanceID(instance)
		r, err := state.Sync(t.Context(), points.SyncRequest{
			Instance: instance, InstanceID: u.InstanceID, Interval: time.Hour, Update: &u,
		})
		require.NoError(t, err)
		return r.Status
	}
	start(t, state, "a")
	start(t, state, "b")
	s := record("a", points.SharedUpdate{ID: 1 << 63, Users: 3})
	require.Len(t, s.Updates, 1)
	assert.Equal(t, points.SharedUpdate{ID: 1 << 63, Instance: "a", InstanceID: instanceID("a"), Started: s.Updates[0].Started, Users: 3}, s.Updates[0])
	assert.WithinDuration(t, s.Time, s.Updates[0].Started, time.Minute)

	failure := points.SharedUpdate{ID: 1 << 63, Users: 5, Duration: 7 * time.Millisecond, Outcome: points.UpdateFailed, Err: "no\x00 \xffdisk"}
	for range 2 {
		s = record("a", failure)
		assert.Equal(t, 1, s.Failures, "each update counts once")
		assert.Equal(t, "no disk", s.LastFailure.Err)
		assert.Equal(t, 7*time.Millisecond, s.LastFailure.Duration)
	}
	s = record("b", points.SharedUpdate{ID: 2, Duration: time.Second, Outcome: points.UpdateFailed})
	assert.Equal(t, 2, s.Failures)
	s = record("b", points.SharedUpdate{ID: 3, Duration: time.Second, Outcome: points.UpdateSkipped})
	assert.Equal(t, 2, s.Failures)
	assert.EqualValues(t, 1, s.Skipped)
	s = record("b", points.SharedUpdate{ID: 4, Duration: time.Second, Outcome: points.UpdateSucceeded, Users: 9})
	assert.Zero(t, s.Failures)
	assert.EqualValues(t, 4, s.LastSuccess.ID)
	assert.EqualValues(t, 9, s.LastSuccess.Users)

	// The latest success and failure survive many later updates, and so does what a server may repeat.
	skipped := points.SharedUpdate{ID: 5, Outcome: points.UpdateSkipped}
	assert.EqualValues(t, 2, record("a", skipped).Skipped)
	for id := range uint64(2 * points.MaxSharedUpdates) {
		s = record("b", points.SharedUpdate{ID: 100 + id, Duration: time.Microsecond, Outcome: points.UpdateCancelled})
	}
	assert.Len(t, s.Updates, points.MaxSharedUpdates)
	assert.EqualValues(t, 100+2*points.MaxSharedUpdates-1, s.Updates[0].ID, "the latest first")
	assert.EqualValues(t, 4, s.LastSuccess.ID)
	assert.Equal(t, uint64(1<<63), s.LastFailure.ID)
	assert.Zero(t, record("a", failure).Failures)
	assert.EqualValues(t, 2, record("a", skipped).Skipped)
	for id := range uint64(2 * points.MaxSharedUpdates) {
		s = record("a", points.SharedUpdate{ID: 200 + id, Duration: time.Microsecond, Outcome: points.UpdateSkipped})
	}
	assert.Len(t, s.Updates, points.MaxSharedUpdates, "skipped updates are not among them")
	assert.EqualValues(t, 2+2*points.MaxSharedUpdates, s.Skipped)
	assert.LessOrEqual(t, queryOne[int](t, pool, "SELECT count(*)::int FROM users_updates"), points.MaxSharedUpdates+3)

	assert.Equal(t, []string{"a", "b"}, instances(s))
	execSQL(t, pool, "UPDATE users_servers SET seen = seen - $1 WHERE instance = 'b'", points.InstanceTimeout.Microseconds())
	assert.Equal(t, []string{"a"}, instances(start(t, state, "a").Status), "b counts as gone")

	execSQL(t, pool, "UPDATE users_state SET next_tick = 0")
	r, err := state.Sync(t.Context(), points.SyncRequest{
		Instance: "a", InstanceID: instanceID("a"), Stopping: true, TickNow: true,
		Update: &points.SharedUpdate{ID: 9, Instance: "a", Duration: time.Microsecond, Outcome: points.UpdateCancelled},
	})
	require.NoError(t, err)
	assert.False(t, r.Claimed)
	assert.Empty(t, r.Status.Instances)
	r, err = state.Sync(t.Context(), points.SyncRequest{Instance: "a", InstanceID: instanceID("a")})
	require.NoError(t, err)
	assert.Empty(t, r.Status.Instances, "a late call of the server that has stopped")
	assert.True(t, slices.ContainsFunc(r.Status.Updates, func(u points.SharedUpdate) bool { return u.ID == 9 }))
}

func instances(s points.SharedStatus) []string {
	names := make([]string, len(s.Instances))
	for i, instance := range s.Instances {
		names[i] = instance.Instance
	}
	return names
}

// Two engines act as one: each timestamp is returned once, and each tick starts one update.
func TestSharedEngines(t *testing.T) {
	_, pool := sharedUsers(t)
	const interval, queries, ticks = 20 * time.Millisecond, 200, 5
	ctx, stop := context.WithCancel(t.Context())
	engines := make([]*points.Engine, 2)
	var running, querying sync.WaitGroup
	var mu sync.Mutex
	returned := make(map[time.Time]bool)
	for i := range engines {
		own, err := pgxpool.NewWithConfig(t.Context(), pool.Config())
		require.NoError(t, err)
		t.Cleanup(own.Close)
		engine, err := points.New(sharedStore(t, own, pgstore.Config{}), points.Config{
			Interval: interval, UpdateOnStart: true, Instance: string(rune('a' + i)),
		})
		require.NoError(t, err)
		engines[i] = engine
		running.Go(func() { assert.NoError(t, engine.Run(ctx)) })
		for range 4 {
			querying.Go(func() {
				for n := 0; n < queries || !t.Failed() && queryOne[int](t, pool, "SELECT ticks FROM users_state") < ticks; n++ {
					r, err := engine.Query(t.Context())
					if !assert.NoError(t, err) {
						return
					}
					mu.Lock()
					assert.False(t, returned[r.PreviousTimestamp], "%v was returned twice", r.PreviousTimestamp)
					returned[r.PreviousTimestamp] = true
					mu.Unlock()
				}
			})
		}
	}
	querying.Wait()
	stop()
	running.Wait()
	assert.Contains(t, returned, time.Time{}, "of the first query")
	status := start(t, sharedStore(t, pool, pgstore.Config{}).Capabilities().SharedState, "c").Status
	assert.GreaterOrEqual(t, status.Ticks, uint64(ticks))
	assert.LessOrEqual(t, len(status.Updates), int(status.Ticks))
	assert.NotZero(t, status.LastSuccess)
	for _, u := range status.Updates {
		assert.NotEqual(t, points.UpdateFailed, u.Outcome, "%+v", u)
	}
}

// TestConfigureOutlastsLockTimeout has a row of the state that is locked for longer than the lock timeout of the
// function, as by a server whose commit waits for a standby.
func TestConfigureOutlastsLockTimeout(t *testing.T) {
	state, pool := sharedUsers(t)
	holder, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer holder.Rollback(context.Background()) //nolint:errcheck // does nothing after Rollback
	_, err = holder.Exec(t.Context(), "SELECT FROM users_state FOR UPDATE")
	require.NoError(t, err)

	pause := true
	configured := make(chan error, 1)
	go func() {
		status, err := state.Configure(t.Context(), points.ScheduleChange{Paused: &pause})
		assert.True(t, err != nil || status.Paused)
		configured <- err
	}()
	starts := map[time.Time]bool{} // of the attempts
	require.Eventually(t, func() bool {
		var start *time.Time
		err := pool.QueryRow(t.Context(), "SELECT min(query_start) FROM pg_stat_activity"+
			" WHERE wait_event_type = 'Lock' AND datname = current_database()").Scan(&start)
		if assert.NoError(t, err) && start != nil {
			starts[*start] = true
		}
		return len(starts) > 1
	}, time.Minute, 10*time.Millisecond, "it tries again")
	require.NoError(t, holder.Rollback(t.Context()))
	require.NoError(t, <-configured)
}
