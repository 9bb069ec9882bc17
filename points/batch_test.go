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

// heldUp returns an engine whose reads find one user, whose ID is the number of the read, and then wait at the gate,
// which is closed. They heed their context.
func heldUp(t *testing.T, cfg points.Config) (*points.Engine, *fake, *gate) {
	t.Helper()
	return heldUpBy(t, cfg, func(ctx context.Context) context.Context { return ctx })
}

// heldUpDeaf is heldUp with a store that does not heed contexts.
func heldUpDeaf(t *testing.T, cfg points.Config) (*points.Engine, *fake, *gate) {
	t.Helper()
	return heldUpBy(t, cfg, context.WithoutCancel)
}

func heldUpBy(t *testing.T, cfg points.Config, heed func(context.Context) context.Context) (
	*points.Engine, *fake, *gate,
) {
	t.Helper()
	g := &gate{}
	g.close()
	t.Cleanup(g.open)
	store := &fake{}
	store.read = func(ctx context.Context, _, _ int) ([]points.User, error) {
		users := []points.User{{ID: store.reads.Load()}}
		return users, g.pass(heed(ctx))
	}
	return newEngine(t, store, cfg), store, g
}

// requireAnswer checks that the call has returned without error.
func requireAnswer(t *testing.T, c *call[points.Result]) points.Result {
	t.Helper()
	require.True(t, c.hasReturned(), "the query has been answered")
	require.NoError(t, c.err)
	return c.result
}

func TestLoneCallerWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []points.BatchInfo
		store := &fake{read: func(context.Context, int, int) ([]points.User, error) {
			pass(time.Millisecond)
			return nil, nil
		}}
		engine := newEngine(t, store, points.Config{
			Hooks: points.Hooks{BatchEnd: func(info points.BatchInfo) { told = append(told, info) }},
		})
		for i := range 3 {
			began := time.Now()
			query(t, engine)
			assert.Equal(t, time.Millisecond, time.Since(began), "a query takes as long as its read")
			assert.Equal(t, points.BatchInfo{Batch: uint64(i) + 1, Queries: 1, Duration: time.Millisecond}, told[i])
		}
	})
}

func TestCallersThatWaitAreAnsweredFromOneRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []points.BatchInfo
		engine, store, gate := heldUp(t, points.Config{
			Hooks: points.Hooks{BatchEnd: func(info points.BatchInfo) { told = append(told, info) }},
		})
		first := ask(t.Context(), engine)
		pass(time.Second)
		others := askInTurn(t.Context(), engine, 5)
		assert.Equal(t, 6, engine.State().Waiting)
		pass(time.Second)
		gate.letThrough()
		assert.EqualValues(t, 2, store.reads.Load())
		assert.Equal(t, 5, engine.State().Waiting)
		pass(time.Second)
		gate.open()

		assert.EqualValues(t, 2, store.reads.Load())
		assert.Zero(t, engine.State().Waiting)
		assert.True(t, requireAnswer(t, first).Previous.IsZero())
		previous := requireAnswer(t, first).Previous
		for _, c := range others {
			result := requireAnswer(t, c)
			assert.Equal(t, []points.User{{ID: 2}}, result.Users)
			assert.EqualValues(t, 2, result.Batch)
			assert.True(t, result.Previous.After(previous), "in the order in which they came")
			previous = result.Previous
		}
		assert.Equal(t, []points.BatchInfo{
			{Batch: 1, Queries: 1, Users: 1, Duration: 2 * time.Second},
			{Batch: 2, Queries: 5, Users: 1, Waited: time.Second, Duration: time.Second},
		}, told)
	})
}

func TestWhoComesDuringAReadWaitsForTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, store, gate := heldUp(t, points.Config{})
		early := ask(t.Context(), engine)
		late := ask(t.Context(), engine)
		gate.letThrough()

		assert.Equal(t, []points.User{{ID: 1}}, requireAnswer(t, early).Users)
		assert.False(t, late.hasReturned())
		assert.EqualValues(t, 2, store.reads.Load())
		gate.open()
		assert.Equal(t, []points.User{{ID: 2}}, requireAnswer(t, late).Users)
	})
}

func TestFailedReadFailsItsWholeBatch(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error": func() error { return errStore },
		"panic": func() error { panic("out of paper") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine, store, gate := heldUp(t, points.Config{})
				before := ask(t.Context(), engine)
				batch := askInTurn(t.Context(), engine, 3)
				read := store.read
				gate.letThrough() // the batch's read begins
				store.onRead(func(context.Context, int, int) ([]points.User, error) { return nil, fail() })
				assert.True(t, requireAnswer(t, before).Previous.IsZero())
				stamp := time.Now()
				pass(time.Second)

				failing := askInTurn(t.Context(), engine, 3)
				gate.letThrough() // the batch is answered, and the next read fails
				for _, c := range batch {
					requireAnswer(t, c)
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
				assert.True(t, query(t, engine).Previous.After(stamp), "the stamp of the last of the batch")
				assert.EqualValues(t, 4, store.reads.Load())
			})
		})
	}
}

func TestCancelledWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var callers []int
		engine, store, gate := heldUp(t, points.Config{
			Hooks: points.Hooks{BatchEnd: func(info points.BatchInfo) { callers = append(callers, info.Queries) }},
		})
		first := ask(t.Context(), engine)
		for _, leaver := range []int{0, 1, 2} { // the first, one in the middle, the last
			ctx, cancel := context.WithCancel(t.Context())
			calls := make([]*call[points.Result], 3)
			for i := range calls {
				if i == leaver {
					calls[i] = ask(ctx, engine)
				} else {
					calls[i] = ask(t.Context(), engine)
				}
			}
			cancel()
			synctest.Wait()
			require.True(t, calls[leaver].hasReturned())
			require.ErrorIs(t, calls[leaver].err, context.Canceled)
			require.EqualError(t, calls[leaver].err, "points: query: context canceled")
			assert.Zero(t, calls[leaver].result)

			pass(time.Second)
			gate.letThrough()
			stamp := time.Now().UTC().Round(0)
			requireAnswer(t, first)
			pass(time.Second)
			gate.letThrough()
			others := slices.Delete(calls, leaver, leaver+1)
			assert.Equal(t, stamp, requireAnswer(t, others[0]).Previous)
			assert.True(t, requireAnswer(t, others[1]).Previous.After(stamp))
			assert.Equal(t, requireAnswer(t, others[0]).Batch, requireAnswer(t, others[1]).Batch)

			first = ask(t.Context(), engine)
		}
		gate.open()
		requireAnswer(t, first)
		assert.EqualValues(t, 7, store.reads.Load())
		assert.Equal(t, []int{1, 2, 1, 2, 1, 2, 1}, callers)
	})
}

func TestReadOfNobodyIsNotMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, store, gate := heldUp(t, points.Config{})
		first := ask(t.Context(), engine)
		ctx, cancel := context.WithCancel(t.Context())
		calls := askInTurn(ctx, engine, 3)
		cancel()
		synctest.Wait()
		gate.open()
		requireAnswer(t, first)
		for _, c := range calls {
			require.ErrorIs(t, c.err, context.Canceled)
		}
		assert.EqualValues(t, 1, store.reads.Load())
		query(t, engine)
	})
}

func TestCancelledDuringItsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, store, gate := heldUp(t, points.Config{})
		gate.open()
		query(t, engine)
		stamp := time.Now().UTC().Round(0)
		pass(time.Second)
		gate.close()

		ctx, cancel := context.WithCancel(t.Context())
		leaver := ask(ctx, engine)
		cancel()
		synctest.Wait()
		require.True(t, leaver.hasReturned())
		require.ErrorIs(t, leaver.err, context.Canceled)

		late := ask(t.Context(), engine)
		pass(time.Second)
		gate.letThrough()
		gate.open()
		assert.Equal(t, stamp, requireAnswer(t, late).Previous, "who left has no place in the order")
		assert.EqualValues(t, 3, store.reads.Load())
	})
}

func TestDeadlineOfTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, _, _ := heldUpDeaf(t, points.Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c := ask(ctx, engine)
		pass(time.Second)
		require.True(t, c.hasReturned())
		require.ErrorIs(t, c.err, context.DeadlineExceeded)
		require.NotErrorIs(t, c.err, points.ErrQueryTimeout)
		assert.Equal(t, time.Second, c.took)
	})
}
