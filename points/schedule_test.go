package points_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

// Each step is made, and then time passes until so many ticks have come since New. The interval is a minute.
func TestSchedule(t *testing.T) {
	type step struct {
		do    func(*points.Engine)
		pass  time.Duration
		ticks uint64        // since New
		next  time.Duration // from then on; 0 if no tick will come
	}
	pause := func(e *points.Engine) { _ = e.Pause() }
	resume := func(e *points.Engine) { _ = e.Resume() }
	nothing := func(*points.Engine) {}
	interval := func(d time.Duration) func(*points.Engine) {
		return func(e *points.Engine) { _ = e.SetInterval(d) }
	}
	for name, test := range map[string]struct {
		before []func(*points.Engine) // Run
		steps  []step
	}{
		"left alone": {nil, []step{{nothing, 59 * time.Second, 0, time.Second}, {nothing, 121 * time.Second, 3, time.Minute}}},
		"paused before Run": {[]func(*points.Engine){pause}, []step{
			{nothing, time.Hour, 0, 0},
			{resume, 59 * time.Second, 0, time.Second},
			{nothing, time.Second, 1, time.Minute},
		}},
		"paused and resumed before Run": {[]func(*points.Engine){pause, pause, resume}, []step{
			{nothing, 59 * time.Second, 0, time.Second},
			{nothing, time.Second, 1, time.Minute},
		}},
		"resumed, and never paused": {[]func(*points.Engine){resume}, []step{
			{resume, 30 * time.Second, 0, 30 * time.Second},
			{resume, 30 * time.Second, 1, time.Minute},
		}},
		"paused": {nil, []step{
			{nothing, 90 * time.Second, 1, 30 * time.Second},
			{pause, time.Hour, 1, 0},
			{pause, time.Hour, 1, 0},
			{resume, 59 * time.Second, 1, time.Second},
			{nothing, time.Second, 2, time.Minute},
		}},
		"another interval before Run": {[]func(*points.Engine){interval(time.Second)}, []step{
			{nothing, 10 * time.Second, 10, time.Second},
		}},
		"another interval": {nil, []step{
			{nothing, 59 * time.Second, 0, time.Second},
			{interval(10 * time.Second), 9 * time.Second, 0, time.Second},
			{nothing, 21 * time.Second, 3, 10 * time.Second},
			{interval(time.Hour), 59 * time.Minute, 3, time.Minute},
		}},
		"the same interval begins anew": {nil, []step{
			{nothing, 59 * time.Second, 0, time.Second},
			{interval(time.Minute), 59 * time.Second, 0, time.Second},
		}},
		"another interval while paused": {nil, []step{
			{pause, time.Minute, 0, 0},
			{interval(time.Second), time.Minute, 0, 0},
			{resume, 5 * time.Second, 5, time.Second},
		}},
		"an interval that is too short": {nil, []step{
			{nothing, 30 * time.Second, 0, 30 * time.Second},
			{interval(time.Millisecond - 1), 0, 0, 30 * time.Second},
			{interval(time.Millisecond), time.Second, 1000, time.Millisecond},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine := newEngine(t, &fake{}, points.Config{})
				for _, do := range test.before {
					do(engine)
				}
				assert.Zero(t, engine.State().NextTick)
				_, stop := run(t.Context(), engine)
				defer stop()
				for _, step := range test.steps {
					step.do(engine)
					pass(step.pass)
					state := engine.State()
					assert.Equal(t, step.ticks, state.Ticks)
					assert.Equal(t, step.next == 0, state.Paused)
					if step.next == 0 {
						assert.Zero(t, state.NextTick)
					} else {
						assert.Equal(t, step.next, time.Until(state.NextTick))
						assert.Equal(t, time.UTC, state.NextTick.Location())
					}
				}
			})
		})
	}
}

func TestInvalidInterval(t *testing.T) {
	engine := newEngine(t, &fake{}, points.Config{})
	require.EqualError(t, engine.SetInterval(0), "points: the interval must be at least 1ms, got 0s")
	require.ErrorIs(t, engine.SetInterval(0), points.ErrInvalidInterval)
	require.EqualError(t, engine.SetInterval(-time.Hour), "points: the interval must be at least 1ms, got -1h0m0s")
	assert.Equal(t, time.Minute, engine.State().Interval)
	require.NoError(t, engine.SetInterval(time.Millisecond))
	assert.Equal(t, time.Millisecond, engine.State().Interval)
}

func TestScheduleOutlivesRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := newEngine(t, &fake{}, points.Config{})
		_, stop := run(t.Context(), engine)
		require.NoError(t, engine.Pause())
		require.NoError(t, engine.SetInterval(time.Second))
		stop()
		pass(time.Hour)
		require.NoError(t, engine.Resume())
		pass(time.Hour)
		assert.Zero(t, engine.State().Ticks, "no ticks while Run is not running")

		_, stop = run(t.Context(), engine)
		defer stop()
		pass(3 * time.Second)
		assert.EqualValues(t, 3, engine.State().Ticks)
	})
}

// A tick that was due before a pause does not happen after it.
func TestPauseDropsTheTickThatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, _, gate := newBlockedUnresponsiveEngine(t, points.Config{Interval: time.Second})
		_, stop := run(t.Context(), engine)
		defer stop()
		c := startQuery(t.Context(), engine)
		pass(2 * time.Second) // the first tick waits for the read, and the second one is due
		assert.Zero(t, engine.State().Ticks)
		require.NoError(t, engine.Pause())
		gate.open()
		requireResult(t, c)
		assert.EqualValues(t, 1, engine.State().Ticks)
		pass(time.Hour)
		assert.EqualValues(t, 1, engine.State().Ticks)
		require.NoError(t, engine.Resume())
		pass(time.Second - 1)
		assert.EqualValues(t, 1, engine.State().Ticks)
		pass(1)
		assert.EqualValues(t, 2, engine.State().Ticks)
	})
}

// A tick that waits for a read starts no update if the engine is paused meanwhile. It still sets the min number.
func TestNoUpdateStartsAfterPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		var ticks []points.TickInfo
		engine, store, gate := newBlockedUnresponsiveEngine(t, points.Config{
			MinNumber: sequence(50, 60, 70),
			Logger:    log.logger(),
			Hooks:     points.Hooks{Tick: func(info points.TickInfo) { ticks = append(ticks, info) }},
		})
		_, stop := run(t.Context(), engine)
		defer stop()
		pass(time.Minute - 1)
		c := startQuery(t.Context(), engine)
		pass(1) // the tick waits for the read
		due := time.Now().UTC().Round(0)
		require.NoError(t, engine.Pause())
		findMinNumber(store)
		gate.open()
		requireResult(t, c)
		pass(time.Hour)
		assert.Zero(t, store.updates.Load())
		assert.Equal(t, 60, minNumberOf(t, engine))
		require.Len(t, ticks, 1)
		assert.True(t, due.Equal(ticks[0].Time))
		assert.False(t, ticks[0].Skipped, "no update was running")
		assert.EqualValues(t, 1, engine.State().Ticks)
		assert.Zero(t, engine.State().Skipped)
		assert.Equal(t, []string{
			`level=INFO msg="tick started no update: the engine was paused while the tick waited for a read"`,
		}, log.read())

		require.NoError(t, engine.Resume())
		pass(time.Minute)
		assert.EqualValues(t, 1, store.updates.Load())
	})
}

func TestControlsFromManyGoroutines(t *testing.T) {
	store := &fake{update: func(ctx context.Context, _ uint64) (int64, error) { return 0, ctx.Err() }}
	engine := newEngine(t, store, points.Config{Interval: time.Millisecond, UpdateOnStart: true})
	ctx, stop := context.WithCancel(t.Context())
	ended, cancel := context.WithCancel(t.Context())
	cancel()

	var all sync.WaitGroup
	for _, control := range []func(){
		func() { assert.NoError(t, engine.Pause()) },
		func() { assert.NoError(t, engine.Resume()) },
		func() { assert.NoError(t, engine.SetInterval(time.Millisecond)) },
		func() { _, _ = engine.Update(ctx) },
		func() { _, _ = engine.Query(ctx) },
		func() { _ = engine.State() },
		func() {
			if err := engine.Run(ended); err != nil {
				assert.ErrorIs(t, err, points.ErrRunning)
			}
		},
	} {
		for range 4 {
			all.Go(func() {
				for range 100 {
					control()
				}
			})
		}
	}
	runs := make(chan error)
	go func() {
		err := engine.Run(ctx)
		for errors.Is(err, points.ErrRunning) { // another goroutine runs it for a moment
			err = engine.Run(ctx)
		}
		runs <- err
	}()
	all.Wait()
	stop()
	require.NoError(t, <-runs)
	query(t, engine)
}
