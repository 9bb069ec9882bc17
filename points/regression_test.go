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

// A tick that waited for a read for several intervals: NextTick lags behind from then on.
func TestNextTickAfterASlowTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, _, gate := heldUp(t, points.Config{Interval: time.Second})
		_, stop := run(t.Context(), engine)
		defer stop()
		pass(time.Second / 2)
		ask(t.Context(), engine)
		pass(3 * time.Second) // 3.5
		gate.open()
		pass(time.Second) // 4.5
		assert.Equal(t, time.Second/2, time.Until(engine.State().NextTick))
	})
}

// SetInterval while a tick waits for a read: NextTick is an interval too late.
func TestNextTickAfterSetIntervalDuringATick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, _, gate := heldUp(t, points.Config{Interval: time.Second})
		_, stop := run(t.Context(), engine)
		defer stop()
		pass(time.Second / 2)
		ask(t.Context(), engine)
		pass(time.Second) // 1.5, the tick waits
		require.NoError(t, engine.SetInterval(time.Minute))
		gate.open()
		assert.Equal(t, time.Minute, time.Until(engine.State().NextTick))
		pass(time.Minute)
		assert.EqualValues(t, 2, engine.State().Ticks)
	})
}

func TestPanickedUpdateIsASuccess(t *testing.T) {
	for name, cfg := range map[string]points.Config{
		"Key":         {Updater: points.UpdaterConfig{Key: func() uint64 { panic("out of keys") }}},
		"UpdateStart": {Hooks: points.Hooks{UpdateStart: noStart}},
	} {
		t.Run(name, func(t *testing.T) {
			updater := newUpdater(t, &fake{}, cfg)
			assert.Panics(t, func() { _, _ = updater.Update(t.Context()) })
			assert.Zero(t, updater.State().LastSuccess)
			assert.Zero(t, updater.State().RunningSince)
		})
	}
}

// A context that has ended starts no update and calls no hook.
func TestEndedContextUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		store := &fake{}
		engine := newEngine(t, store, points.Config{UpdateOnStart: true})
		require.NoError(t, engine.Run(ctx))
		assert.Zero(t, store.updates.Load(), "Run with an ended context begins an update")
		_, err := engine.Update(ctx)
		assert.ErrorIs(t, err, context.Canceled, "Update with an ended context")
		assert.Zero(t, store.updates.Load())
	})
}

// A tick that waits when the context ends.
func TestTickAfterEnd(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			engine, store, _ := heldUpDeaf(t, points.Config{Interval: time.Second})
			_, stop := run(t.Context(), engine)
			pass(time.Second / 2)
			ask(t.Context(), engine)
			pass(2 * time.Second)
			stop()
			synctest.Wait()
			assert.Zero(t, store.updates.Load(), "an update begins after the end")
			assert.LessOrEqual(t, engine.State().Ticks, uint64(1))
		})
	}
}
