package points_test

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/linearizability"
	"github.com/pointsapp/pointsapp/internal/sharedtest"
	"github.com/pointsapp/pointsapp/points"
)

// A system is an engine or a mutant of one.
type system struct {
	query  func(context.Context) (points.Result, error)
	update func(context.Context) // does nothing if an update is running
	tick   func()                // starts a tick; its update may end later
}

type builder func(*testing.T, points.Store, points.Config) system

// tickInterval is the interval of an engine, and the duration of a system's tick.
const tickInterval = time.Minute

func engineSystem(t *testing.T, store points.Store, cfg points.Config) system {
	t.Helper()
	cfg.Interval, cfg.QueryTimeout = tickInterval, time.Hour
	engine := newEngine(t, store, cfg)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { assert.NoError(t, engine.Run(ctx)) })
	t.Cleanup(func() { stop(); running.Wait() })
	return system{
		query:  engine.Query,
		update: func(ctx context.Context) { _, _ = engine.Update(ctx) },
		tick:   func() { pass(tickInterval) },
	}
}

func mutantSystem(fault fault) builder {
	return func(t *testing.T, store points.Store, cfg points.Config) system {
		t.Helper()
		m := newMutant(store, cfg, fault)
		var ticks sync.WaitGroup
		t.Cleanup(ticks.Wait)
		return system{m.Query, m.update, func() {
			ticks.Wait() // one at a time
			ticks.Go(func() { m.tick(t.Context()) })
			pass(tickInterval)
		}}
	}
}

// A scene is a system on a table of four users whose reads can be blocked.
type scene struct {
	system
	recorder      *linearizability.Recorder
	before, after gate // block a read before and after it finds its users
	updateKey     uint64
}

// Each update of a scene changes which users have more than 50 points, and which have more than 10.
func newScene(t *testing.T, build builder) *scene {
	t.Helper()
	s := &scene{}
	users := []points.User{{ID: 1, Points: 80}, {ID: 2, Points: 20}, {ID: 3, Points: 60}, {ID: 4, Points: 40}}
	s.recorder = linearizability.New(users)
	store := s.recorder.Store(&table{users: users, hook: func(at position) {
		switch at {
		case beforeUsers:
			_ = s.before.pass(context.Background())
		case afterUsers:
			_ = s.after.pass(context.Background())
		case inUpdate:
		}
	}})
	s.system = build(t, store, s.recorder.Config(points.Config{
		MinNumber: sequence(50, 10),
		Updater:   points.UpdaterConfig{Key: s.key},
	}))
	return s
}

// key returns the next key that gives user 1 alone more than 50 points, and all users more than 10.
func (s *scene) key() uint64 {
	for {
		s.updateKey++
		first := points.Draw(1, s.updateKey)
		others := []int{points.Draw(2, s.updateKey), points.Draw(3, s.updateKey), points.Draw(4, s.updateKey)}
		if first > 50 && first != 80 && min(others[0], others[1], others[2]) > 10 &&
			max(others[0], others[1], others[2]) <= 50 {
			return s.updateKey
		}
	}
}

// startQuery starts a query, and returns when it blocks or has returned.
func (s *scene) startQuery(t *testing.T) {
	t.Helper()
	go func() {
		_, err := s.recorder.Query(func() (points.Result, error) { return s.query(t.Context()) })
		assert.NoError(t, err)
	}()
	synctest.Wait()
}

// Each script runs on the engine, on a correct mutant, and on the mutant with the fault that it is for, which must
// fail.
func TestLinearizable(t *testing.T) {
	for _, script := range []struct {
		fault fault
		play  func(t *testing.T, s *scene)
		why   string
	}{
		{joinsReadInFlight, func(t *testing.T, s *scene) {
			s.after.close()
			s.startQuery(t)
			s.update(t.Context())
			s.startQuery(t)
			s.after.open()
		}, "user 1 with 80 user 3 with 60: user 1 cannot have 80 points"},
		{oneTimestampPerBatch, func(t *testing.T, s *scene) {
			s.before.close()
			for range 3 {
				s.startQuery(t)
			}
			s.before.open()
			s.startQuery(t)
		}, "it has the same previous timestamp as the query before"},
		{minNumberAfterUsers, func(t *testing.T, s *scene) {
			s.after.close()
			s.startQuery(t)
			s.update(t.Context())
			s.tick()
			s.after.open()
		}, "user 1 with 80 user 2 with 20: user 1 cannot have 80 points"},
		{minNumberDuringRead, func(t *testing.T, s *scene) {
			s.before.close()
			s.startQuery(t)
			s.tick()
			s.before.open()
		}, "user 2 is missing: it has more than 10"},
	} {
		t.Run(string(script.fault), func(t *testing.T) {
			judge := func(build builder) (verdict error) {
				synctest.Test(t, func(t *testing.T) {
					s := newScene(t, build)
					script.play(t, s)
					synctest.Wait()
					verdict = s.recorder.Check()
				})
				return verdict
			}
			require.NoError(t, judge(engineSystem), "the engine")
			require.NoError(t, judge(mutantSystem(none)), "a mutant without a fault")
			require.ErrorContains(t, judge(mutantSystem(script.fault)), script.why)
		})
	}
}

// The same with random clients, some of which give up, on a slow store, beside ticks and updates. In a synctest bubble
// a seed gives much the same run each time.
func TestLinearizableAtRandom(t *testing.T) {
	const seeds = 10
	for _, test := range []struct {
		name  string
		build builder
		pass  bool
	}{
		{"engine", engineSystem, true},
		{"mutant without a fault", mutantSystem(none), true},
		{string(joinsReadInFlight), mutantSystem(joinsReadInFlight), false},
		{string(oneTimestampPerBatch), mutantSystem(oneTimestampPerBatch), false},
		{string(minNumberAfterUsers), mutantSystem(minNumberAfterUsers), false},
		{string(minNumberDuringRead), mutantSystem(minNumberDuringRead), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			failed := 0
			for seed := range uint64(seeds) {
				err := runAtRandom(t, test.build, seed)
				if test.pass {
					require.NoError(t, err, "seed %d", seed)
				} else if err != nil {
					failed++
				}
			}
			t.Logf("%d of %d seeds failed", failed, seeds)
			assert.Equal(t, test.pass, failed == 0)
		})
	}
}

// A chance is a source of random numbers that is safe for concurrent use.
type chance struct {
	mu     sync.Mutex
	random *rand.Rand
}

func newChance(seed uint64) *chance { return &chance{random: rand.New(rand.NewPCG(seed, 0))} }

func (c *chance) draw(n int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.random.Int64N(n)
}

// sleep sleeps for less than most.
func (c *chance) sleep(most time.Duration) {
	time.Sleep(time.Duration(c.draw(int64(most)))) //nolint:forbidigo // advances the bubble's clock
}

func runAtRandom(t *testing.T, build builder, seed uint64) (verdict error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		chance := newChance(seed)
		draw, sleep := chance.draw, chance.sleep
		users := make([]points.User, 8)
		for i := range users {
			users[i].ID = int64(i)
		}
		recorder := linearizability.New(users)
		store := recorder.Store(&table{users: users, hook: func(at position) {
			if at == inUpdate {
				sleep(tickInterval / 50)
			} else {
				sleep(tickInterval * 3 / 2)
			}
		}})
		s := build(t, store, recorder.Config(points.Config{
			MinNumber: func() int { return int(draw(points.MaxPoints + 1)) },
			Updater:   points.UpdaterConfig{Key: func() uint64 { return uint64(draw(math.MaxInt64)) }},
		}))
		var clients sync.WaitGroup
		for client := range 8 {
			clients.Go(func() {
				for range 25 {
					ctx, cancel := context.WithCancel(t.Context())
					if client == 0 { // gives up early
						ctx, cancel = context.WithTimeout(t.Context(), tickInterval)
					}
					_, _ = recorder.Query(func() (points.Result, error) { return s.query(ctx) })
					cancel()
					sleep(tickInterval)
				}
			})
		}
		clients.Go(func() {
			for range 50 {
				s.update(t.Context())
				sleep(tickInterval)
			}
		})
		for range 20 {
			s.tick()
		}
		clients.Wait()
		verdict = recorder.Check()
	})
	return verdict
}

// The same with real time and real parallelism.
func TestLinearizableInParallel(t *testing.T) {
	for name, mode := range map[string]func(*table) points.Store{
		"batches":   func(s *table) points.Store { return s },
		"immediate": func(s *table) points.Store { return immediateTable{s} },
	} {
		t.Run(name, func(t *testing.T) {
			users := make([]points.User, 8)
			for i := range users {
				users[i].ID = int64(i)
			}
			recorder := linearizability.New(users)
			store := recorder.Store(mode(&table{users: users, hook: func(position) { runtime.Gosched() }}))
			ticked := make(chan struct{}, 1000)
			engine := newEngine(t, store, recorder.Config(points.Config{
				Interval: time.Millisecond,
				Hooks:    points.Hooks{Tick: func(points.TickInfo) { ticked <- struct{}{} }},
			}))
			ctx, stop := context.WithCancel(t.Context())
			var running, clients sync.WaitGroup
			running.Go(func() { assert.NoError(t, engine.Run(ctx)) })
			for range 8 {
				clients.Go(func() {
					for i := range 200 {
						if i%50 == 0 {
							<-ticked
						}
						_, err := recorder.Query(func() (points.Result, error) { return engine.Query(ctx) })
						assert.NoError(t, err)
					}
				})
			}
			clients.Wait()
			stop()
			running.Wait()
			require.NoError(t, recorder.Check())
		})
	}
}

// A context that ends at the same moment as the read: the query returns its result and has a place in the order, or
// fails and has none.
func TestContextEndsWithTheRead(t *testing.T) {
	users := []points.User{{ID: 1, Points: 50}}
	recorder := linearizability.New(users)
	var cancel context.CancelFunc
	engine := newEngine(t, &table{users: users, hook: func(at position) {
		if at == afterUsers {
			cancel()
		}
	}}, recorder.Config(points.Config{}))
	for range 2000 {
		var ctx context.Context
		ctx, cancel = context.WithCancel(t.Context())
		_, err := recorder.Query(func() (points.Result, error) { return engine.Query(ctx) })
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
		}
		cancel()
	}
	require.NoError(t, recorder.Check())
}

func TestSharedLinearizable(t *testing.T) {
	users := make([]points.User, 8)
	for i := range users {
		users[i].ID = int64(i)
	}
	database := sharedtest.New(users)
	database.At = func(context.Context, sharedtest.Position) { runtime.Gosched() }
	linearizability.TestShared(t, database.Open, slices.Clone(users))
}

// Three engines on one state with random clients, some of which give up, beside ticks, updates, restarts of the engines
// and crashes of the database.
func TestSharedLinearizableAtRandom(t *testing.T) {
	const seeds = 10
	for _, fault := range []sharedtest.Fault{
		sharedtest.None, sharedtest.SnapshotIsOlder, sharedtest.RepeatableRead, sharedtest.MinDuringBatch,
		sharedtest.StateInProcess, sharedtest.NoBound,
	} {
		t.Run(string(cmp.Or(fault, "none")), func(t *testing.T) {
			var err error
			for seed := uint64(0); seed < seeds && err == nil; seed++ {
				err = runSharedAtRandom(t, fault, seed)
			}
			if fault == sharedtest.None {
				require.NoError(t, err)
			} else {
				require.Error(t, err)
			}
		})
	}
}

// restartAtRandom runs an engine again and again until ctx ends.
func restartAtRandom(ctx context.Context, t *testing.T, engine *points.Engine, chance *chance) {
	for ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(ctx, time.Duration(chance.draw(int64(20*tickInterval))))
		assert.NoError(t, engine.Run(ctx))
		cancel()
	}
}

func runSharedAtRandom(t *testing.T, fault sharedtest.Fault, seed uint64) (verdict error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		chance := newChance(seed)
		draw, sleep := chance.draw, chance.sleep
		users := make([]points.User, 8)
		for i := range users {
			users[i].ID = int64(i)
		}
		database := sharedtest.New(users)
		database.Fault = fault
		database.At = func(_ context.Context, at sharedtest.Position) {
			if at == sharedtest.InUpdate {
				sleep(tickInterval / 20)
			} else {
				sleep(tickInterval / 4)
			}
		}
		recorder := linearizability.New(slices.Clone(users))
		result, err := recorder.Store(database.Open()).Capabilities().SharedState.Sync(t.Context(), points.SyncRequest{
			Starting: true, TickNow: true, Interval: tickInterval, MinNumber: 50,
		})
		require.NoError(t, err)
		require.True(t, result.Claimed)

		ctx, stop := context.WithCancel(t.Context())
		var clients, engines sync.WaitGroup
		var answered atomic.Int64
		for range 3 {
			engine := newEngine(t, recorder.Store(database.Open()), recorder.Config(points.Config{
				Interval: tickInterval, QueryTimeout: time.Hour,
				MinNumber: func() int { return int(draw(points.MaxPoints + 1)) },
				Updater:   points.UpdaterConfig{Key: func() uint64 { return uint64(draw(math.MaxInt64)) }},
			}))
			engines.Go(func() { restartAtRandom(ctx, t, engine, chance) })
			for client := range 3 {
				clients.Go(func() {
					patience := time.Hour
					if client == 0 { // gives up early
						patience = tickInterval / 2
					}
					for range 15 {
						ctx, cancel := context.WithTimeout(t.Context(), patience)
						if _, err := recorder.Query(func() (points.Result, error) { return engine.Query(ctx) }); err == nil {
							answered.Add(1)
						}
						cancel()
						sleep(tickInterval)
					}
				})
			}
		}
		clients.Go(func() {
			for range 3 {
				sleep(10 * tickInterval)
				recorder.Crashed()
				database.Crash()
			}
		})
		clients.Wait()
		stop()
		engines.Wait()
		require.Greater(t, answered.Load(), int64(3*2*15), "most queries are answered")
		verdict = recorder.Check()
	})
	return verdict
}
