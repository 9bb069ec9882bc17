package points_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

// A fakeState is a store with a shared state whose methods a test sets. By default a batch gets the next timestamps and
// no users, and no tick is ever due.
type fakeState struct {
	fake

	answer    func(ctx context.Context, n, limit int) (points.SharedBatch, error)
	sync      func(ctx context.Context, request points.SyncRequest) (points.SyncResult, error)
	configure func(ctx context.Context, change points.ScheduleChange) (points.SharedStatus, error)

	mu      sync.Mutex
	last    time.Time
	batches []int // numbers of queries
}

func (s *fakeState) Capabilities() points.Capabilities { return points.Capabilities{SharedState: s} }

func (s *fakeState) AnswerBatch(ctx context.Context, n, limit int) (points.SharedBatch, error) {
	s.mu.Lock()
	s.batches = append(s.batches, n)
	answer := s.answer
	s.mu.Unlock()
	if answer != nil {
		return answer(ctx, n, limit)
	}
	return s.next(n), nil
}

// next returns the next batch of n queries.
func (s *fakeState) next(n int) points.SharedBatch {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := points.SharedBatch{PreviousTimestamp: s.last}
	s.last = s.last.Add(time.Duration(n) * time.Microsecond)
	if now := time.Now().UTC().Round(0); now.After(s.last) {
		s.last = now
	}
	batch.LastTimestamp = s.last
	return batch
}

func (s *fakeState) onAnswer(answer func(ctx context.Context, n, limit int) (points.SharedBatch, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *fakeState) Sync(ctx context.Context, request points.SyncRequest) (points.SyncResult, error) {
	if s.sync == nil {
		return points.SyncResult{}, nil
	}
	return s.sync(ctx, request)
}

func (s *fakeState) Configure(ctx context.Context, change points.ScheduleChange) (points.SharedStatus, error) {
	return s.configure(ctx, change)
}

// newBlockedShared returns an engine whose batches wait at the returned gate, which is closed, before they are
// answered.
func newBlockedShared(t *testing.T) (*points.Engine, *fakeState, *gate) {
	t.Helper()
	g := &gate{}
	g.close()
	t.Cleanup(g.open)
	state := &fakeState{}
	state.answer = func(ctx context.Context, n, _ int) (points.SharedBatch, error) {
		if err := g.pass(ctx); err != nil {
			return points.SharedBatch{}, err
		}
		return state.next(n), nil
	}
	return newEngine(t, state, points.Config{}), state, g
}

func TestImmediateReadsAndSharedState(t *testing.T) {
	_, err := points.New(bothCapabilities{&fakeState{}}, points.Config{})
	require.EqualError(t, err, "points: a store cannot have both ImmediateReads and a SharedState")
}

type bothCapabilities struct{ *fakeState }

func (s bothCapabilities) Capabilities() points.Capabilities {
	return points.Capabilities{ImmediateReads: true, SharedState: s}
}

// Two batches are in flight; the queries that arrive meanwhile form the next one.
func TestTwoSharedBatchesInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, state, gate := newBlockedShared(t)
		calls := startQueries(t.Context(), engine, 7)
		assert.Equal(t, []int{1, 1}, state.batches)
		assert.Equal(t, 7, engine.State().Waiting)
		assert.Equal(t, 2, engine.State().InFlight)
		gate.open()
		assert.Equal(t, []int{1, 1, 5}, state.batches)
		assert.Zero(t, engine.State().Waiting)
		assert.Zero(t, engine.State().InFlight)
		assert.EqualValues(t, 3, engine.State().Batches)

		timestamps := make([]time.Time, 0, len(calls))
		for _, c := range calls {
			result := requireResult(t, c)
			assert.Equal(t, []points.User{}, result.Users)
			timestamps = append(timestamps, result.PreviousTimestamp)
		}
		slices.SortFunc(timestamps, time.Time.Compare)
		assert.Zero(t, timestamps[0], "the first query has none before it")
		assert.Len(t, slices.Compact(timestamps), 7, "each returns the timestamp of another one")
		assert.EqualValues(t, 0, state.reads.Load(), "UsersAbove is not used")
	})
}

// A second batch starts while another is in flight only if the latest two are small.
func TestSharedBatchesOverlapIfSmall(t *testing.T) {
	for _, test := range []struct {
		queries       int
		beside, after []int // the batches that have started while the one with these queries is in flight, and after it
	}{
		{15, []int{1, 1, 15, 1}, []int{1, 1, 15, 1, 1}},
		{16, []int{1, 1, 16}, []int{1, 1, 16, 1}},
	} {
		t.Run(strconv.Itoa(test.queries), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine, state, gate := newBlockedShared(t)
				startQueries(t.Context(), engine, 2) // two batches in flight
				startQueries(t.Context(), engine, test.queries)
				gate.release()
				startQuery(t.Context(), engine)
				require.Equal(t, test.beside, state.batches)
				gate.release()
				startQuery(t.Context(), engine)
				require.Equal(t, test.after, state.batches, "one of the latest two batches is still the large one")
				gate.release()
				startQueries(t.Context(), engine, 2)
				require.Equal(t, append(test.after, 1, 1), state.batches, "both are small")
			})
		})
	}
}

// Queries that give up while their batch is in flight leave its first timestamps unused: the last query of the batch
// has its last timestamp, which the next batch returns.
func TestSharedBatchWithoutSomeQueries(t *testing.T) {
	for _, cancelled := range [][]int{{}, {0}, {1}, {2}, {0, 1}, {0, 2}, {1, 2}, {0, 1, 2}} {
		t.Run(fmt.Sprint(cancelled), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine, state, gate := newBlockedShared(t)
				startQueries(t.Context(), engine, 2) // two batches in flight
				calls := make([]*call[points.Result], 3)
				cancels := make([]context.CancelFunc, 3)
				for i := range calls {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					calls[i], cancels[i] = startQuery(ctx, engine), cancel
				}
				gate.release()
				require.Equal(t, []int{1, 1, 3}, state.batches)
				for _, i := range cancelled {
					cancels[i]()
				}
				pass(time.Second)
				before := state.last
				gate.open()
				last := state.last
				next := query(t, engine).PreviousTimestamp
				assert.Equal(t, last, next, "the last timestamp of the batch")

				remaining := slices.DeleteFunc(calls, func(c *call[points.Result]) bool { return c.err != nil })
				require.Len(t, remaining, 3-len(cancelled))
				want := append(make([]time.Time, 0, 4), before)
				for i := range remaining {
					want = append(want, last.Add(-time.Duration(len(remaining)-1-i)*time.Microsecond))
				}
				for i, c := range remaining {
					assert.Equal(t, want[i], requireResult(t, c).PreviousTimestamp)
				}
			})
		})
	}
}

func TestSharedBatchFails(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error": func() error { return errStore },
		"panic": func() error { panic("out of paper") },
	} {
		t.Run(name, func(t *testing.T) {
			state := &fakeState{}
			engine := newEngine(t, state, points.Config{})
			query(t, engine)
			first := state.last
			state.answer = func(_ context.Context, n, _ int) (points.SharedBatch, error) {
				return state.next(n), fail() // it has taken its timestamp
			}
			_, err := engine.Query(t.Context())
			require.ErrorContains(t, err, "points: reading users: ")
			lost := state.last
			require.Greater(t, lost, first)
			state.answer = nil
			assert.Equal(t, lost, query(t, engine).PreviousTimestamp, "the timestamp of the query that failed")
		})
	}
}

func TestLimitOfASharedBatch(t *testing.T) {
	state := &fakeState{answer: func(_ context.Context, _, limit int) (points.SharedBatch, error) {
		return points.SharedBatch{Users: make([]points.User, limit)}, nil
	}}
	assert.Len(t, query(t, newEngine(t, state, points.Config{Limit: 7})).Users, 7)
}

// While the store is down there is one probe at a time, also beside a batch that began before.
func TestSharedStateIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, state, gate := newBlockedShared(t)
		first := startQuery(t.Context(), engine)
		pass(4 * time.Second)
		old := startQuery(t.Context(), engine) // in flight until 9 s
		waiting := startQuery(t.Context(), engine)
		pass(time.Second)
		requireTimeout(t, first, 5*time.Second)
		requireDown(t, waiting, time.Second)
		assert.False(t, old.hasReturned())
		assert.True(t, engine.State().Down)

		pass(probeInterval - 1)
		requireDown(t, startQuery(t.Context(), engine), 0)
		pass(1)
		probe := startQuery(t.Context(), engine)
		require.False(t, probe.hasReturned(), "the old batch does not delay the probe")
		requireDown(t, startQuery(t.Context(), engine), 0)
		assert.Equal(t, []int{1, 1, 1}, state.batches)
		pass(4 * time.Second)
		require.True(t, probe.hasReturned())
		requireTimeout(t, old, 5*time.Second)
		assert.True(t, engine.State().Down)

		// A probe that succeeds ends the outage.
		pass(probeInterval)
		probe = startQuery(t.Context(), engine)
		requireDown(t, startQuery(t.Context(), engine), 0)
		gate.open()
		requireResult(t, probe)
		assert.False(t, engine.State().Down)
		for range 3 {
			query(t, engine)
		}
	})
}

// A batch that began before an outage ends it if it succeeds, and does not if it fails, however fast.
func TestOldBatchDuringAnOutage(t *testing.T) {
	for name, succeeds := range map[string]bool{"succeeds": true, "fails": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				state := &fakeState{}
				calls := 0
				state.onAnswer(func(_ context.Context, n, _ int) (points.SharedBatch, error) {
					calls++
					if calls == 1 { // finds the state down after a second
						<-time.After(time.Second)
						return points.SharedBatch{}, errStore
					}
					<-time.After(300 * time.Millisecond)
					if !succeeds {
						return points.SharedBatch{}, errStore
					}
					return state.next(n), nil
				})
				engine := newEngine(t, state, points.Config{})
				first := startQuery(t.Context(), engine)
				pass(900 * time.Millisecond)
				old := startQuery(t.Context(), engine)
				pass(100 * time.Millisecond)
				require.ErrorIs(t, first.err, errStore)
				require.True(t, engine.State().Down)
				pass(200 * time.Millisecond)
				require.True(t, old.hasReturned())
				assert.Equal(t, succeeds, old.err == nil)
				assert.Equal(t, !succeeds, engine.State().Down)
			})
		})
	}
}

// Batch hooks are called one at a time, and BatchEnd gets the context that BatchStart has returned for the same batch.
func TestHooksOfSharedBatches(t *testing.T) {
	state := &fakeState{}
	calls, running := 0, 0 // not guarded: the race detector sees hooks that overlap
	ended := make(map[string]int)
	engine := newEngine(t, state, points.Config{Hooks: points.Hooks{
		BatchStart: func(ctx context.Context, queries []context.Context) context.Context {
			calls++
			running++
			assert.LessOrEqual(t, running, 2)
			return withName(ctx, fmt.Sprintf("batch %d of %d", calls, len(queries)))
		},
		BatchEnd: func(info points.BatchInfo) {
			running--
			name, _ := info.Context.Value(nameKey{}).(string)
			ended[name] = info.Queries
		},
	}})
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 100 {
				_, err := engine.Query(t.Context())
				assert.NoError(t, err)
			}
		})
	}
	clients.Wait()
	assert.Len(t, ended, calls)
	answered := 0
	for name, queries := range ended {
		var number, started int
		_, err := fmt.Sscanf(name, "batch %d of %d", &number, &started)
		require.NoError(t, err)
		assert.Equal(t, started, queries)
		answered += queries
	}
	assert.Equal(t, 800, answered)
}

func TestTimeoutOfASharedBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := &fakeState{answer: func(ctx context.Context, _, _ int) (points.SharedBatch, error) {
			<-ctx.Done()
			return points.SharedBatch{}, ctx.Err()
		}}
		engine := newEngine(t, state, points.Config{QueryTimeout: time.Second})
		c := awaitQuery(t, engine)
		requireTimeout(t, c, time.Second)
		require.NotErrorIs(t, c.err, points.ErrStoreDown)
	})
}

// The hook gets how long a batch waited for its place in the order.
func TestSharedLockWait(t *testing.T) {
	state := &fakeState{}
	state.onAnswer(func(_ context.Context, n, _ int) (points.SharedBatch, error) {
		batch := state.next(n)
		batch.LockWait = time.Second
		return batch, nil
	})
	var waits []time.Duration
	engine := newEngine(t, state, points.Config{
		Hooks: points.Hooks{BatchEnd: func(info points.BatchInfo) { waits = append(waits, info.LockWait) }},
	})
	_, err := engine.Query(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []time.Duration{time.Second}, waits)
}

// An update without an outcome runs if its engine can still end it.
func TestSharedStatusRunning(t *testing.T) {
	at := func(seconds int) time.Time { return time.Date(2026, 1, 1, 0, 0, seconds, 0, time.UTC) }
	update := func(id, engine uint64, started int, outcome points.UpdateOutcome) points.SharedUpdate {
		return points.SharedUpdate{ID: id, Instance: "name", InstanceID: engine, Started: at(started), Outcome: outcome}
	}
	const one, two = 1, 2 // engines
	const unfinished, succeeded = points.UpdateUnfinished, points.UpdateSucceeded
	for name, test := range map[string]struct {
		updates []points.SharedUpdate
		want    uint64
	}{
		"none":                   {nil, 0},
		"ended":                  {[]points.SharedUpdate{update(1, one, 20, succeeded)}, 0},
		"running":                {[]points.SharedUpdate{update(1, one, 20, unfinished)}, 1},
		"as the engine starts":   {[]points.SharedUpdate{update(1, one, 10, unfinished)}, 1},
		"before the engine":      {[]points.SharedUpdate{update(1, one, 9, unfinished)}, 0},
		"of an engine that died": {[]points.SharedUpdate{update(1, two, 20, unfinished)}, 0},
		"and a tick was skipped": {[]points.SharedUpdate{update(2, one, 30, points.UpdateSkipped), update(1, one, 20, unfinished)}, 1},
		"and a tick will be":     {[]points.SharedUpdate{update(2, one, 30, unfinished), update(1, one, 20, unfinished)}, 1},
		"after one of the dead":  {[]points.SharedUpdate{update(2, two, 30, unfinished), update(1, one, 20, unfinished)}, 1},
	} {
		status := points.SharedStatus{Instances: []points.SharedInstance{{Instance: "name", ID: one, Started: at(10)}}, Updates: test.updates}
		running, ok := status.Running()
		assert.Equal(t, test.want, running.ID, name)
		assert.Equal(t, test.want != 0, ok, name)
	}
}
