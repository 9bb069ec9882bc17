package points_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

func TestQueryTimeout(t *testing.T) {
	for name, newBlockedEngine := range map[string]func(*testing.T, points.Config) (*points.Engine, *fake, *gate){
		"the store honours its context": newBlockedEngine,
		"the store is unresponsive":     newBlockedUnresponsiveEngine,
	} {
		for _, timeout := range []time.Duration{0, 70 * time.Millisecond} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					want := timeout
					if timeout == 0 {
						want = 5 * time.Second
					}
					var got []error
					engine, _, gate := newBlockedEngine(t, points.Config{
						QueryTimeout: timeout,
						Hooks:        points.Hooks{BatchEnd: func(info points.BatchInfo) { got = append(got, info.Err) }},
					})
					waiting := startQueries(t.Context(), engine, 3) // one in its read, two in the queue
					pass(want - 1)
					for _, c := range waiting {
						require.False(t, c.hasReturned())
					}
					pass(1)
					for _, c := range waiting {
						requireTimeout(t, c, want)
					}
					assert.Zero(t, engine.State().Waiting)

					gate.open()
					pass(probeInterval)
					assert.True(t, query(t, engine).PreviousTimestamp.IsZero(), "a query that timed out has no timestamp")
					require.NotEmpty(t, got)
					if got[0] != nil { // an unresponsive store finds users, but too late
						assert.ErrorIs(t, got[0], points.ErrQueryTimeout)
					}
				})
			})
		}
	}
}

func requireTimeout(t *testing.T, c *call[points.Result], after time.Duration) {
	t.Helper()
	require.True(t, c.hasReturned(), "a query returns at its timeout")
	require.ErrorIs(t, c.err, points.ErrQueryTimeout)
	require.ErrorIs(t, c.err, context.DeadlineExceeded)
	assert.Zero(t, c.result)
	assert.Equal(t, after, c.took)
}

// Each query of a batch has its own timeout.
func TestQueryTimeoutWithinABatch(t *testing.T) {
	for name, test := range map[string]struct {
		newBlockedEngine func(*testing.T, points.Config) (*points.Engine, *fake, *gate)
		answered         bool // whether the third one is
	}{
		"the store honours its context":                   {newBlockedEngine, false},
		"the store is unresponsive":                       {newBlockedUnresponsiveEngine, false},
		"the store honours its context, and succeeds":     {newBlockedEngine, true},
		"the store is unresponsive, and succeeds at last": {newBlockedUnresponsiveEngine, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine, store, gate := test.newBlockedEngine(t, points.Config{})
				before := startQuery(t.Context(), engine)
				calls := make([]*call[points.Result], 0, 3)
				for range 3 {
					calls = append(calls, startQuery(t.Context(), engine))
					pass(time.Second)
				}
				gate.release() // at 3 s, the read of all three begins
				timestamp := time.Now().UTC().Round(0)
				requireResult(t, before)
				pass(2 * time.Second)
				requireTimeout(t, calls[0], 5*time.Second)
				require.False(t, calls[1].hasReturned())
				pass(time.Second)
				requireTimeout(t, calls[1], 5*time.Second)
				require.False(t, calls[2].hasReturned())
				assert.EqualValues(t, 2, store.reads.Load())

				if test.answered {
					gate.open()
					result := requireResult(t, calls[2])
					assert.Equal(t, timestamp, result.PreviousTimestamp)
					assert.Equal(t, []points.User{{ID: 2}}, result.Users)
					return
				}
				pass(time.Second)
				requireTimeout(t, calls[2], 5*time.Second)
				gate.open()
				pass(probeInterval)
				assert.Equal(t, timestamp, query(t, engine).PreviousTimestamp)
			})
		})
	}
}

// A stuck read delays no query by more than its timeout.
func TestStuckRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, store, gate := newBlockedUnresponsiveEngine(t, points.Config{})
		for range 5 {
			c := startQuery(t.Context(), engine)
			pass(5 * time.Second)
			requireTimeout(t, c, 5*time.Second)
			pass(time.Second)
		}
		assert.EqualValues(t, 1, store.reads.Load())
		gate.open()
		assert.Equal(t, []points.User{{ID: 2}}, query(t, engine).Users)
	})
}

// A store that is slow but works is not down, even if queries time out because they had to wait for another read first.
func TestSlowStoreIsNotDown(t *testing.T) {
	for name, cfg := range map[string]points.Config{
		"default":            {},
		"long probe timeout": {ProbeTimeout: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &fake{read: func(ctx context.Context, _, _ int) ([]points.User, error) {
					select {
					case <-time.After(3 * time.Second):
						return nil, nil
					case <-ctx.Done():
						return nil, ctx.Err()
					}
				}}
				engine := newEngine(t, store, cfg)
				for range 20 {
					first := startQuery(t.Context(), engine)
					pass(500 * time.Millisecond)
					second := startQuery(t.Context(), engine) // its read begins after 2.5 s
					pass(9500 * time.Millisecond)
					requireResult(t, first)
					requireTimeout(t, second, 5*time.Second)
					assert.False(t, engine.State().Down)
				}
			})
		})
	}
}

// A store that hangs is down, even if the queries of the read have been waiting for another one.
func TestHangAfterASlowReadIsAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, _, gate := newBlockedEngine(t, points.Config{})
		first := startQuery(t.Context(), engine)
		pass(500 * time.Millisecond)
		second := startQuery(t.Context(), engine)
		pass(2500 * time.Millisecond)
		gate.release()
		requireResult(t, first)
		pass(2500 * time.Millisecond)
		requireTimeout(t, second, 5*time.Second)
		waiting := startQuery(t.Context(), engine)
		pass(2500 * time.Millisecond) // the read has taken 5 s
		requireDown(t, waiting, 2500*time.Millisecond)
		gate.open()
		pass(probeInterval)
		query(t, engine)
		assert.False(t, engine.State().Down)
	})
}

func TestReadDeadlineIgnoresTheDeadlineOfAQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var deadline time.Time
		store := &fake{read: func(ctx context.Context, _, _ int) ([]points.User, error) {
			deadline, _ = ctx.Deadline()
			return nil, nil
		}}
		engine := newEngine(t, store, points.Config{QueryTimeout: time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := engine.Query(ctx)
		require.NoError(t, err)
		assert.Equal(t, time.Second, time.Until(deadline), "the deadline of a query context is not that of its batch")
	})
}

func TestOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, store, gate := newBlockedEngine(t, points.Config{MaxWaiting: 3})
		ctx, cancel := context.WithCancel(t.Context())
		cancelled := startQuery(ctx, engine)
		others := startQueries(t.Context(), engine, 2)
		requireOverloaded := func() {
			t.Helper()
			c := startQuery(t.Context(), engine)
			require.True(t, c.hasReturned())
			require.ErrorIs(t, c.err, points.ErrOverloaded)
			assert.Zero(t, c.result)
			assert.Zero(t, c.took)
		}
		requireOverloaded()
		requireOverloaded()
		assert.Equal(t, 3, engine.State().Waiting)

		cancel()
		synctest.Wait()
		require.True(t, cancelled.hasReturned())
		others = append(others, startQuery(t.Context(), engine)) // replaces the cancelled one
		requireOverloaded()

		gate.release() // ends the read of the cancelled query; the next read is for the others
		requireOverloaded()
		gate.open()
		for _, c := range others {
			requireResult(t, c)
		}
		query(t, engine)
		assert.EqualValues(t, 3, store.reads.Load(), "no read for rejected queries")
	})
}

// probeInterval is the time between two probes of a store that is down.
const probeInterval = 100 * time.Millisecond

func requireDown(t *testing.T, c *call[points.Result], after time.Duration) {
	t.Helper()
	require.True(t, c.hasReturned())
	require.ErrorIs(t, c.err, points.ErrStoreDown)
	require.NotErrorIs(t, c.err, points.ErrQueryTimeout)
	assert.Zero(t, c.result)
	assert.Equal(t, after, c.took)
}

// While the store is down, queries fail at once, except for one probe at a time.
func TestStoreThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, store, gate := newBlockedEngine(t, points.Config{ProbeTimeout: 3 * time.Second})
		first := startQuery(t.Context(), engine)
		pass(3 * time.Second)
		waiting := startQuery(t.Context(), engine)
		pass(2 * time.Second)
		requireTimeout(t, first, 5*time.Second)
		requireDown(t, waiting, 2*time.Second)
		assert.True(t, engine.State().Down)

		for probes := range int64(2) {
			requireDown(t, startQuery(t.Context(), engine), 0)
			pass(probeInterval - 1)
			requireDown(t, startQuery(t.Context(), engine), 0)
			require.Equal(t, 1+probes, store.reads.Load())
			pass(1)
			probe := startQuery(t.Context(), engine)
			pass(3*time.Second - 1)
			require.False(t, probe.hasReturned())
			requireDown(t, startQuery(t.Context(), engine), 0)
			pass(1)
			requireDown(t, probe, 3*time.Second)
		}
		pass(probeInterval)
		probe := startQuery(t.Context(), engine)
		requireDown(t, startQuery(t.Context(), engine), 0)
		gate.open()
		assert.True(t, requireResult(t, probe).PreviousTimestamp.IsZero(), "no failed query has a timestamp")
		assert.False(t, engine.State().Down)
		query(t, engine)
	})
}

// A probe may take longer the longer an outage lasts, but no longer than its query; after an outage, ProbeTimeout again.
func TestProbeTimeoutGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, _, gate := newBlockedEngine(t, points.Config{})
		for range 2 {
			gate.close()
			down := time.Now()
			requireTimeout(t, awaitQuery(t, engine), 5*time.Second)
			for range 20 {
				pass(probeInterval)
				outage := time.Since(down)
				probe := awaitQuery(t, engine)
				require.ErrorIs(t, probe.err, context.DeadlineExceeded)
				require.Equal(t, min(max(500*time.Millisecond, outage/4), 5*time.Second), probe.took)
			}
			gate.open()
			pass(probeInterval)
			query(t, engine)
		}
	})
}

// outlast starts a query and returns when it has failed.
func awaitQuery(t *testing.T, engine *points.Engine) *call[points.Result] {
	t.Helper()
	c := startQuery(t.Context(), engine)
	<-c.returned
	return c
}

// One read that hangs does not lock out a store whose reads take longer than ProbeTimeout, or seem to, because the process
// gets little CPU time.
func TestSlowStoreRecovers(t *testing.T) {
	for _, took := range []time.Duration{600 * time.Millisecond, 2 * time.Second, 4900 * time.Millisecond} {
		t.Run(took.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine, store, gate := newBlockedEngine(t, points.Config{})
				hang := startQuery(t.Context(), engine)
				pass(5 * time.Second)
				requireTimeout(t, hang, 5*time.Second)
				gate.open()
				store.onRead(func(ctx context.Context, _, _ int) ([]points.User, error) {
					select {
					case <-time.After(took):
						return nil, nil
					case <-ctx.Done():
						return nil, ctx.Err()
					}
				})
				for down := time.Now(); engine.State().Down; pass(probeInterval) {
					require.Less(t, time.Since(down), 30*time.Second)
					awaitQuery(t, engine)
				}
				for range 10 {
					query(t, engine)
				}
			})
		})
	}
}

// A read that fails fast costs its queries little, so the store is not down.
func TestOnlySlowFailuresMarkTheStoreDown(t *testing.T) {
	for _, test := range []struct {
		took time.Duration
		down bool
	}{{0, false}, {500 * time.Millisecond, false}, {500*time.Millisecond + 1, true}} {
		synctest.Test(t, func(t *testing.T) {
			store := &fake{read: func(context.Context, int, int) ([]points.User, error) {
				pass(test.took)
				return nil, errStore
			}}
			engine := newEngine(t, store, points.Config{})
			_, err := engine.Query(t.Context())
			require.ErrorIs(t, err, errStore)
			require.NotErrorIs(t, err, points.ErrStoreDown)
			assert.Equal(t, test.down, engine.State().Down)
			_, err = engine.Query(t.Context())
			require.ErrorIs(t, err, errStore)
			assert.Equal(t, test.down, errors.Is(err, points.ErrStoreDown))
		})
	}
}
