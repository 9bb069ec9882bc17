package points_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pointsapp/pointsapp/internal/linearizability"
	"github.com/pointsapp/pointsapp/internal/sharedtest"
	"github.com/pointsapp/pointsapp/points"
)

// After any sequence of actions on engines with one shared state the invariants hold, and the history is linearizable.
func TestSharedModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) {
			m := newSharedMachine(t)
			defer m.end()
			t.Repeat(rapid.StateMachineActions(m))
			m.end()
			m.Check(t)
			pass(time.Second) // the state may be down, or wait after a crash
			for _, e := range m.engines {
				_, err := e.ask(context.Background())
				require.NoError(t, err)
			}
			require.NoError(t, m.recorder.Check())
		})
	})
}

// A sharedMachine is a database, some engines on it, and a model of their behaviour.
type sharedMachine struct {
	database *sharedtest.Database
	status   func() points.SharedStatus
	recorder *linearizability.Recorder
	engines  []*modelEngine

	paused   bool
	interval time.Duration
	settled  time.Time // since then at least one engine has been healthy, and the schedule has been the same
	ticks    uint64    // then
}

// A modelEngine is an engine of a sharedMachine.
type modelEngine struct {
	*points.Engine

	recorder       *linearizability.Recorder
	batches, syncs behaviours
	queries        []*cancellable[points.Result] // pending
	running        *cancellable[struct{}]        // nil if Run is not running
	release        func()                        // releases all calls that hang, now and later
	lost           atomic.Int64                  // Syncs whose answer was lost
	claimed        atomic.Int64                  // calls of Hooks.Tick
}

func (e *modelEngine) ask(ctx context.Context) (points.Result, error) {
	return e.recorder.Query(func() (points.Result, error) { return e.Query(ctx) })
}

// healthy: the engine claims ticks.
func (e *modelEngine) healthy() bool {
	return e.running != nil && (e.syncs.next == works || e.syncs.next == "")
}

// A flakyState is a shared state whose batches and Syncs can fail in several ways.
type flakyState struct {
	points.Store
	points.SharedState

	engine *modelEngine
}

func (s flakyState) Capabilities() points.Capabilities { return points.Capabilities{SharedState: s} }

func (s flakyState) AnswerBatch(ctx context.Context, n, limit int) (batch points.SharedBatch, err error) {
	err = s.engine.batches.call(ctx, func() (err error) {
		batch, err = s.SharedState.AnswerBatch(ctx, n, limit)
		return err
	})
	return batch, err
}

func (s flakyState) Sync(ctx context.Context, request points.SyncRequest) (result points.SyncResult, err error) {
	err = s.engine.syncs.call(ctx, func() (err error) {
		result, err = s.SharedState.Sync(ctx, request)
		return err
	})
	if err != nil && result.Claimed {
		s.engine.lost.Add(1)
	}
	return result, err
}

func newSharedMachine(t *rapid.T) *sharedMachine {
	users := make([]points.User, 5)
	for i := range users {
		users[i].ID = int64(i)
	}
	m := &sharedMachine{
		database: sharedtest.New(slices.Clone(users)), recorder: linearizability.New(users), interval: modelInterval,
	}
	first := m.recorder.Store(m.database.Open()).Capabilities().SharedState
	_, err := first.Sync(context.Background(), points.SyncRequest{
		Starting: true, TickNow: true, Interval: modelInterval, MinNumber: 50,
	})
	require.NoError(t, err)
	m.status = func() points.SharedStatus {
		status, err := first.Configure(context.Background(), points.ScheduleChange{})
		require.NoError(t, err)
		return status
	}
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	for range rapid.IntRange(1, 3).Draw(t, "engines") {
		e := &modelEngine{recorder: m.recorder}
		e.batches.released, e.syncs.released = make(chan behaviour), make(chan behaviour)
		e.release = sync.OnceFunc(func() {
			close(e.batches.released)
			close(e.syncs.released)
		})
		store := m.recorder.Store(m.database.Open())
		number := rand.New(rand.NewPCG(random.Uint64(), 0))
		e.Engine = newEngine(t, flakyState{store, store.Capabilities().SharedState, e}, m.recorder.Config(points.Config{
			Interval:     modelInterval,
			MinNumber:    func() int { return number.IntN(points.MaxPoints + 1) },
			QueryTimeout: modelQueryTimeout,
			ProbeTimeout: modelProbeTimeout,
			MaxWaiting:   modelMaxWaiting,
			Hooks:        points.Hooks{Tick: func(points.TickInfo) { e.claimed.Add(1) }},
		}))
		m.engines = append(m.engines, e)
	}
	m.settle()
	return m
}

// settle notes that the schedule, or which engines are healthy, has changed.
func (m *sharedMachine) settle() { m.settled, m.ticks = time.Now(), m.status().Ticks }

// end ends all calls that are pending. All that begin later work.
func (m *sharedMachine) end() {
	for _, e := range m.engines {
		e.batches.set(works)
		e.syncs.set(works)
		e.release()
		if e.running != nil {
			e.running.end()
			e.running = nil
		}
	}
	synctest.Wait()
}

// Actions.

func (m *sharedMachine) engine(t *rapid.T) *modelEngine {
	return m.engines[rapid.IntRange(0, len(m.engines)-1).Draw(t, "engine")]
}

func (m *sharedMachine) Ask(t *rapid.T) {
	e := m.engine(t)
	for range rapid.IntRange(1, 3).Draw(t, "queries") {
		full := e.State().Waiting == modelMaxWaiting
		query := startCancellable(e.ask)
		if full {
			require.True(t, query.hasReturned(), "rejected at once")
			require.ErrorIs(t, query.err, points.ErrOverloaded)
			continue
		}
		e.queries = append(e.queries, query)
	}
}

func (m *sharedMachine) Cancel(t *rapid.T) {
	e := m.engine(t)
	if len(e.queries) == 0 {
		t.Skip("no query is pending")
	}
	query := e.queries[rapid.IntRange(0, len(e.queries)-1).Draw(t, "query")]
	query.end()
	require.True(t, query.hasReturned())
}

func (m *sharedMachine) SetBatches(t *rapid.T) {
	all := []behaviour{works, works, fails, loses, panics, hangs}
	m.engine(t).batches.set(rapid.SampledFrom(all).Draw(t, "behaviour"))
}

func (m *sharedMachine) ReleaseBatch(t *rapid.T) {
	m.engine(t).batches.release(t, works, fails, loses, panics)
}

func (m *sharedMachine) SetSyncs(t *rapid.T) {
	m.engine(t).syncs.set(rapid.SampledFrom([]behaviour{works, works, fails, loses, panics, hangs}).Draw(t, "behaviour"))
	m.settle()
}

func (m *sharedMachine) Run(t *rapid.T) {
	e := m.engine(t)
	if e.running != nil {
		t.Skip("Run is running")
	}
	e.running = startCancellable(func(ctx context.Context) (struct{}, error) { return struct{}{}, e.Run(ctx) })
	m.settle()
}

func (m *sharedMachine) Stop(t *rapid.T) {
	e := m.engine(t)
	if e.running == nil {
		t.Skip("Run is not running")
	}
	e.running.end()
	pass(time.Second) // the last Sync may hang
	require.True(t, e.running.hasReturned())
	require.NoError(t, e.running.err)
	e.running = nil
	m.settle()
}

func (m *sharedMachine) Pause(t *rapid.T) {
	e := m.engine(t)
	require.NoError(t, e.Pause())
	require.True(t, e.State().Paused)
	m.paused = true
	m.settle()
}

func (m *sharedMachine) Resume(t *rapid.T) {
	e := m.engine(t)
	require.NoError(t, e.Resume())
	require.False(t, e.State().Paused)
	m.paused = false
	m.settle()
}

func (m *sharedMachine) SetInterval(t *rapid.T) {
	e := m.engine(t)
	m.interval = rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Second, time.Minute}).Draw(t, "interval")
	require.NoError(t, e.SetInterval(m.interval))
	require.Equal(t, m.interval, e.State().Interval)
	m.settle()
}

func (m *sharedMachine) Update(t *rapid.T) {
	e := m.engine(t)
	_, err := e.Update(context.Background())
	require.NoError(t, err)
}

func (m *sharedMachine) Crash(*rapid.T) {
	m.recorder.Crashed()
	m.database.Crash()
}

func (m *sharedMachine) Wait(t *rapid.T) {
	pass(rapid.SampledFrom([]time.Duration{
		time.Millisecond, 100 * time.Millisecond, time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute,
	}).Draw(t, "time"))
}

// Invariants.

func (m *sharedMachine) Check(t *rapid.T) {
	synctest.Wait()
	for _, e := range m.engines {
		m.checkQueries(t, e)
	}
	m.checkTicks(t)
}

func (m *sharedMachine) checkQueries(t *rapid.T, e *modelEngine) {
	inFlight, _, most := e.batches.stats()
	require.LessOrEqual(t, most, 2, "at most two batches are in flight")
	e.queries = slices.DeleteFunc(e.queries, func(q *cancellable[points.Result]) bool {
		if !q.hasReturned() {
			require.Less(t, time.Since(q.began), modelQueryTimeout, "no query takes longer than its timeout")
			return false
		}
		requireAllowed(t, q, map[error]bool{
			points.ErrQueryTimeout:   true,
			points.ErrStoreDown:      true,
			context.Canceled:         !q.ended.IsZero(),
			context.DeadlineExceeded: true,
		}, "points: reading users: ")
		return true
	})
	state := e.State()
	require.Len(t, e.queries, state.Waiting)
	if inFlight == 0 && m.settledFor(200*time.Millisecond) {
		require.Empty(t, e.queries, "queries wait for a batch only")
	}
}

// settledFor reports whether nothing but queries has happened for so long.
func (m *sharedMachine) settledFor(d time.Duration) bool { return time.Since(m.settled) >= d }

func (m *sharedMachine) checkTicks(t *rapid.T) {
	status := m.status()
	var claimed, lost uint64 = 1, 0 // the machine's first one
	healthy := false
	for _, e := range m.engines {
		claimed += uint64(e.claimed.Load())
		lost += uint64(e.lost.Load())
		healthy = healthy || e.healthy()
	}
	require.Equal(t, status.Ticks, claimed+lost, "each tick is claimed once")
	require.Equal(t, m.paused, status.Paused)
	elapsed := time.Since(m.settled)
	most := uint64(elapsed/m.interval) + 1
	require.LessOrEqual(t, status.Ticks-m.ticks, most, "one tick per interval")
	if healthy && !m.paused && elapsed > m.interval+7*time.Second { // a Sync may hang until its timeout, and be retried
		least := uint64((elapsed - 7*time.Second) / m.interval)
		require.GreaterOrEqual(t, status.Ticks-m.ticks, least, "an engine claims each tick")
	}
	for _, e := range m.engines {
		if e.healthy() && m.settledFor(7*time.Second) {
			require.Equal(t, m.interval, e.State().Interval)
			require.Equal(t, m.paused, e.State().Paused)
			require.LessOrEqual(t, status.Time.Sub(e.State().Shared.Time), time.Second, "State is at most a second old")
		}
	}
}
