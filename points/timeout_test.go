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
	for name, heldUp := range map[string]func(*testing.T, points.Config) (*points.Engine, *fake, *gate){
		"store heeds its context": heldUp,
		"store is deaf":           heldUpDeaf,
	} {
		for _, timeout := range []time.Duration{0, 70 * time.Millisecond} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					want := timeout
					if timeout == 0 {
						want = 5 * time.Second
					}
					var told []error
					engine, _, gate := heldUp(t, points.Config{
						QueryTimeout: timeout,
						Hooks:        points.Hooks{BatchEnd: func(info points.BatchInfo) { told = append(told, info.Err) }},
					})
					waiting := askInTurn(t.Context(), engine, 3) // one in its read, two in the line
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
					assert.True(t, query(t, engine).Previous.IsZero(), "who timed out has no place in the order")
					require.NotEmpty(t, told)
					if told[0] != nil { // a deaf store finds users, too late
						assert.ErrorIs(t, told[0], points.ErrQueryTimeout)
					}
				})
			})
		}
	}
}

func requireTimeout(t *testing.T, c *call[points.Result], after time.Duration) {
	t.Helper()
	require.True(t, c.hasReturned(), "after its timeout a query has returned")
	require.ErrorIs(t, c.err, points.ErrQueryTimeout)
	require.ErrorIs(t, c.err, context.DeadlineExceeded)
	assert.Zero(t, c.result)
	assert.Equal(t, after, c.took)
}

// The callers of one batch have each their own time, though one read is for them all.
func TestQueryTimeoutIsEachCallersOwn(t *testing.T) {
	for name, test := range map[string]struct {
		heldUp   func(*testing.T, points.Config) (*points.Engine, *fake, *gate)
		answered bool // the third
	}{
		"store heeds its context":            {heldUp, false},
		"store is deaf":                      {heldUpDeaf, false},
		"store heeds it, and answers":        {heldUp, true},
		"store is deaf, and answers at last": {heldUpDeaf, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine, store, gate := test.heldUp(t, points.Config{})
				before := ask(t.Context(), engine)
				calls := make([]*call[points.Result], 0, 3)
				for range 3 {
					calls = append(calls, ask(t.Context(), engine))
					pass(time.Second)
				}
				gate.letThrough() // at 3 s, the read of all three begins
				stamp := time.Now().UTC().Round(0)
				requireAnswer(t, before)
				pass(2 * time.Second)
				requireTimeout(t, calls[0], 5*time.Second)
				require.False(t, calls[1].hasReturned())
				pass(time.Second)
				requireTimeout(t, calls[1], 5*time.Second)
				require.False(t, calls[2].hasReturned())
				assert.EqualValues(t, 2, store.reads.Load())

				if test.answered {
					gate.open()
					result := requireAnswer(t, calls[2])
					assert.Equal(t, stamp, result.Previous)
					assert.Equal(t, []points.User{{ID: 2}}, result.Users)
					return
				}
				pass(time.Second)
				requireTimeout(t, calls[2], 5*time.Second)
				gate.open()
				pass(probeInterval)
				assert.Equal(t, stamp, query(t, engine).Previous)
			})
		})
	}
}

// A read that is stuck holds up nobody for longer than the timeout, and ends with what it is told.
func TestStuckReadHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, store, gate := heldUpDeaf(t, points.Config{})
		for range 5 {
			c := ask(t.Context(), engine)
			pass(5 * time.Second)
			requireTimeout(t, c, 5*time.Second)
			pass(time.Second)
		}
		assert.EqualValues(t, 1, store.reads.Load())
		gate.open()
		assert.Equal(t, []points.User{{ID: 2}}, query(t, engine).Users)
	})
}

func TestReadEndsWithItsLastCallersTime(t *testing.T) {
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
		assert.Equal(t, time.Second, time.Until(deadline), "a caller's own deadline is not its batch's")
	})
}

func TestOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, store, gate := heldUp(t, points.Config{MaxWaiting: 3})
		ctx, cancel := context.WithCancel(t.Context())
		leaver := ask(ctx, engine)
		others := askInTurn(t.Context(), engine, 2)
		requireOverload := func() {
			t.Helper()
			c := ask(t.Context(), engine)
			require.True(t, c.hasReturned())
			require.ErrorIs(t, c.err, points.ErrOverloaded)
			assert.Zero(t, c.result)
			assert.Zero(t, c.took)
		}
		requireOverload()
		requireOverload()
		assert.Equal(t, 3, engine.State().Waiting)

		cancel()
		synctest.Wait()
		require.True(t, leaver.hasReturned())
		others = append(others, ask(t.Context(), engine)) // in the place of the one who left
		requireOverload()

		gate.letThrough() // the read of the one who left; the next is for the others
		requireOverload()
		gate.open()
		for _, c := range others {
			requireAnswer(t, c)
		}
		query(t, engine)
		assert.EqualValues(t, 3, store.reads.Load(), "who was refused had no read")
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
		engine, store, gate := heldUp(t, points.Config{ProbeTimeout: 3 * time.Second})
		first := ask(t.Context(), engine)
		pass(3 * time.Second)
		waits := ask(t.Context(), engine)
		pass(2 * time.Second)
		requireTimeout(t, first, 5*time.Second)
		requireDown(t, waits, 2*time.Second)
		assert.True(t, engine.State().Down)

		for probes := range int64(2) {
			requireDown(t, ask(t.Context(), engine), 0)
			pass(probeInterval - 1)
			requireDown(t, ask(t.Context(), engine), 0)
			require.Equal(t, 1+probes, store.reads.Load())
			pass(1)
			probe := ask(t.Context(), engine)
			pass(3*time.Second - 1)
			require.False(t, probe.hasReturned())
			requireDown(t, ask(t.Context(), engine), 0)
			pass(1)
			requireDown(t, probe, 3*time.Second)
		}
		pass(probeInterval)
		probe := ask(t.Context(), engine)
		requireDown(t, ask(t.Context(), engine), 0)
		gate.open()
		assert.True(t, requireAnswer(t, probe).Previous.IsZero(), "no failed query has a timestamp")
		assert.False(t, engine.State().Down)
		query(t, engine)
	})
}

// A probe may take longer the longer an outage lasts, but no longer than its query; after an outage, ProbeTimeout again.
func TestProbeTimeoutGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, _, gate := heldUp(t, points.Config{})
		for range 2 {
			gate.close()
			down := time.Now()
			requireTimeout(t, outlast(t, engine), 5*time.Second)
			for range 20 {
				pass(probeInterval)
				outage := time.Since(down)
				probe := outlast(t, engine)
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
func outlast(t *testing.T, engine *points.Engine) *call[points.Result] {
	t.Helper()
	c := ask(t.Context(), engine)
	<-c.returned
	return c
}

// A store whose reads take longer than ProbeTimeout is not shut out for good by one read that hangs. Nor is a store that
// seems slow because the process gets little CPU time.
func TestSlowStoreRecovers(t *testing.T) {
	for _, took := range []time.Duration{600 * time.Millisecond, 2 * time.Second, 4900 * time.Millisecond} {
		t.Run(took.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine, store, gate := heldUp(t, points.Config{})
				hang := ask(t.Context(), engine)
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
					outlast(t, engine)
				}
				for range 10 {
					query(t, engine)
				}
			})
		})
	}
}

// A read that fails soon costs its callers little: the next ones read for themselves.
func TestOnlySlowFailuresPutTheStoreDown(t *testing.T) {
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
