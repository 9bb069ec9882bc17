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

// NextTick does not lag behind after a tick that has waited for a read for several intervals.
func TestNextTickAfterASlowTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, _, gate := newBlockedEngine(t, points.Config{Interval: time.Second})
		_, stop := run(t.Context(), engine)
		defer stop()
		pass(time.Second / 2)
		startQuery(t.Context(), engine)
		pass(3 * time.Second) // 3.5
		gate.open()
		pass(time.Second) // 4.5
		assert.Equal(t, time.Second/2, time.Until(engine.State().NextTick))
	})
}

// NextTick is correct after SetInterval while a tick waits for a read.
func TestNextTickAfterSetIntervalDuringATick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, _, gate := newBlockedEngine(t, points.Config{Interval: time.Second})
		_, stop := run(t.Context(), engine)
		defer stop()
		pass(time.Second / 2)
		startQuery(t.Context(), engine)
		pass(time.Second) // 1.5, the tick waits
		require.NoError(t, engine.SetInterval(time.Minute))
		gate.open()
		assert.Equal(t, time.Minute, time.Until(engine.State().NextTick))
		pass(time.Minute)
		assert.EqualValues(t, 2, engine.State().Ticks)
	})
}

func TestPanickedUpdateIsNoSuccess(t *testing.T) {
	for name, cfg := range map[string]points.Config{
		"Key":         {Updater: points.UpdaterConfig{Key: func() uint64 { panic("out of keys") }}},
		"UpdateStart": {Hooks: points.Hooks{UpdateStart: panickingStart}},
	} {
		t.Run(name, func(t *testing.T) {
			updater := newUpdater(t, &fake{}, cfg)
			assert.Panics(t, func() { _, _ = updater.Update(t.Context()) })
			assert.Zero(t, updater.State().LastSuccess)
			assert.Zero(t, updater.State().RunningSince)
		})
	}
}

// An ended context starts no update and calls no hook.
func TestUpdateWithEndedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		store := &fake{}
		engine := newEngine(t, store, points.Config{UpdateOnStart: true})
		require.NoError(t, engine.Run(ctx))
		assert.Zero(t, store.updates.Load(), "Run with an ended context starts no update")
		_, err := engine.Update(ctx)
		assert.ErrorIs(t, err, context.Canceled, "Update with an ended context")
		assert.Zero(t, store.updates.Load())
	})
}

// A tick that waits for a read when Run is stopped starts no update.
func TestStopWhileATickWaits(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			engine, store, _ := newBlockedUnresponsiveEngine(t, points.Config{Interval: time.Second})
			_, stop := run(t.Context(), engine)
			pass(time.Second / 2)
			startQuery(t.Context(), engine)
			pass(2 * time.Second)
			stop()
			synctest.Wait()
			assert.Zero(t, store.updates.Load(), "no update starts after the end")
			assert.LessOrEqual(t, engine.State().Ticks, uint64(1))
		})
	}
}
