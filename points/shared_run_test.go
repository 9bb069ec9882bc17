package points_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/sharedtest"
	"github.com/pointsapp/pointsapp/points"
)

// A sharedStore is a store on a sharedtest.Database whose updates and Syncs a test can watch and replace.
type sharedStore struct {
	points.Store

	mu          sync.Mutex                                           // guards everything below
	update      func(ctx context.Context, key uint64) (int64, error) // nil: the store's
	beforeSync  func() error                                         // nil: nothing
	afterSync   func()                                               // nil: nothing
	updateCalls int
	syncCalls   []points.SyncRequest
}

func (s *sharedStore) onUpdate(update func(ctx context.Context, key uint64) (int64, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.update = update
}

// onSync makes each Sync call before, and fail if that fails.
func (s *sharedStore) onSync(before func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beforeSync = before
}

// onceSynced calls after at the end of the next Sync, before it returns.
func (s *sharedStore) onceSynced(after func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.afterSync = sync.OnceFunc(after)
}

func (s *sharedStore) updates() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.updateCalls
}

// syncs returns the requests so far.
func (s *sharedStore) syncs() []points.SyncRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.syncCalls)
}

func openShared(database *sharedtest.Database) *sharedStore {
	return &sharedStore{Store: database.Open()}
}

func (s *sharedStore) Capabilities() points.Capabilities {
	return points.Capabilities{SharedState: watchedState{s.Store.Capabilities().SharedState, s}}
}

func (s *sharedStore) UpdateAll(ctx context.Context, key uint64) (int64, error) {
	s.mu.Lock()
	s.updateCalls++
	update := s.update
	s.mu.Unlock()
	if update != nil {
		return update(ctx, key)
	}
	return s.Store.UpdateAll(ctx, key)
}

type watchedState struct {
	points.SharedState

	store *sharedStore
}

func (s watchedState) Sync(ctx context.Context, request points.SyncRequest) (points.SyncResult, error) {
	s.store.mu.Lock()
	s.store.syncCalls = append(s.store.syncCalls, request)
	before, after := s.store.beforeSync, s.store.afterSync
	s.store.mu.Unlock()
	if before != nil {
		if err := before(); err != nil {
			return points.SyncResult{}, err
		}
	}
	if after != nil {
		defer after()
	}
	return s.SharedState.Sync(ctx, request)
}

// jitter is more than the time from a tick's due time to its claim.
const jitter = 25 * time.Millisecond

func newDatabase() *sharedtest.Database {
	return sharedtest.New([]points.User{{ID: 1}, {ID: 2}, {ID: 3}})
}

// An engine that learns of its claim when the next tick may be due, as after a stop of its process, starts no update:
// the next tick has its own.
func TestSharedLateClaim(t *testing.T) {
	const interval = 2500 * time.Millisecond
	for _, test := range []struct {
		name           string
		took           time.Duration
		ticks, skipped uint64
	}{{"in time", interval - jitter, 1, 0}, {"too late", interval, 2, 1}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := openShared(newDatabase())
				engine := newEngine(t, store, points.Config{Interval: interval})
				_, stop := run(t.Context(), engine)
				pass(interval - time.Millisecond) // the next Sync claims the tick
				store.onceSynced(func() { pass(test.took) })
				pass(jitter + test.took)
				synctest.Wait()
				state := engine.State()
				assert.Equal(t, test.ticks, state.Ticks)
				assert.Equal(t, test.skipped, state.Skipped)
				assert.Equal(t, 1, store.updates())
				stop()
			})
		})
	}
}

// One engine claims each tick, sets a new min number and updates. It calls Sync at least once a second.
func TestSharedTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ticks []points.TickInfo
		store := openShared(newDatabase())
		engine := newEngine(t, store, points.Config{
			Instance:  "first",
			MinNumber: sequence(0, 60, 70, 80, 90),
			Hooks:     points.Hooks{Tick: func(info points.TickInfo) { ticks = append(ticks, info) }},
		})
		assert.Equal(t, points.State{
			Interval: time.Minute, Updater: points.UpdaterState{Breaker: points.BreakerClosed},
			Instance: "first", InstanceID: engine.State().InstanceID,
		}, engine.State())
		id := engine.State().InstanceID
		started := time.Now()
		running, stop := run(t.Context(), engine)
		require.Len(t, store.syncs(), 1)
		assert.Equal(t, points.SyncRequest{
			Instance: "first", InstanceID: id, Starting: true, Interval: time.Minute, MinNumber: 60,
		}, store.syncs()[0])
		assert.Equal(t, time.Minute, engine.State().NextTick.Sub(started))

		pass(time.Minute - 1)
		assert.Zero(t, store.updates())
		assert.Len(t, store.syncs(), 60)
		assert.Equal(t, points.SyncRequest{
			Instance: "first", InstanceID: id, Interval: time.Minute, MinNumber: 60,
		}, store.syncs()[59])
		pass(jitter)
		assert.Equal(t, 1, store.updates())
		require.Len(t, ticks, 1)
		assert.Less(t, ticks[0].Time.Sub(started), time.Minute+jitter)
		assert.False(t, ticks[0].Skipped)

		state := engine.State()
		require.NotNil(t, state.Shared)
		assert.EqualValues(t, 1, state.Ticks)
		assert.Equal(t, 2*time.Minute, state.NextTick.Sub(started), "the claim does not move the schedule")
		require.Len(t, state.Shared.Updates, 1)
		assert.Equal(t, points.UpdateSucceeded, state.Shared.Updates[0].Outcome, "recorded at once")
		assert.EqualValues(t, 3, state.Shared.Updates[0].Users)
		assert.Equal(t, "first", state.Shared.Updates[0].Instance)
		assert.Equal(t, id, state.Shared.Updates[0].InstanceID)
		assert.Equal(t, state.Shared.Updates[0], state.Shared.LastSuccess)
		assert.EqualValues(t, 3, state.Updater.LastSuccess.Users)
		assert.Equal(t, state.Shared.LastSuccess.ID, state.Updater.LastSuccess.ID)

		pass(2 * time.Minute)
		assert.Equal(t, 3, store.updates())
		stop()
		synctest.Wait()
		require.True(t, running.hasReturned())
		require.NoError(t, running.err)
		last := store.syncs()[len(store.syncs())-1]
		assert.True(t, last.Stopping)
		assert.Nil(t, last.Update, "all are recorded")
		assert.Zero(t, engine.State().NextTick)
		assert.Empty(t, engine.State().Shared.Instances)
		before := len(store.syncs())
		pass(time.Hour)
		assert.Len(t, store.syncs(), before)
	})
}

// Two engines on one state share the ticks: each has one update. When one engine ends, the other goes on.
func TestTwoEnginesShareTheTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		database := newDatabase()
		var stores [2]*sharedStore
		var engines [2]*points.Engine
		var stops [2]context.CancelFunc
		ticks := [2]int{}
		for i := range engines {
			stores[i] = openShared(database)
			engines[i] = newEngine(t, stores[i], points.Config{
				Hooks: points.Hooks{Tick: func(points.TickInfo) { ticks[i]++ }},
			})
			_, stops[i] = run(t.Context(), engines[i])
			defer stops[i]()
			pass(20 * time.Second)
		}
		pass(20 * time.Minute)
		assert.Equal(t, 20, ticks[0]+ticks[1])
		assert.Positive(t, ticks[0], "by chance: 1 of 2^20 runs")
		assert.Positive(t, ticks[1])
		assert.Equal(t, [2]int{stores[0].updates(), stores[1].updates()}, ticks)
		pass(time.Second)
		for _, e := range engines {
			state := e.State()
			assert.EqualValues(t, 20, state.Ticks)
			assert.Len(t, state.Shared.Instances, 2)
			assert.Len(t, state.Shared.Updates, points.MaxSharedUpdates)
			assert.Len(t, state.Shared.Instances[0].Instance, 16, "random by default")
		}
		stops[0]()
		pass(20 * time.Minute)
		assert.Equal(t, 40, ticks[0]+ticks[1])
		assert.Len(t, engines[1].State().Shared.Instances, 1)
	})
}

// Two engines with one name are two engines: each logs that once, and when one ends, the other one remains. An engine
// that replaces a dead one has no namesake.
func TestSharedNamesakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		database := newDatabase()
		var engines [3]*points.Engine
		var stops [3]context.CancelFunc
		var logs [3]lines
		for i := range engines {
			engines[i] = newEngine(t, database.Open(), points.Config{Instance: "one", Logger: logs[i].logger()})
		}
		start := func(i int) {
			_, stops[i] = run(t.Context(), engines[i])
			pass(2 * time.Second)
		}
		instances := func(i int) int { return len(engines[i].State().Shared.Instances) }
		warnings := func(i int) (warnings int) {
			for _, line := range logs[i].read() {
				if strings.Contains(line, `level=WARN msg="another engine has the same name: give each engine its own Config.Instance" instance=one`) {
					warnings++
				}
			}
			return warnings
		}
		dead := openShared(database)
		_, err := dead.Capabilities().SharedState.Sync(t.Context(), points.SyncRequest{
			Instance: "one", InstanceID: 1, Starting: true, Interval: time.Minute,
		})
		require.NoError(t, err)
		pass(time.Second)
		start(0)
		assert.Equal(t, 2, instances(0))
		assert.Zero(t, warnings(0), "it replaces the dead one")
		pass(time.Minute)

		start(1)
		assert.Equal(t, 2, instances(0))
		pass(time.Minute)
		for i := range 2 {
			assert.Equal(t, 1, warnings(i))
		}
		_, err = engines[1].Update(t.Context())
		require.NoError(t, err)
		stops[1]()
		pass(time.Second)
		require.Equal(t, 1, instances(0))
		assert.Equal(t, engines[0].State().InstanceID, engines[0].State().Shared.Instances[0].ID)

		start(2)
		assert.Equal(t, 1, warnings(0), "another one")
		stops[0]()
		stops[2]()
	})
}

// Controls act on all engines: here at once, on another engine within a second.
func TestSharedControls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		database := newDatabase()
		var logs [4]lines // of each engine
		intervals := func(i int) (changes []string) {
			for _, line := range logs[i].read() {
				if _, change, ok := strings.Cut(line, `level=INFO msg="the interval has changed" `); ok {
					changes = append(changes, change)
				}
			}
			return changes
		}
		first := newEngine(t, database.Open(), points.Config{Logger: logs[0].logger()})
		second := newEngine(t, database.Open(), points.Config{Logger: logs[1].logger()})
		for _, e := range []*points.Engine{first, second} {
			_, stop := run(t.Context(), e)
			defer stop()
		}
		requireTicks := func(want uint64) {
			t.Helper()
			pass(time.Second)
			assert.Equal(t, want, first.State().Ticks)
			assert.Equal(t, want, second.State().Ticks)
		}
		pass(90 * time.Second)
		requireTicks(1)
		require.NoError(t, first.Pause())
		assert.True(t, first.State().Paused)
		assert.Zero(t, first.State().NextTick)
		requireTicks(1)
		assert.True(t, second.State().Paused)
		pass(time.Hour)
		requireTicks(1)

		require.NoError(t, second.Resume())
		resumed := time.Now()
		assert.False(t, second.State().Paused)
		assert.Equal(t, time.Minute, second.State().NextTick.Sub(resumed))
		pass(time.Minute - 1)
		assert.EqualValues(t, 1, second.State().Ticks)
		requireTicks(2)

		require.NoError(t, first.SetInterval(2*time.Second))
		assert.Equal(t, 2*time.Second, first.State().Interval)
		pass(20 * time.Second)
		requireTicks(12)
		assert.Equal(t, 2*time.Second, second.State().Interval)
		require.ErrorIs(t, first.SetInterval(0), points.ErrInvalidInterval)

		// A restart with the same configuration keeps the interval, and another configuration sets it.
		third := newEngine(t, database.Open(), points.Config{Logger: logs[2].logger()})
		_, stop := run(t.Context(), third)
		assert.Equal(t, 2*time.Second, third.State().Interval)
		stop()
		third = newEngine(t, database.Open(), points.Config{Interval: time.Hour, Logger: logs[3].logger()})
		_, stop = run(t.Context(), third)
		defer stop()
		assert.Equal(t, time.Hour, third.State().Interval)

		// Each engine logs a change once, whoever has made it.
		pass(time.Minute)
		const soon, late = "interval=2s before=1m0s", "interval=1h0m0s before=2s"
		assert.Equal(t, []string{soon, late}, intervals(0))
		assert.Equal(t, []string{soon, late}, intervals(1))
		started := strings.Join(logs[2].read(), "\n")
		assert.Contains(t, started,
			`msg="the interval was set by SetInterval: Config.Interval has no effect" interval=2s configured=1m0s`)
		assert.NotContains(t, started, "has changed")
		assert.Empty(t, intervals(3), "it has set its own")
	})
}

func TestSharedControlsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := &fakeState{configure: func(ctx context.Context, _ points.ScheduleChange) (points.SharedStatus, error) {
			<-ctx.Done()
			return points.SharedStatus{}, ctx.Err()
		}}
		engine := newEngine(t, state, points.Config{QueryTimeout: 3 * time.Second})
		for want, control := range map[string]func() error{
			"pausing the ticks":    engine.Pause,
			"resuming the ticks":   engine.Resume,
			"setting the interval": func() error { return engine.SetInterval(time.Hour) },
		} {
			started := time.Now()
			require.EqualError(t, control(), "points: "+want+": context deadline exceeded")
			assert.Equal(t, 3*time.Second, time.Since(started))
		}
		assert.Equal(t, time.Minute, engine.State().Interval)
		state.configure = func(context.Context, points.ScheduleChange) (points.SharedStatus, error) { panic("out of paper") }
		require.EqualError(t, engine.Pause(), "points: pausing the ticks: the store panicked: out of paper")
	})
}

// A failed Sync is retried each second, and logged once per outage. Its update is sent again.
func TestSyncFails(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error": func() error { return errStore },
		"panic": func() error { panic("out of paper") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log lines
				store := openShared(newDatabase())
				store.onSync(func() error { return fail() })
				drawn := 0
				engine := newEngine(t, store, points.Config{
					Logger: log.logger(), Interval: 10 * time.Second, MinNumber: func() int { drawn++; return drawn },
				})
				_, stop := run(t.Context(), engine)
				defer stop()
				for range 2 {
					log.read()
					pass(10 * time.Second)
					last := 0
					before := len(store.syncs())
					pass(3 * time.Second)
					assert.Len(t, store.syncs(), before+3)
					for _, s := range store.syncs()[before:] {
						assert.Equal(t, engine.State().Shared == nil, s.Starting, "until one has succeeded")
						assert.Greater(t, s.MinNumber, last, "the number before may have become the min number")
						last = s.MinNumber
					}
					_, err := engine.Update(t.Context())
					require.NoError(t, err)
					pass(2 * time.Second)
					assert.Len(t, store.syncs(), before+5, "an update does not make it retry earlier")
					lines := strings.Join(log.read(), "\n")
					assert.LessOrEqual(t, strings.Count(lines, "level=WARN"), 1)
					assert.NotContains(t, lines, "succeeds again")

					updated := engine.State().Updater.LastSuccess
					store.onSync(nil)
					pass(time.Second)
					assert.Equal(t, 1, strings.Count(strings.Join(log.read(), "\n"),
						`level=INFO msg="sync of the shared state succeeds again"`))
					recorded := engine.State().Shared.LastSuccess
					assert.Equal(t, updated.Users, recorded.Users)
					assert.NotZero(t, recorded.ID)
					pass(time.Second)
					store.onSync(func() error { return fail() })
				}
				ticks := engine.State().Ticks
				pass(time.Minute)
				assert.Equal(t, ticks, engine.State().Ticks)
				assert.Equal(t, 1, strings.Count(strings.Join(log.read(), "\n"),
					`level=WARN msg="sync of the shared state failed: no ticks here until it succeeds"`))
			})
		})
	}
}

// A Sync that does not return is cancelled after QueryTimeout, and at the end of Run.
func TestSyncTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took []time.Duration
		state := &fakeState{sync: func(ctx context.Context, _ points.SyncRequest) (points.SyncResult, error) {
			started := time.Now()
			<-ctx.Done()
			took = append(took, time.Since(started))
			return points.SyncResult{}, ctx.Err()
		}}
		engine := newEngine(t, state, points.Config{QueryTimeout: 3 * time.Second})
		running, stop := run(t.Context(), engine)
		pass(10 * time.Second)
		assert.Equal(t, []time.Duration{3 * time.Second, 3 * time.Second}, took, "a second apart")
		stop()
		synctest.Wait()
		require.True(t, running.hasReturned())
		require.NoError(t, running.err)
		assert.Equal(t, []time.Duration{3 * time.Second, 3 * time.Second, 2 * time.Second}, took)
	})
}

// A tick that finds an update running on another engine skips its own.
func TestSharedTickSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		g.close()
		database := newDatabase()
		database.At = func(ctx context.Context, at sharedtest.Position) {
			if at == sharedtest.InUpdate {
				_ = g.pass(ctx)
			}
		}
		cfg := points.Config{Updater: points.UpdaterConfig{Timeout: time.Hour}}
		first, second := newEngine(t, database.Open(), cfg), newEngine(t, database.Open(), cfg)
		update := startUpdate(t.Context(), first)
		_, err := second.Update(t.Context())
		require.ErrorIs(t, err, points.ErrUpdateRunning)
		for _, e := range []*points.Engine{first, second} {
			_, stop := run(t.Context(), e)
			defer stop()
		}
		pass(10*time.Minute + 2*time.Second)
		for _, e := range []*points.Engine{first, second} {
			state := e.State()
			assert.EqualValues(t, 10, state.Ticks)
			assert.EqualValues(t, 10, state.Skipped, "not that of Update")
			assert.Zero(t, state.Updater.Failures)
			outcomes := make(map[points.UpdateOutcome]int)
			for _, u := range state.Shared.Updates {
				outcomes[u.Outcome]++
			}
			assert.Equal(t, map[points.UpdateOutcome]int{
				points.UpdateUnfinished: 1, points.UpdateCancelled: 1,
			}, outcomes)
		}
		g.open()
		require.NoError(t, update.err)
		pass(time.Second)
		assert.Equal(t, points.UpdateSucceeded, second.State().Shared.LastSuccess.Outcome)
		pass(time.Minute)
		assert.EqualValues(t, 10, second.State().Skipped)
	})
}

// The end of Run cancels the update and records that.
func TestSharedRunStopsTheUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		g.close()
		store := openShared(newDatabase())
		store.onUpdate(func(ctx context.Context, _ uint64) (int64, error) { return 1, g.pass(ctx) })
		engine := newEngine(t, store, points.Config{})
		running, stop := run(t.Context(), engine)
		pass(time.Minute + jitter)
		require.Equal(t, 1, store.updates())
		pass(time.Second)
		require.Equal(t, points.UpdateUnfinished, engine.State().Shared.Updates[0].Outcome)
		assert.Zero(t, engine.State().Shared.Updates[0].Duration)
		stop()
		synctest.Wait()
		require.True(t, running.hasReturned())
		require.NoError(t, running.err)
		updates := engine.State().Shared.Updates
		require.Len(t, updates, 1)
		assert.Equal(t, points.UpdateCancelled, updates[0].Outcome)
		assert.Positive(t, updates[0].Duration)
	})
}

// The end of Run waits for the last Sync for at most a second.
func TestSharedRunEndsDuringAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := openShared(newDatabase())
		engine := newEngine(t, store, points.Config{})
		running, stop := run(t.Context(), engine)
		pass(time.Second)
		store.onSync(func() error { <-time.After(time.Second); return context.DeadlineExceeded })
		stop()
		pass(time.Second - 1)
		assert.False(t, running.hasReturned())
		pass(1)
		require.True(t, running.hasReturned())
		require.NoError(t, running.err)
	})
}

// The circuit breaker counts the failures of all engines.
func TestSharedBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		database := newDatabase()
		var stores [2]*sharedStore
		var engines [2]*points.Engine
		for i := range engines {
			stores[i] = openShared(database)
			stores[i].onUpdate(func(context.Context, uint64) (int64, error) { return 1, errStore })
			engines[i] = newEngine(t, stores[i], points.Config{Interval: time.Hour})
			_, stop := run(t.Context(), engines[i])
			defer stop()
		}
		fail := func(i int) {
			t.Helper()
			_, err := engines[i].Update(t.Context())
			require.ErrorIs(t, err, errStore)
			pass(2 * time.Second)
		}
		fail(0)
		fail(1)
		assert.Equal(t, 2, engines[0].State().Updater.Failures)
		assert.Equal(t, points.BreakerClosed, engines[0].State().Updater.Breaker)
		fail(0)
		for _, e := range engines {
			state := e.State()
			assert.Equal(t, 3, state.Updater.Failures)
			assert.Equal(t, points.BreakerOpen, state.Updater.Breaker)
			assert.Equal(t, "points: updating all users: the store is away", state.Shared.LastFailure.Err)
			_, err := e.Update(t.Context())
			require.ErrorIs(t, err, points.ErrBreakerOpen)
		}
		pass(time.Hour)
		assert.EqualValues(t, 1, engines[0].State().Ticks)
		assert.Equal(t, 3, stores[0].updates()+stores[1].updates(), "a tick updates only when the breaker is closed")
		assert.Zero(t, engines[0].State().Skipped)
		assert.Len(t, engines[0].State().Shared.Updates, 3)

		pass(time.Hour)
		assert.Equal(t, 4, stores[0].updates()+stores[1].updates(), "a probe")
		stores[0].onUpdate(nil)
		stores[1].onUpdate(nil)
		pass(2 * time.Hour)
		assert.Zero(t, engines[0].State().Updater.Failures)
		assert.Zero(t, engines[1].State().Updater.Failures)
	})
}

// Failures count at once, before a Sync has recorded them.
func TestSharedBreakerWithoutSync(t *testing.T) {
	store := openShared(newDatabase())
	store.onUpdate(func(context.Context, uint64) (int64, error) { return 1, errStore })
	engine := newEngine(t, store, points.Config{})
	for i := range points.DefaultMaxFailures {
		assert.Equal(t, i, engine.State().Updater.Failures)
		_, err := engine.Update(t.Context())
		require.ErrorIs(t, err, errStore)
	}
	assert.Equal(t, points.BreakerOpen, engine.State().Updater.Breaker)
}

// While no Sync succeeds, an engine keeps only as many updates to be recorded as a status shows: the latest.
func TestUpdatesWithoutSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := openShared(newDatabase())
		var users int64
		store.onUpdate(func(context.Context, uint64) (int64, error) { users++; return users, nil })
		engine := newEngine(t, store, points.Config{Interval: time.Hour})
		const dropped = 5
		for range points.MaxSharedUpdates + dropped {
			_, err := engine.Update(t.Context())
			require.NoError(t, err)
		}
		_, stop := run(t.Context(), engine)
		defer stop()
		pass(time.Minute)
		var recorded []int64
		for _, request := range store.syncs() {
			if request.Update != nil {
				recorded = append(recorded, request.Update.Users)
			}
		}
		require.Len(t, recorded, points.MaxSharedUpdates)
		assert.EqualValues(t, dropped+1, recorded[0], "the oldest first")
		assert.EqualValues(t, dropped+points.MaxSharedUpdates, recorded[len(recorded)-1])
	})
}

// UpdateOnStart ticks at once on a new state alone: a rolling restart adds no updates.
func TestSharedUpdateOnStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		database := newDatabase()
		updates := 0
		for range 5 {
			store := openShared(database)
			_, stop := run(t.Context(), newEngine(t, store, points.Config{UpdateOnStart: true}))
			assert.True(t, store.syncs()[0].TickNow)
			pass(2 * time.Second)
			assert.False(t, store.syncs()[len(store.syncs())-1].TickNow)
			updates += store.updates()
			stop()
			synctest.Wait()
		}
		assert.Equal(t, 1, updates)
	})
}

// Run can be called again, also after its context has ended before it began.
func TestSharedRunTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := openShared(newDatabase())
		engine := newEngine(t, store, points.Config{})
		_, stop := run(t.Context(), engine)
		require.ErrorIs(t, engine.Run(t.Context()), points.ErrRunning)
		stop()
		synctest.Wait()
		before := len(store.syncs())
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, engine.Run(ended))
		assert.Len(t, store.syncs(), before)
		_, stop = run(t.Context(), engine)
		defer stop()
		require.Len(t, store.syncs(), before+1)
		assert.True(t, store.syncs()[before].Starting)
	})
}

func TestSharedMinNumberOutOfRange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		store := openShared(newDatabase())
		engine := newEngine(t, store, points.Config{MinNumber: sequence(50, 101, 60, 70), Logger: log.logger()})
		_, stop := run(t.Context(), engine)
		defer stop()
		assert.Equal(t, []string{
			`level=ERROR msg="tick sets a random min number" error="points: Config.MinNumber must return a number in 0..100, got 101"`,
		}, log.read())
		assert.LessOrEqual(t, store.syncs()[0].MinNumber, points.MaxPoints)
		pass(time.Minute + time.Second)
		assert.Equal(t, 60, store.syncs()[len(store.syncs())-1].MinNumber)
	})
}

// The clock of the shared state may differ from that of the process.
func TestSharedClock(t *testing.T) {
	for _, ahead := range []time.Duration{-time.Hour, time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				started := time.Now()
				var claims []time.Duration
				next := started.Add(ahead + 10*time.Second)
				state := &fakeState{sync: func(context.Context, points.SyncRequest) (points.SyncResult, error) {
					now := time.Now().Add(ahead)
					claimed := !now.Before(next)
					if claimed {
						next = next.Add(10 * time.Second)
						claims = append(claims, time.Since(started).Truncate(100*time.Millisecond))
					}
					return points.SyncResult{Claimed: claimed, Status: points.SharedStatus{
						Time: now, Interval: 10 * time.Second, NextTick: next,
						Failures: 3, LastFailure: points.SharedUpdate{ID: 1, Started: now.Add(-14 * time.Second)},
					}}, nil
				}}
				engine := newEngine(t, state, points.Config{})
				_, stop := run(t.Context(), engine)
				defer stop()
				assert.Equal(t, 10*time.Second, engine.State().NextTick.Sub(started))
				assert.Equal(t, points.BreakerOpen, engine.State().Updater.Breaker)
				pass(time.Second - 1)
				assert.Equal(t, points.BreakerOpen, engine.State().Updater.Breaker)
				pass(1)
				pass(25 * time.Second)
				assert.Equal(t, []time.Duration{10 * time.Second, 20 * time.Second}, claims)
			})
		})
	}
}

func TestUpdateOutcome(t *testing.T) {
	for outcome, want := range map[points.UpdateOutcome]string{
		points.UpdateUnfinished: "unfinished", points.UpdateSucceeded: "succeeded", points.UpdateFailed: "failed",
		points.UpdateSkipped: "skipped", points.UpdateCancelled: "cancelled",
	} {
		assert.Equal(t, want, outcome.String())
		text, err := outcome.MarshalText()
		require.NoError(t, err)
		assert.Equal(t, want, string(text))
	}
}
