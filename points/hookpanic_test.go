package points_test

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

// A panic of a batch hook reaches the caller of Query, if its store has ImmediateReads. The engine stays usable, and the
// query leaves nothing behind.
func TestPanicOfABatchHook(t *testing.T) {
	bad := false
	for name, hooks := range map[string]func(seen *[]int) points.Hooks{
		"BatchStart": func(seen *[]int) points.Hooks {
			return points.Hooks{BatchStart: func(ctx context.Context, queries []context.Context) context.Context {
				*seen = append(*seen, len(queries))
				if bad {
					panic("no batch")
				}
				return ctx
			}}
		},
		"BatchEnd": func(seen *[]int) points.Hooks {
			return points.Hooks{BatchEnd: func(info points.BatchInfo) {
				*seen = append(*seen, info.Queries)
				if bad {
					panic("no batch")
				}
			}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var seen []int
				engine := newEngine(t, immediateFake{&fake{}}, points.Config{Hooks: hooks(&seen)})
				query(t, engine)
				timestamp := time.Now().UTC().Round(0)
				pass(time.Second)
				bad = true
				for range 2 {
					require.PanicsWithValue(t, "no batch", func() { _, _ = engine.Query(t.Context()) })
				}
				bad = false
				assert.Equal(t, timestamp, query(t, engine).PreviousTimestamp, "a query that panicked has no timestamp")
				query(t, engine)
				assert.Equal(t, []int{1, 1, 1, 1, 1}, seen, "each read is for one query")
				assert.Zero(t, engine.State().Waiting)
			})
		})
	}
}

// A panic of a Tick hook or of MinNumber reaches the caller of Run, and Run can be called again.
func TestPanicInATick(t *testing.T) {
	bad := false
	for name, cfg := range map[string]points.Config{
		"Tick": {Hooks: points.Hooks{Tick: func(points.TickInfo) {
			if bad {
				panic("no tick")
			}
		}}},
		"MinNumber": {MinNumber: func() int {
			if bad {
				panic("no tick")
			}
			return 50
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bad = false
				engine := newEngine(t, &fake{}, cfg)
				bad = true
				require.PanicsWithValue(t, "no tick", func() { _ = engine.Run(t.Context()) })
				bad = false
				assert.Zero(t, engine.State().NextTick)
				before := engine.State().Ticks
				_, stop := run(t.Context(), engine)
				defer stop()
				pass(time.Minute)
				assert.Equal(t, before+1, engine.State().Ticks)
				query(t, engine)
			})
		})
	}
}

// A panic of UpdateProgress passes through the store and fails the update.
func TestPanicOfUpdateProgress(t *testing.T) {
	store := &fake{update: func(ctx context.Context, _ uint64) (int64, error) {
		points.ReportProgress(ctx, 1, 2)
		return 2, nil
	}}
	updater := newUpdater(t, store, points.Config{Hooks: points.Hooks{
		UpdateProgress: func(int64, int64) { panic("no progress") },
	}})
	for i := range 2 {
		_, err := updater.Update(t.Context())
		require.EqualError(t, err, "points: updating all users: the store panicked: no progress")
		assert.Equal(t, i+1, updater.State().Failures)
		assert.Zero(t, updater.State().RunningSince)
	}
}

// runtime.Goexit in a store or a hook, as by testing.T.FailNow, fails the batch and no more.
func TestGoexit(t *testing.T) {
	for name, inHook := range map[string]bool{"in the store": false, "in a hook": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				exit := true
				engine, store, gate := newBlockedEngine(t, points.Config{Hooks: points.Hooks{BatchEnd: func(info points.BatchInfo) {
					if exit && inHook && info.Batch == 1 {
						runtime.Goexit()
					}
				}}})
				read := store.read
				store.onRead(func(ctx context.Context, minimum, limit int) ([]points.User, error) {
					users, err := read(ctx, minimum, limit)
					if exit && !inHook && store.reads.Load() == 1 {
						runtime.Goexit()
					}
					return users, err
				})
				first, second := startQuery(t.Context(), engine), startQuery(t.Context(), engine)
				gate.open()
				require.True(t, first.hasReturned())
				require.EqualError(t, first.err, "points: reading users: the store or a hook called runtime.Goexit")
				assert.True(t, requireResult(t, second).PreviousTimestamp.IsZero())

				// The same of a probe.
				gate.close()
				requireTimeout(t, awaitQuery(t, engine), 5*time.Second)
				store.onRead(func(context.Context, int, int) ([]points.User, error) { runtime.Goexit(); return nil, nil })
				pass(probeInterval)
				probe := startQuery(t.Context(), engine)
				require.True(t, probe.hasReturned())
				require.ErrorIs(t, probe.err, points.ErrStoreDown)
				store.onRead(nil)
				pass(probeInterval)
				query(t, engine)
			})
		})
	}
}
