package points_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

// nameKey is the context key of withName.
type nameKey struct{}

func withName(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, nameKey{}, name)
}

// BatchStart gets the contexts of the queries of the batch, and the store gets the context that BatchStart returns.
func TestBatchStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got [][]any
		var read []any
		gate := new(gate)
		gate.close()
		store := &fake{read: func(ctx context.Context, _, _ int) ([]points.User, error) {
			read = append(read, ctx.Value(nameKey{}))
			return nil, gate.pass(ctx)
		}}
		engine := newEngine(t, store, points.Config{Hooks: points.Hooks{
			BatchStart: func(ctx context.Context, queries []context.Context) context.Context {
				names := make([]any, 0, len(queries))
				for _, c := range queries {
					names = append(names, c.Value(nameKey{}))
				}
				got = append(got, names)
				return withName(ctx, "read")
			},
		}})
		startQuery(withName(t.Context(), "first"), engine)
		cancelled, cancel := context.WithCancel(t.Context())
		for _, ctx := range []context.Context{
			withName(t.Context(), "second"), withName(cancelled, "cancelled"), withName(t.Context(), "third"),
		} {
			synctest.Wait()
			startQuery(ctx, engine)
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		gate.open()
		assert.Equal(t, [][]any{{"first"}, {"second", "third"}}, got, "in order of arrival")
		assert.Equal(t, []any{"read", "read"}, read)
	})
}

// The same with ImmediateReads.
func TestBatchStartOfImmediateReads(t *testing.T) {
	var got, read []any
	store := immediateFake{&fake{read: func(ctx context.Context, _, _ int) ([]points.User, error) {
		read = append(read, ctx.Value(nameKey{}))
		return nil, nil
	}}}
	engine := newEngine(t, store, points.Config{Hooks: points.Hooks{
		BatchStart: func(ctx context.Context, queries []context.Context) context.Context {
			require.Len(t, queries, 1)
			got = append(got, queries[0].Value(nameKey{}))
			return withName(ctx, "read")
		},
	}})
	for _, name := range []string{"first", "second"} {
		_, err := engine.Query(withName(t.Context(), name))
		require.NoError(t, err)
	}
	assert.Equal(t, []any{"first", "second"}, got)
	assert.Equal(t, []any{"read", "read"}, read)
}

// The progress that a store reports is in the state while the update is running, and goes to UpdateProgress. The store gets
// the context that UpdateStart returns.
func TestUpdateProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got [][2]int64
		store := &fake{update: func(ctx context.Context, _ uint64) (int64, error) {
			assert.Equal(t, "update", ctx.Value(nameKey{}))
			for done := range int64(3) {
				points.ReportProgress(ctx, done, 2)
				<-time.After(time.Second)
			}
			return 2, nil
		}}
		updater := newUpdater(t, store, points.Config{Hooks: points.Hooks{
			UpdateStart:    func(ctx context.Context, _ points.UpdateInfo) context.Context { return withName(ctx, "update") },
			UpdateProgress: func(done, total int64) { got = append(got, [2]int64{done, total}) },
		}})
		states := make([][2]int64, 0, 4)
		go func() {
			_, err := updater.Update(t.Context())
			assert.NoError(t, err)
		}()
		for range 4 {
			pass(time.Second / 2)
			state := updater.State()
			states = append(states, [2]int64{state.Done, state.Total})
			pass(time.Second / 2)
		}
		assert.Equal(t, [][2]int64{{0, 2}, {1, 2}, {2, 2}}, got)
		assert.Equal(t, slices.Concat(got, [][2]int64{{0, 0}}), states, "none after the end")
	})
}

func TestReportProgressWithoutWithProgress(*testing.T) {
	points.ReportProgress(context.Background(), 1, 2)
}

func TestJoinHooks(t *testing.T) {
	type key struct{}
	var calls []string
	hooks := func(name string) points.Hooks {
		note := func(what string) { calls = append(calls, name+" "+what) }
		start := func(ctx context.Context, what string) context.Context {
			before, _ := ctx.Value(key{}).(string)
			note(what + before)
			return context.WithValue(ctx, key{}, before+" after "+name)
		}
		return points.Hooks{
			BatchStart: func(ctx context.Context, _ []context.Context) context.Context { return start(ctx, "batch start") },
			BatchEnd:   func(points.BatchInfo) { note("batch end") },
			Tick:       func(points.TickInfo) { note("tick") },
			UpdateStart: func(ctx context.Context, _ points.UpdateInfo) context.Context {
				return start(ctx, "update start")
			},
			UpdateProgress: func(int64, int64) { note("progress") },
			UpdateEnd:      func(points.UpdateInfo) { note("update end") },
		}
	}
	joined := points.JoinHooks(points.Hooks{}, hooks("a"), points.Hooks{}, hooks("b"), points.Hooks{})
	joined.BatchStart(t.Context(), nil)
	joined.BatchEnd(points.BatchInfo{})
	joined.Tick(points.TickInfo{})
	joined.UpdateStart(t.Context(), points.UpdateInfo{})
	joined.UpdateProgress(1, 2)
	joined.UpdateEnd(points.UpdateInfo{})
	assert.Equal(t, []string{
		"a batch start", "b batch start after a", "a batch end", "b batch end", "a tick", "b tick",
		"a update start", "b update start after a", "a progress", "b progress", "a update end", "b update end",
	}, calls)

	assert.Equal(t, points.Hooks{}, points.JoinHooks(points.Hooks{}, points.Hooks{}), "no hook, no call")
}
