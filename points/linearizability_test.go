package points_test

import (
	"context"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/linearizability"
	"github.com/pointsapp/pointsapp/points"
)

// A system is an engine or a lookalike.
type system struct {
	query  func(context.Context) (points.Result, error)
	update func(context.Context) // nothing, if an update runs
	tick   func()                // lets a tick begin; its update may go on afterwards
}

type builder func(*testing.T, points.Store, points.Config) system

// tickInterval is an engine's interval, and how long the tick of a system takes.
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

func lookalikeSystem(fault fault) builder {
	return func(t *testing.T, store points.Store, cfg points.Config) system {
		t.Helper()
		l := newLookalike(store, cfg, fault)
		var ticks sync.WaitGroup
		t.Cleanup(ticks.Wait)
		return system{l.Query, l.update, func() {
			ticks.Wait() // one at a time
			ticks.Go(func() { l.tick(t.Context()) })
			pass(tickInterval)
		}}
	}
}

// A scene is a system on a table of four users, whose reads can be held up.
type scene struct {
	system
	recorder      *linearizability.Recorder
	before, after gate // of a read, before and after it finds its users
	updateKey     uint64
}

// Before and after any update of a scene, other users are above 50; and above 10, too.
func newScene(t *testing.T, build builder) *scene {
	t.Helper()
	s := &scene{}
	users := []points.User{{ID: 1, Points: 80}, {ID: 2, Points: 20}, {ID: 3, Points: 60}, {ID: 4, Points: 40}}
	s.recorder = linearizability.New(users)
	store := s.recorder.Store(&table{users: users, hold: func(at place) {
		switch at {
		case beforeUsers:
			_ = s.before.pass(context.Background())
		case afterUsers:
			_ = s.after.pass(context.Background())
		case inUpdate:
		}
	}})
	s.system = build(t, store, s.recorder.Config(points.Config{
		MinNumber: inTurn(50, 10),
		Updater:   points.UpdaterConfig{Key: s.key},
	}))
	return s
}

// key returns the next key with which user 1 alone is above 50, and all are above 10, but for user 1 not as before.
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

// ask starts a query, and returns once it waits or is answered.
func (s *scene) ask(t *testing.T) {
	t.Helper()
	go func() {
		_, err := s.recorder.Query(func() (points.Result, error) { return s.query(t.Context()) })
		assert.NoError(t, err)
	}()
	synctest.Wait()
}

// Each script is played on the engine, and on lookalikes: the one with the script's fault must not pass.
func TestOneOrder(t *testing.T) {
	for _, script := range []struct {
		fault fault
		play  func(t *testing.T, s *scene)
		why   string
	}{
		{joinsReadUnderWay, func(t *testing.T, s *scene) {
			s.after.close()
			s.ask(t)
			s.update(t.Context())
			s.ask(t)
			s.after.open()
		}, "user 1 with 80 user 3 with 60: user 1 cannot have 80 points"},
		{oneStampForABatch, func(t *testing.T, s *scene) {
			s.before.close()
			for range 3 {
				s.ask(t)
			}
			s.before.open()
			s.ask(t)
		}, "it was told the same as the one before"},
		{numberAfterUsers, func(t *testing.T, s *scene) {
			s.after.close()
			s.ask(t)
			s.update(t.Context())
			s.tick()
			s.after.open()
		}, "user 1 with 80 user 2 with 20: user 1 cannot have 80 points"},
		{numberDoesNotWait, func(t *testing.T, s *scene) {
			s.before.close()
			s.ask(t)
			s.tick()
			s.before.open()
		}, "user 2 is missing: it is above 10"},
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
			require.NoError(t, judge(lookalikeSystem(none)), "a lookalike without a fault")
			require.ErrorContains(t, judge(lookalikeSystem(script.fault)), script.why)
		})
	}
}

// The same at random: clients that come, wait and give up as they like, on a slow store, while ticks come and updates
// run. Time is a bubble's, so a seed plays much the same each time.
func TestOneOrderAtRandom(t *testing.T) {
	const seeds = 10
	for _, test := range []struct {
		name  string
		build builder
		pass  bool
	}{
		{"engine", engineSystem, true},
		{"lookalike without a fault", lookalikeSystem(none), true},
		{string(joinsReadUnderWay), lookalikeSystem(joinsReadUnderWay), false},
		{string(oneStampForABatch), lookalikeSystem(oneStampForABatch), false},
		{string(numberAfterUsers), lookalikeSystem(numberAfterUsers), false},
		{string(numberDoesNotWait), lookalikeSystem(numberDoesNotWait), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			failed := 0
			for seed := range uint64(seeds) {
				err := playAtRandom(t, test.build, seed)
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

func playAtRandom(t *testing.T, build builder, seed uint64) (verdict error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		random := rand.New(rand.NewPCG(seed, 0))
		draw := func(n int64) int64 {
			mu.Lock()
			defer mu.Unlock()
			return random.Int64N(n)
		}
		sleep := func(most time.Duration) {
			time.Sleep(time.Duration(draw(int64(most)))) //nolint:forbidigo // moves a bubble's clock
		}
		users := make([]points.User, 8)
		for i := range users {
			users[i].ID = int64(i)
		}
		recorder := linearizability.New(users)
		store := recorder.Store(&table{users: users, hold: func(at place) {
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
					if client == 0 { // gives up soon
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

// And for real: as many at once as the machine lets run.
func TestOneOrderForReal(t *testing.T) {
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
			store := recorder.Store(mode(&table{users: users, hold: func(place) { runtime.Gosched() }}))
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

// A context that ends just when the answer comes: the caller gets the answer and has its place in the order, or gets
// the error and has none.
func TestContextEndsAsTheAnswerComes(t *testing.T) {
	users := []points.User{{ID: 1, Points: 50}}
	recorder := linearizability.New(users)
	var cancel context.CancelFunc
	engine := newEngine(t, &table{users: users, hold: func(at place) {
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
