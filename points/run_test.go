package points_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

// sequence returns a MinNumber that returns numbers in sequence.
func sequence(numbers ...int) func() int {
	return func() int {
		n := numbers[0]
		numbers = numbers[1:]
		return n
	}
}

// minNumberOf returns the min number of an engine whose store was prepared by findMinNumber.
func minNumberOf(t *testing.T, engine *points.Engine) int {
	t.Helper()
	return int(query(t, engine).Users[0].ID)
}

// findMinNumber makes the store find one user, with the min number as ID.
func findMinNumber(store *fake) *fake {
	store.onRead(func(_ context.Context, minimum, _ int) ([]points.User, error) {
		return []points.User{{ID: int64(minimum)}}, nil
	})
	return store
}

func TestTick(t *testing.T) {
	inBothModes(t, func(t *testing.T, mode func(*fake) points.Store) {
		var ticks []points.TickInfo
		g := &gate{}
		store := findMinNumber(updatesAt(g))
		engine := newEngine(t, mode(store), points.Config{
			MinNumber: sequence(50, 60, 70),
			Hooks:     points.Hooks{Tick: func(info points.TickInfo) { ticks = append(ticks, info) }},
		})
		started := time.Now().UTC().Round(0)
		pass(time.Hour)
		assert.Equal(t, 50, minNumberOf(t, engine))
		assert.Zero(t, store.updates.Load(), "New starts nothing")

		running, stop := run(t.Context(), engine)
		started = started.Add(time.Hour)
		pass(time.Minute - 1)
		assert.Equal(t, 50, minNumberOf(t, engine))
		assert.Zero(t, store.updates.Load())
		assert.True(t, started.Add(time.Minute).Equal(engine.State().NextTick))

		g.close()
		pass(1)
		assert.Equal(t, 60, minNumberOf(t, engine), "the min number changes at once")
		assert.EqualValues(t, 1, store.updates.Load())
		assert.Equal(t, started.Add(time.Minute), engine.State().Updater.RunningSince.Round(0))
		pass(time.Second)
		assert.Equal(t, 60, minNumberOf(t, engine), "queries are answered during the update")
		g.open()
		assert.EqualValues(t, 3, engine.State().Updater.LastSuccess.Users)

		pass(time.Minute - time.Second)
		assert.Equal(t, 70, minNumberOf(t, engine))
		assert.EqualValues(t, 2, store.updates.Load())
		assert.EqualValues(t, 2, engine.State().Ticks)
		assert.True(t, started.Add(3*time.Minute).Equal(engine.State().NextTick))
		require.Len(t, ticks, 2)
		for i, tick := range ticks {
			assert.True(t, started.Add(time.Duration(i+1)*time.Minute).Equal(tick.Time))
			assert.Equal(t, time.UTC, tick.Time.Location())
			assert.False(t, tick.Skipped)
		}

		stop()
		synctest.Wait()
		require.True(t, running.hasReturned())
		require.NoError(t, running.err)
		assert.Zero(t, engine.State().NextTick)
		pass(time.Hour)
		assert.Equal(t, 70, minNumberOf(t, engine), "queries are answered after Run")
		assert.EqualValues(t, 2, engine.State().Ticks)
	})
}

func TestTickSkipsItsUpdateWhileOneIsRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		var ticks []bool
		g := &gate{}
		g.close()
		store := findMinNumber(updatesAt(g))
		engine := newEngine(t, store, points.Config{
			MinNumber: sequence(50, 60, 70, 80),
			Logger:    log.logger(),
			Hooks:     points.Hooks{Tick: func(info points.TickInfo) { ticks = append(ticks, info.Skipped) }},
		})
		_, stop := run(t.Context(), engine)
		defer stop()
		pass(time.Minute)
		log.read()
		pass(time.Minute)
		assert.Equal(t, 70, minNumberOf(t, engine), "the min number changes all the same")
		assert.EqualValues(t, 1, store.updates.Load())
		assert.EqualValues(t, 2, engine.State().Ticks)
		assert.EqualValues(t, 1, engine.State().Skipped)
		assert.Equal(t, []string{
			`level=WARN msg="tick skipped its update: one is running" since=2000-01-01T00:01:00.000Z`,
		}, log.read())

		g.open()
		pass(time.Minute)
		assert.EqualValues(t, 2, store.updates.Load())
		assert.EqualValues(t, 1, engine.State().Skipped)
		assert.Equal(t, []bool{false, true, false}, ticks)
	})
}

func TestTickUpdatesAgainAfterAFailure(t *testing.T) {
	for name, update := range map[string]func(context.Context, uint64) (int64, error){
		"error": func(context.Context, uint64) (int64, error) { return 0, errStore },
		"panic": func(context.Context, uint64) (int64, error) { panic("out of paper") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &fake{update: update}
				engine := newEngine(t, store, points.Config{})
				_, stop := run(t.Context(), engine)
				defer stop()
				for i := range 3 {
					pass(time.Minute)
					assert.EqualValues(t, i+1, store.updates.Load())
				}
				assert.Equal(t, points.BreakerOpen, engine.State().Updater.Breaker)
				pass(time.Minute)
				assert.EqualValues(t, 3, store.updates.Load(), "suspended")
				store.onUpdate(nil)
				pass(time.Minute)
				assert.EqualValues(t, 4, store.updates.Load(), "a probe")
				assert.Equal(t, points.BreakerClosed, engine.State().Updater.Breaker)
				assert.EqualValues(t, 5, engine.State().Ticks)
				assert.Zero(t, engine.State().Skipped, "no update was running")
			})
		})
	}
}

// While updates are suspended every other tick updates, also after SetInterval, and though an update takes a while and
// ticks wait for reads.
func TestEveryOtherTickUpdatesWhileSuspended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fake{update: func(ctx context.Context, _ uint64) (int64, error) {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			return 0, errStore
		}}
		engine := newEngine(t, store, points.Config{})
		_, stop := run(t.Context(), engine)
		defer stop()
		requireUpdates := func(interval time.Duration, want ...int64) {
			t.Helper()
			for i, n := range want {
				pass(interval)
				require.Equal(t, n, store.updates.Load(), "after tick %d", i+1)
			}
		}
		requireUpdates(time.Minute, 1, 2, 3, 3, 4, 4, 5, 5, 6, 6)
		require.NoError(t, engine.SetInterval(10*time.Second))
		requireUpdates(10*time.Second, 7, 7, 8, 8, 9, 9)
		require.NoError(t, engine.SetInterval(time.Hour))
		requireUpdates(time.Hour, 9, 10, 10, 11)
	})
}

// While updates are suspended, the store has a rest of at least half an interval after each update, however long it takes
// to fail.
func TestRestAfterUpdatesThatFailSlowly(t *testing.T) {
	for _, test := range []struct {
		takes time.Duration
		every time.Duration // time between the starts of two updates
	}{
		{0, 2 * time.Minute},
		{59 * time.Second, 2 * time.Minute},
		{61 * time.Second, 2 * time.Minute},
		{89 * time.Second, 2 * time.Minute},
		{91 * time.Second, 3 * time.Minute},
		{100 * time.Second, 3 * time.Minute},
		{9 * time.Minute, 10 * time.Minute},
		{time.Hour, 11 * time.Minute}, // stopped after 10 minutes
	} {
		t.Run(test.takes.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var started []time.Time
				store := &fake{update: func(ctx context.Context, _ uint64) (int64, error) {
					started = append(started, time.Now())
					select {
					case <-time.After(test.takes):
					case <-ctx.Done():
					}
					return 0, errStore
				}}
				engine := newEngine(t, store, points.Config{})
				_, stop := run(t.Context(), engine)
				defer stop()
				pass(2 * time.Hour)
				require.Greater(t, len(started), points.DefaultMaxFailures)
				for i := points.DefaultMaxFailures; i < len(started); i++ {
					assert.Equal(t, test.every, started[i].Sub(started[i-1]))
				}
			})
		})
	}
}

func TestUpdateOnStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fake{}
		engine := newEngine(t, store, points.Config{UpdateOnStart: true})
		assert.Zero(t, store.updates.Load())
		_, stop := run(t.Context(), engine)
		defer stop()
		assert.EqualValues(t, 1, store.updates.Load())
		assert.Zero(t, engine.State().Ticks)
		pass(time.Minute)
		assert.EqualValues(t, 2, store.updates.Load())
	})
}

func TestUpdateOnStartWhileOneIsRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		g.close()
		store := updatesAt(g)
		engine := newEngine(t, store, points.Config{UpdateOnStart: true})
		update := startUpdate(t.Context(), engine)
		running, stop := run(t.Context(), engine)
		defer stop()
		assert.False(t, running.hasReturned())
		assert.EqualValues(t, 1, store.updates.Load())
		g.open()
		require.NoError(t, update.err)
	})
}

func TestMinNumberOutOfRange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		store := findMinNumber(&fake{})
		engine := newEngine(t, store, points.Config{MinNumber: sequence(50, -1, 101, 60), Logger: log.logger()})
		_, stop := run(t.Context(), engine)
		defer stop()
		for i, number := range []string{"-1", "101"} {
			pass(time.Minute)
			assert.Equal(t, 50, minNumberOf(t, engine))
			assert.EqualValues(t, i+1, store.updates.Load(), "the update starts all the same")
			assert.Contains(t, log.read(), `level=ERROR msg="tick keeps the min number" `+
				`error="points: Config.MinNumber must return a number in 0..100, got `+number+`"`)
		}
		pass(time.Minute)
		assert.Equal(t, 60, minNumberOf(t, engine))
	})
}

// The users and the min number of a result belong to one moment: neither changes while a read is in flight.
func TestTickWaitsForTheReadInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, store, gate := newBlockedEngine(t, points.Config{Interval: time.Second, MinNumber: sequence(50, 60)})
		_, stop := run(t.Context(), engine)
		defer stop()
		pass(time.Millisecond)
		startQuery(t.Context(), engine)
		late := startQuery(t.Context(), engine)
		pass(time.Second)
		assert.Zero(t, store.updates.Load())
		assert.Zero(t, engine.State().Ticks)

		findMinNumber(store) // the next read
		gate.release()
		assert.EqualValues(t, 1, store.updates.Load())
		assert.EqualValues(t, 1, engine.State().Ticks)
		assert.EqualValues(t, 60, requireResult(t, late).Users[0].ID)
	})
}

func TestTickWaitsForAReadNoLongerThanQueriesDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, store, gate := newBlockedUnresponsiveEngine(t, points.Config{Interval: time.Minute, MinNumber: sequence(50, 60)})
		_, stop := run(t.Context(), engine)
		defer stop()
		pass(58 * time.Second)
		c := startQuery(t.Context(), engine)
		pass(2*time.Second + 5*time.Second - 1)
		requireTimeout(t, c, 5*time.Second)
		assert.Zero(t, store.updates.Load())
		pass(1)
		assert.EqualValues(t, 1, store.updates.Load())
		assert.EqualValues(t, 1, engine.State().Ticks)

		findMinNumber(store)
		gate.open()
		assert.Equal(t, 60, minNumberOf(t, engine), "the min number changes when the read has ended")
	})
}

func TestRunEndsWhileATickWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, _, _ := newBlockedUnresponsiveEngine(t, points.Config{})
		running, stop := run(t.Context(), engine)
		pass(time.Minute - time.Second)
		startQuery(t.Context(), engine)
		pass(2 * time.Second)
		stop()
		synctest.Wait()
		require.True(t, running.hasReturned())
		require.NoError(t, running.err)
	})
}

func TestRunTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := newEngine(t, &fake{}, points.Config{})
		first, stop := run(t.Context(), engine)
		second, stopSecond := run(t.Context(), engine)
		stopSecond()
		require.True(t, second.hasReturned())
		require.ErrorIs(t, second.err, points.ErrRunning)
		pass(time.Minute)
		assert.EqualValues(t, 1, engine.State().Ticks, "the first one goes on")

		stop()
		synctest.Wait()
		require.NoError(t, first.err)
		third, stop := run(t.Context(), engine)
		pass(time.Minute)
		assert.EqualValues(t, 2, engine.State().Ticks, "Run can be called again after it has returned")
		stop()
		synctest.Wait()
		require.NoError(t, third.err)
	})
}

func TestRunWithEndedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		engine := newEngine(t, &fake{}, points.Config{})
		running, stop := run(ctx, engine)
		defer stop()
		require.True(t, running.hasReturned())
		require.NoError(t, running.err)
		assert.Zero(t, engine.State().Ticks)
	})
}

func TestRunStopsTheUpdate(t *testing.T) {
	for name, begin := range map[string]func(ctx context.Context, engine *points.Engine){
		"of a tick": func(context.Context, *points.Engine) { pass(time.Minute) },
		"of Update": func(ctx context.Context, engine *points.Engine) { startUpdate(ctx, engine) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stopping := &gate{}
				stopping.close()
				store := &fake{update: func(ctx context.Context, _ uint64) (int64, error) {
					<-ctx.Done()
					_ = stopping.pass(context.WithoutCancel(ctx)) // finishes its batch
					return 1, ctx.Err()
				}}
				var ended []error
				engine := newEngine(t, store, points.Config{
					Hooks: points.Hooks{UpdateEnd: func(info points.UpdateInfo) { ended = append(ended, info.Err) }},
				})
				running, stop := run(t.Context(), engine)
				begin(t.Context(), engine)
				stop()
				pass(9 * time.Second)
				require.False(t, running.hasReturned(), "Run waits until the update has stopped")
				query(t, engine)
				stopping.open()
				require.True(t, running.hasReturned())
				require.NoError(t, running.err)
				require.Len(t, ended, 1)
				require.ErrorIs(t, ended[0], context.Canceled)
			})
		})
	}
}

func TestStopTimeout(t *testing.T) {
	for _, timeout := range []time.Duration{0, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			g := &gate{}
			g.close()
			engine := newEngine(t, unresponsiveUpdatesAt(g), points.Config{UpdateOnStart: true, StopTimeout: timeout})
			running, stop := run(t.Context(), engine)
			stop()
			want := timeout
			if timeout == 0 {
				want = 10 * time.Second
			}
			pass(want - 1)
			require.False(t, running.hasReturned())
			pass(1)
			require.True(t, running.hasReturned())
			require.EqualError(t, running.err,
				"points: an update did not stop within Config.StopTimeout ("+want.String()+")")
			require.ErrorIs(t, running.err, points.ErrStopTimeout)
			_, err := engine.Update(t.Context())
			require.ErrorIs(t, err, points.ErrUpdateRunning, "whatever fails")
			g.open()
			_, err = engine.Update(t.Context())
			require.NoError(t, err, "Update may be called at any time")
		})
	}
}

func TestUpdateOfTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := findMinNumber(&fake{})
		engine := newEngine(t, store, points.Config{MinNumber: sequence(50, 60)})
		_, err := engine.Update(t.Context())
		require.NoError(t, err)
		_, stop := run(t.Context(), engine)
		defer stop()
		pass(30 * time.Second)
		_, err = engine.Update(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 50, minNumberOf(t, engine), "the min number does not change")
		pass(30 * time.Second)
		assert.EqualValues(t, 1, engine.State().Ticks, "ticks do not change")
		assert.EqualValues(t, 3, store.updates.Load())
	})
}
