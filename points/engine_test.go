package points_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

func TestPreviousIsTheTimestampBefore(t *testing.T) {
	inBothModes(t, func(t *testing.T, mode func(*fake) points.Store) {
		engine := newEngine(t, mode(&fake{}), points.Config{})
		before := time.Time{}
		for range 10 {
			assert.Equal(t, before, query(t, engine).PreviousTimestamp)
			before = time.Now().UTC().Round(0)
			pass(1500 * time.Microsecond)
		}
	})
}

func TestTimestampsIncreaseWhileTheClockStandsStill(t *testing.T) {
	inBothModes(t, func(t *testing.T, mode func(*fake) points.Store) {
		engine := newEngine(t, mode(&fake{}), points.Config{})
		started := time.Now()
		timestamps := make([]time.Time, 100)
		for i := range timestamps {
			timestamps[i] = query(t, engine).PreviousTimestamp
		}
		assert.Equal(t, started, time.Now(), "the clock stands still")
		assert.True(t, timestamps[0].IsZero())
		for i := range timestamps[1:] {
			assert.GreaterOrEqual(t, timestamps[i+1].Sub(timestamps[i]), time.Microsecond)
		}
	})
}

func TestTimestampsOfConcurrentQueriesDiffer(t *testing.T) {
	inBothModes(t, func(t *testing.T, mode func(*fake) points.Store) {
		engine := newEngine(t, mode(&fake{}), points.Config{})
		const queries = 100
		for range 5 {
			timestamps := make([]time.Time, queries)
			var all sync.WaitGroup
			for i := range queries {
				all.Go(func() {
					result, err := engine.Query(t.Context())
					assert.NoError(t, err)
					timestamps[i] = result.PreviousTimestamp
				})
			}
			all.Wait()
			slices.SortFunc(timestamps, time.Time.Compare)
			for i := range timestamps[1:] {
				require.GreaterOrEqual(t, timestamps[i+1].Sub(timestamps[i]), time.Microsecond)
			}
			pass(time.Second)
			assert.False(t, query(t, engine).PreviousTimestamp.After(time.Now()), "timestamps are never in the future")
		}
	})
}

func TestUsersAreNeverNil(t *testing.T) {
	inBothModes(t, func(t *testing.T, mode func(*fake) points.Store) {
		assert.Equal(t, []points.User{}, query(t, newEngine(t, mode(&fake{}), points.Config{})).Users)
	})
}

func TestUsersAreThoseOfTheStore(t *testing.T) {
	inBothModes(t, func(t *testing.T, mode func(*fake) points.Store) {
		users := []points.User{{ID: 7, Points: 90}, {ID: -1, Points: 100}}
		engine := newEngine(t, mode(&fake{
			read: func(context.Context, int, int) ([]points.User, error) { return users, nil },
		}), points.Config{})
		assert.Equal(t, users, query(t, engine).Users)
	})
}

func TestBatchesAreNumbered(t *testing.T) {
	inBothModes(t, func(t *testing.T, mode func(*fake) points.Store) {
		engine := newEngine(t, mode(&fake{}), points.Config{})
		for i := range 3 {
			assert.EqualValues(t, i+1, query(t, engine).Batch)
		}
		assert.EqualValues(t, 3, engine.State().Batches)
	})
}

func TestQueryWithEndedContext(t *testing.T) {
	inBothModes(t, func(t *testing.T, mode func(*fake) points.Store) {
		store := &fake{}
		engine := newEngine(t, mode(store), points.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		result, err := engine.Query(ctx)
		require.ErrorIs(t, err, context.Canceled)
		require.EqualError(t, err, "points: query: context canceled")
		assert.Zero(t, result)
		assert.Zero(t, store.reads.Load())
		assert.True(t, query(t, engine).PreviousTimestamp.IsZero())
	})
}

func TestFailedReadChangesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		read func(context.Context, int, int) ([]points.User, error)
		want string
		is   error
	}{
		"error": {
			func(context.Context, int, int) ([]points.User, error) { return []points.User{{ID: 1}}, errStore },
			"points: reading users: the store is away", errStore,
		},
		"panic": {
			func(context.Context, int, int) ([]points.User, error) { panic("out of paper") },
			"points: reading users: the store panicked: out of paper", nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBothModes(t, func(t *testing.T, mode func(*fake) points.Store) {
				store := &fake{}
				engine := newEngine(t, mode(store), points.Config{})
				query(t, engine)
				timestamp := time.Now().UTC().Round(0)
				pass(time.Second)

				store.onRead(test.read)
				result, err := engine.Query(t.Context())
				require.EqualError(t, err, test.want)
				if test.is != nil {
					require.ErrorIs(t, err, test.is)
				}
				assert.Zero(t, result)
				pass(time.Second)

				store.onRead(nil)
				result = query(t, engine)
				assert.Equal(t, timestamp, result.PreviousTimestamp, "the timestamp of the query before the failed one")
				assert.EqualValues(t, 3, result.Batch)
			})
		})
	}
}

func TestBatchEnd(t *testing.T) {
	inBothModes(t, func(t *testing.T, mode func(*fake) points.Store) {
		var got []points.BatchInfo
		store := &fake{read: func(context.Context, int, int) ([]points.User, error) { return make([]points.User, 2), nil }}
		engine := newEngine(t, mode(store), points.Config{
			Hooks: points.Hooks{BatchEnd: func(info points.BatchInfo) { got = append(got, info) }},
		})
		query(t, engine)
		store.onRead(func(context.Context, int, int) ([]points.User, error) { return nil, errStore })
		_, err := engine.Query(t.Context())
		require.Error(t, err)
		assert.Equal(t, []points.BatchInfo{
			{Batch: 1, Queries: 1, Users: 2},
			{Batch: 2, Queries: 1, Err: err},
		}, got)
	})
}

// With ImmediateReads each query reads for itself, one at a time.
func TestImmediateReadsAreSerialised(t *testing.T) {
	reading := 0 // guarded by the engine's lock, which the race detector checks
	store := immediateFake{&fake{read: func(context.Context, int, int) ([]points.User, error) {
		reading++
		defer func() { reading-- }()
		return make([]points.User, reading), nil
	}}}
	engine := newEngine(t, store, points.Config{MaxWaiting: 1})
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 20 {
				result, err := engine.Query(t.Context())
				assert.NoError(t, err, "MaxWaiting does not apply")
				assert.Len(t, result.Users, 1)
			}
		})
	}
	all.Wait()
	assert.EqualValues(t, 1000, store.reads.Load())
}
