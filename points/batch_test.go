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

// newBlockedEngine returns an engine whose reads find one user, with the number of the read as ID, and then wait at the
// returned gate, which is closed, or until their context ends.
func newBlockedEngine(t *testing.T, cfg points.Config) (*points.Engine, *fake, *gate) {
	t.Helper()
	return newBlockedEngineWith(t, cfg, func(ctx context.Context) context.Context { return ctx })
}

// newBlockedUnresponsiveEngine is newBlockedEngine with a store that ignores contexts.
func newBlockedUnresponsiveEngine(t *testing.T, cfg points.Config) (*points.Engine, *fake, *gate) {
	t.Helper()
	return newBlockedEngineWith(t, cfg, context.WithoutCancel)
}

func newBlockedEngineWith(t *testing.T, cfg points.Config, readContext func(context.Context) context.Context) (
	*points.Engine, *fake, *gate,
) {
	t.Helper()
	g := &gate{}
	g.close()
	t.Cleanup(g.open)
	store := &fake{}
	store.read = func(ctx context.Context, _, _ int) ([]points.User, error) {
		users := []points.User{{ID: store.reads.Load()}}
		return users, g.pass(readContext(ctx))
	}
	return newEngine(t, store, cfg), store, g
}

// requireResult returns the result of a call that must have succeeded.
func requireResult(t *testing.T, c *call[points.Result]) points.Result {
	t.Helper()
	require.True(t, c.hasReturned(), "the query has returned")
	require.NoError(t, c.err)
	return c.result
}

func TestQueryOnAnIdleEngineDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []points.BatchInfo
		store := &fake{read: func(context.Context, int, int) ([]points.User, error) {
			pass(time.Millisecond)
			return nil, nil
		}}
		engine := newEngine(t, store, points.Config{
			Hooks: points.Hooks{BatchEnd: func(info points.BatchInfo) { got = append(got, info) }},
		})
		for i := range 3 {
			started := time.Now()
			query(t, engine)
			assert.Equal(t, time.Millisecond, time.Since(started), "a query takes as long as its read")
			assert.Equal(t, points.BatchInfo{Batch: uint64(i) + 1, Queries: 1, Duration: time.Millisecond}, got[i])
		}
	})
}

func TestWaitersFormABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []points.BatchInfo
		engine, store, gate := newBlockedEngine(t, points.Config{
			Hooks: points.Hooks{BatchEnd: func(info points.BatchInfo) { got = append(got, info) }},
		})
		first := startQuery(t.Context(), engine)
		pass(time.Second)
		others := startQueries(t.Context(), engine, 5)
		assert.Equal(t, 6, engine.State().Waiting)
		pass(time.Second)
		gate.release()
		assert.EqualValues(t, 2, store.reads.Load())
		assert.Equal(t, 5, engine.State().Waiting)
		pass(time.Second)
		gate.open()

		assert.EqualValues(t, 2, store.reads.Load())
		assert.Zero(t, engine.State().Waiting)
		assert.True(t, requireResult(t, first).PreviousTimestamp.IsZero())
		previous := requireResult(t, first).PreviousTimestamp
		for _, c := range others {
			result := requireResult(t, c)
			assert.Equal(t, []points.User{{ID: 2}}, result.Users)
			assert.EqualValues(t, 2, result.Batch)
			assert.True(t, result.PreviousTimestamp.After(previous), "in order of arrival")
			previous = result.PreviousTimestamp
		}
		assert.Equal(t, []points.BatchInfo{
			{Batch: 1, Queries: 1, Users: 1, Duration: 2 * time.Second},
			{Batch: 2, Queries: 5, Users: 1, Waited: time.Second, Duration: time.Second},
		}, got)
	})
}

func TestQueryDuringAReadWaitsForTheNextOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, store, gate := newBlockedEngine(t, points.Config{})
		early := startQuery(t.Context(), engine)
		late := startQuery(t.Context(), engine)
		gate.release()

		assert.Equal(t, []points.User{{ID: 1}}, requireResult(t, early).Users)
		assert.False(t, late.hasReturned())
		assert.EqualValues(t, 2, store.reads.Load())
		gate.open()
		assert.Equal(t, []points.User{{ID: 2}}, requireResult(t, late).Users)
	})
}

func TestFailedReadFailsItsBatch(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error": func() error { return errStore },
		"panic": func() error { panic("out of paper") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine, store, gate := newBlockedEngine(t, points.Config{})
				before := startQuery(t.Context(), engine)
				batch := startQueries(t.Context(), engine, 3)
				read := store.read
				gate.release() // the read of the batch starts
				store.onRead(func(context.Context, int, int) ([]points.User, error) { return nil, fail() })
				assert.True(t, requireResult(t, before).PreviousTimestamp.IsZero())
				timestamp := time.Now()
				pass(time.Second)

				failing := startQueries(t.Context(), engine, 3)
				gate.release() // the batch succeeds, and the next read fails
				for _, c := range batch {
					requireResult(t, c)
				}
				for _, c := range failing {
					require.True(t, c.hasReturned())
					require.ErrorIs(t, c.err, failing[0].err)
					assert.ErrorContains(t, c.err, "points: reading users: ")
					assert.Zero(t, c.result)
				}
				assert.EqualValues(t, 3, store.reads.Load())

				store.onRead(read)
				gate.open()
				assert.True(t, query(t, engine).PreviousTimestamp.After(timestamp), "of the last query of the batch")
				assert.EqualValues(t, 4, store.reads.Load())
			})
		})
	}
}

func TestCancelledWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var queries []int
		engine, store, gate := newBlockedEngine(t, points.Config{
			Hooks: points.Hooks{BatchEnd: func(info points.BatchInfo) { queries = append(queries, info.Queries) }},
		})
		first := startQuery(t.Context(), engine)
		for _, cancelled := range []int{0, 1, 2} { // at the front, in the middle and at the end of the queue
			ctx, cancel := context.WithCancel(t.Context())
			calls := make([]*call[points.Result], 3)
			for i := range calls {
				if i == cancelled {
					calls[i] = startQuery(ctx, engine)
				} else {
					calls[i] = startQuery(t.Context(), engine)
				}
			}
			cancel()
			synctest.Wait()
			require.True(t, calls[cancelled].hasReturned())
			require.ErrorIs(t, calls[cancelled].err, context.Canceled)
			require.EqualError(t, calls[cancelled].err, "points: query: context canceled")
			assert.Zero(t, calls[cancelled].result)

			pass(time.Second)
			gate.release()
			timestamp := time.Now().UTC().Round(0)
			requireResult(t, first)
			pass(time.Second)
			gate.release()
			others := slices.Delete(calls, cancelled, cancelled+1)
			assert.Equal(t, timestamp, requireResult(t, others[0]).PreviousTimestamp)
			assert.True(t, requireResult(t, others[1]).PreviousTimestamp.After(timestamp))
			assert.Equal(t, requireResult(t, others[0]).Batch, requireResult(t, others[1]).Batch)

			first = startQuery(t.Context(), engine)
		}
		gate.open()
		requireResult(t, first)
		assert.EqualValues(t, 7, store.reads.Load())
		assert.Equal(t, []int{1, 2, 1, 2, 1, 2, 1}, queries)
	})
}

func TestNoReadWithoutQueries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, store, gate := newBlockedEngine(t, points.Config{})
		first := startQuery(t.Context(), engine)
		ctx, cancel := context.WithCancel(t.Context())
		calls := startQueries(ctx, engine, 3)
		cancel()
		synctest.Wait()
		gate.open()
		requireResult(t, first)
		for _, c := range calls {
			require.ErrorIs(t, c.err, context.Canceled)
		}
		assert.EqualValues(t, 1, store.reads.Load())
		query(t, engine)
	})
}

func TestCancelledDuringTheRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, store, gate := newBlockedEngine(t, points.Config{})
		gate.open()
		query(t, engine)
		timestamp := time.Now().UTC().Round(0)
		pass(time.Second)
		gate.close()

		ctx, cancel := context.WithCancel(t.Context())
		cancelled := startQuery(ctx, engine)
		cancel()
		synctest.Wait()
		require.True(t, cancelled.hasReturned())
		require.ErrorIs(t, cancelled.err, context.Canceled)

		late := startQuery(t.Context(), engine)
		pass(time.Second)
		gate.release()
		gate.open()
		assert.Equal(t, timestamp, requireResult(t, late).PreviousTimestamp, "a cancelled query has no timestamp")
		assert.EqualValues(t, 3, store.reads.Load())
	})
}

func TestDeadlineOfTheQueryContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, _, _ := newBlockedUnresponsiveEngine(t, points.Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c := startQuery(ctx, engine)
		pass(time.Second)
		require.True(t, c.hasReturned())
		require.ErrorIs(t, c.err, context.DeadlineExceeded)
		require.NotErrorIs(t, c.err, points.ErrQueryTimeout)
		assert.Equal(t, time.Second, c.took)
	})
}
