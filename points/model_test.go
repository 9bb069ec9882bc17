package points_test

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pointsapp/pointsapp/internal/linearizability"
	"github.com/pointsapp/pointsapp/points"
)

// After any sequence of actions on an engine the invariants hold after each step, and the history is linearizable.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) {
			m := newMachine(t)
			defer m.end()
			t.Repeat(rapid.StateMachineActions(m))
			m.end()
			m.Check(t)
			pass(probeInterval) // the store may be down
			for range 2 {
				_, err := m.ask(context.Background())
				require.NoError(t, err)
			}
			require.NoError(t, m.recorder.Check())
		})
	})
}

// A machine is an engine, its pending calls, and a model of its behaviour. Its exported methods are the actions.
type machine struct {
	engine   *points.Engine
	store    *flakyStore
	recorder *linearizability.Recorder
	release  func() // releases all calls that hang, now and later

	queries []*cancellable[points.Result] // pending
	updates []*cancellable[points.UpdateInfo]
	running *cancellable[struct{}] // nil if Run is not running
	stopped bool                   // Run has been stopped at least once

	schedule scheduleModel
	breaker  breakerModel
	skips    int // updates of ticks that the store has skipped

	mu    sync.Mutex // guards what the hooks record
	down  bool       // the store is down
	downs int        // reads that found it down
	ticks []points.TickInfo
	ended []updateEnd

	updateCtx context.Context // of the latest update
}

// The machine's configuration.
const (
	modelQueryTimeout  = 5 * time.Second
	modelProbeTimeout  = 500 * time.Millisecond
	modelMaxWaiting    = 5
	modelStopTimeout   = 10 * time.Second
	modelUpdateTimeout = 30 * time.Second
	modelMaxFailures   = 3
	modelCooldown      = 20 * time.Second
	modelInterval      = 10 * time.Second
)

func newMachine(t *rapid.T) *machine {
	users := make([]points.User, 5)
	for i := range users {
		users[i].ID = int64(i)
	}
	m := &machine{
		store:    &flakyStore{table: table{users: users}},
		recorder: linearizability.New(users),
		schedule: scheduleModel{interval: modelInterval, due: make(map[int64]bool)},
	}
	cooldown := rapid.SampledFrom([]time.Duration{0, modelCooldown}).Draw(t, "cooldown")
	m.breaker.cooldown = func(failed points.UpdateInfo) time.Duration {
		return cmp.Or(cooldown, max(m.schedule.interval*3/2, failed.Duration+m.schedule.interval/2))
	}
	m.store.reads.released, m.store.updates.released = make(chan behaviour), make(chan behaviour)
	m.release = sync.OnceFunc(func() {
		close(m.store.reads.released)
		close(m.store.updates.released)
	})
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	m.engine = newEngine(t, m.recorder.Store(m.store), m.recorder.Config(points.Config{
		Interval: modelInterval,
		MinNumber: func() int {
			if m.engine == nil {
				return random.IntN(points.MaxPoints + 1)
			}
			return random.IntN(points.MaxPoints+3) - 1 // sometimes out of range
		},
		QueryTimeout: modelQueryTimeout,
		ProbeTimeout: modelProbeTimeout,
		MaxWaiting:   modelMaxWaiting,
		StopTimeout:  modelStopTimeout,
		Updater: points.UpdaterConfig{
			Timeout: modelUpdateTimeout, MaxFailures: modelMaxFailures, Cooldown: cooldown,
		},
		Hooks: points.Hooks{
			BatchEnd: func(info points.BatchInfo) {
				m.mu.Lock()
				defer m.mu.Unlock()
				m.down = info.Err != nil && (m.down || info.Duration > modelProbeTimeout)
				if m.down {
					m.downs++
				}
			},
			Tick: func(info points.TickInfo) {
				m.mu.Lock()
				defer m.mu.Unlock()
				m.ticks = append(m.ticks, info)
			},
			UpdateStart: func(ctx context.Context, _ points.UpdateInfo) context.Context {
				m.mu.Lock()
				defer m.mu.Unlock()
				m.updateCtx = ctx
				return ctx
			},
			UpdateEnd: func(info points.UpdateInfo) {
				m.mu.Lock()
				defer m.mu.Unlock()
				cancelled := errors.Is(m.updateCtx.Err(), context.Canceled) // at its timeout: DeadlineExceeded
				m.ended = append(m.ended, updateEnd{info, cancelled})
			},
		},
	}))
	return m
}

// end ends all pending calls.
func (m *machine) end() {
	m.release()
	m.store.reads.set(works)
	m.store.updates.set(works)
	if m.running != nil {
		m.running.end()
		m.stopped = true
	}
	synctest.Wait()
}

// cancellable is a call whose context can be cancelled.
type cancellable[T any] struct {
	*call[T]

	cancel context.CancelFunc
	began  time.Time
	ended  time.Time // when its context was cancelled; zero if it was not
}

func startCancellable[T any](f func(context.Context) (T, error)) *cancellable[T] {
	ctx, cancel := context.WithCancel(context.Background())
	return &cancellable[T]{
		began:  time.Now(),
		cancel: cancel,
		call: startCall(func() (T, error) {
			defer cancel()
			return f(ctx)
		}),
	}
}

func (c *cancellable[T]) end() {
	if c.ended.IsZero() {
		c.ended = time.Now()
	}
	c.cancel()
	synctest.Wait()
}

// Actions.

func (m *machine) ask(ctx context.Context) (points.Result, error) {
	return m.recorder.Query(func() (points.Result, error) { return m.engine.Query(ctx) })
}

func (m *machine) Ask(t *rapid.T) {
	for range rapid.IntRange(1, 3).Draw(t, "queries") {
		full := m.engine.State().Waiting == modelMaxWaiting
		down := m.engine.State().Down && !m.store.reads.idle()
		query := startCancellable(m.ask)
		if down && !full {
			require.True(t, query.hasReturned(), "during a probe, other queries fail at once")
			require.ErrorIs(t, query.err, points.ErrStoreDown)
			continue
		}
		if full {
			require.True(t, query.hasReturned(), "rejected at once")
			require.ErrorIs(t, query.err, points.ErrOverloaded)
			continue
		}
		m.queries = append(m.queries, query)
	}
}

func (m *machine) Cancel(t *rapid.T) {
	if len(m.queries) == 0 {
		t.Skip("no query is pending")
	}
	query := m.queries[rapid.IntRange(0, len(m.queries)-1).Draw(t, "query")]
	query.end()
	require.True(t, query.hasReturned())
	require.ErrorIs(t, query.err, context.Canceled)
}

func (m *machine) Update(t *rapid.T) {
	var want error
	switch {
	case !m.store.updates.idle():
		want = points.ErrUpdateRunning
	case m.breaker.state() == points.BreakerOpen:
		want = points.ErrBreakerOpen
	}
	update := startCancellable(m.engine.Update)
	if want != nil {
		require.True(t, update.hasReturned(), "updates never queue")
		require.ErrorIs(t, update.err, want)
		return
	}
	m.updates = append(m.updates, update)
}

func (m *machine) CancelUpdate(t *rapid.T) {
	if len(m.updates) == 0 {
		t.Skip("no update is running")
	}
	m.updates[0].end()
}

func (m *machine) SetReads(t *rapid.T) {
	all := []behaviour{works, fails, panics, hangs, unresponsive}
	m.store.reads.set(rapid.SampledFrom(all).Draw(t, "behaviour"))
}

func (m *machine) SetUpdates(t *rapid.T) {
	all := []behaviour{works, fails, panics, skips, hangs, unresponsive}
	m.store.updates.set(rapid.SampledFrom(all).Draw(t, "behaviour"))
}

func (m *machine) ReleaseRead(t *rapid.T) { m.store.reads.release(t, works, fails, panics) }

func (m *machine) ReleaseUpdate(t *rapid.T) { m.store.updates.release(t, works, fails, panics, skips) }

func (b *behaviours) release(t *rapid.T, as ...behaviour) {
	select {
	case b.released <- rapid.SampledFrom(as).Draw(t, "behaviour"):
		synctest.Wait()
	default:
		t.Skip("no call hangs")
	}
}

func (m *machine) Run(t *rapid.T) {
	running := startCancellable(func(ctx context.Context) (struct{}, error) { return struct{}{}, m.engine.Run(ctx) })
	if m.running != nil {
		require.True(t, running.hasReturned())
		require.ErrorIs(t, running.err, points.ErrRunning)
		return
	}
	require.False(t, running.hasReturned())
	m.running = running
	m.schedule.restart(m.store.reads.idle())
}

func (m *machine) Stop(t *rapid.T) {
	if m.running == nil {
		t.Skip("Run is not running")
	}
	m.running.end()
	m.stopped = true
}

func (m *machine) Pause(t *rapid.T) {
	require.NoError(t, m.engine.Pause())
	m.schedule.paused = true
}

func (m *machine) Resume(t *rapid.T) {
	require.NoError(t, m.engine.Resume())
	if m.schedule.paused {
		m.schedule.paused = false
		m.schedule.restart(m.store.reads.idle())
	}
}

func (m *machine) SetInterval(t *rapid.T) {
	interval := rapid.SampledFrom([]time.Duration{-1, 0, time.Second, 10 * time.Second, time.Minute}).Draw(t, "interval")
	err := m.engine.SetInterval(interval)
	if interval <= 0 {
		require.ErrorContains(t, err, "points: the interval must be at least 1ms")
		return
	}
	require.NoError(t, err)
	m.schedule.interval = interval
	m.schedule.restart(m.store.reads.idle())
}

// Wait advances time, tick by tick.
func (m *machine) Wait(t *rapid.T) {
	end := time.Now().Add(rapid.SampledFrom([]time.Duration{
		time.Millisecond, 999 * time.Millisecond, time.Second, 4 * time.Second, 5 * time.Second, 10 * time.Second,
		30 * time.Second, time.Minute,
	}).Draw(t, "time"))
	for {
		next, ok := m.nextTick()
		if !ok || next.After(end) {
			break
		}
		before := m.tickCount()
		idleBefore := m.store.reads.idle()
		m.schedule.due[next.UnixNano()] = true
		pass(time.Until(next))
		came := m.tickCount() - before
		if m.running.hasReturned() {
			continue
		}
		m.schedule.tick(t, came, idleBefore, m.store.reads.idle())
	}
	pass(time.Until(end))
}

// nextTick returns when the next tick is due, or false if none is.
func (m *machine) nextTick() (time.Time, bool) {
	if m.running == nil || m.running.hasReturned() || !m.running.ended.IsZero() || m.schedule.paused {
		return time.Time{}, false
	}
	return m.schedule.next(), true
}

func (m *machine) tickCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.ticks)
}

// Invariants.

func (m *machine) Check(t *rapid.T) {
	synctest.Wait()
	m.checkQueries(t)
	m.checkUpdates(t)
	m.checkRun(t)
	m.checkTicks(t)
}

func (m *machine) checkQueries(t *rapid.T) {
	_, _, most := m.store.reads.stats()
	require.LessOrEqual(t, most, 1, "at most one read is in flight")
	m.queries = slices.DeleteFunc(m.queries, func(q *cancellable[points.Result]) bool {
		if !q.hasReturned() {
			require.Less(t, time.Since(q.began), modelQueryTimeout, "no query takes longer than its timeout")
			return false
		}
		requireAllowed(t, q, map[error]bool{
			points.ErrQueryTimeout: q.took == modelQueryTimeout,
			points.ErrStoreDown:    m.downs > 0,
			context.Canceled:       !q.ended.IsZero(),
		}, "points: reading users: ")
		if q.err == nil {
			require.NotNil(t, q.result.Users)
		}
		return true
	})
	require.Equal(t, m.down, m.engine.State().Down)
	require.Len(t, m.queries, m.engine.State().Waiting)
	require.LessOrEqual(t, len(m.queries), modelMaxWaiting)
	if m.store.reads.idle() {
		require.Empty(t, m.queries, "queries wait for a read only")
	}
}

// requireAllowed checks that a call returned no error, one of allowed, or the store's error with this prefix.
func requireAllowed[T any](t *rapid.T, c *cancellable[T], allowed map[error]bool, prefix string) {
	if c.err == nil {
		return
	}
	for err, ok := range allowed {
		if errors.Is(c.err, err) {
			require.True(t, ok, "%v after %v", c.err, c.took)
			return
		}
	}
	require.ErrorContains(t, c.err, prefix)
	if !errors.Is(c.err, errStore) {
		require.ErrorContains(t, c.err, "the store panicked: out of paper")
	}
}

func (m *machine) checkUpdates(t *rapid.T) {
	inFlight, behaviour, most := m.store.updates.stats()
	state := m.engine.State().Updater
	require.LessOrEqual(t, most, 1, "at most one update runs")
	require.Equal(t, inFlight == 1, !state.RunningSince.IsZero())
	if inFlight == 1 && behaviour != unresponsive {
		require.Less(t, time.Since(state.RunningSince), modelUpdateTimeout)
	}
	m.updates = slices.DeleteFunc(m.updates, func(u *cancellable[points.UpdateInfo]) bool {
		if !u.hasReturned() {
			require.Equal(t, 1, inFlight, "an update waits for the store only")
			return false
		}
		requireAllowed(t, u, map[error]bool{
			context.DeadlineExceeded: u.took >= modelUpdateTimeout, // later, if the store is unresponsive
			points.ErrUpdateRunning:  true,
			context.Canceled:         !u.ended.IsZero() || m.stopped,
		}, "points: updating all users: ")
		if errors.Is(u.err, points.ErrUpdateRunning) {
			m.skips-- // of Update, not of a tick
		}
		return true
	})

	m.mu.Lock()
	ended := m.ended
	m.ended = nil
	m.mu.Unlock()
	for _, end := range ended {
		m.breaker.end(end)
		if errors.Is(end.info.Err, points.ErrUpdateRunning) {
			m.skips++
		}
	}
	require.Equal(t, m.breaker.state(), state.Breaker)
	require.Equal(t, m.breaker.failures, state.Failures)
}

func (m *machine) checkRun(t *rapid.T) {
	switch {
	case m.running == nil:
		return
	case m.running.ended.IsZero():
		require.False(t, m.running.hasReturned(), "Run returns only when it is stopped")
	case !m.running.hasReturned():
		inFlight, behaviour, _ := m.store.updates.stats()
		require.Equal(t, 1, inFlight, "Run waits for an update only")
		require.Equal(t, unresponsive, behaviour, "and cancels it")
		require.Less(t, time.Since(m.running.ended), modelStopTimeout)
	default:
		if m.running.err != nil {
			require.ErrorIs(t, m.running.err, points.ErrStopTimeout)
			require.Equal(t, modelStopTimeout, m.running.began.Add(m.running.took).Sub(m.running.ended))
		}
		m.running = nil
	}
}

func (m *machine) checkTicks(t *rapid.T) {
	m.mu.Lock()
	ticks := slices.Clone(m.ticks)
	m.mu.Unlock()
	skipped := m.skips
	for i, tick := range ticks {
		require.True(t, m.schedule.due[tick.Time.UnixNano()], "a tick happens when it is due")
		require.True(t, i == 0 || tick.Time.After(ticks[i-1].Time), "and once")
		if tick.Skipped {
			skipped++
		}
	}
	state := m.engine.State()
	require.EqualValues(t, len(ticks), state.Ticks)
	require.EqualValues(t, skipped, state.Skipped)
	require.Equal(t, m.schedule.interval, state.Interval)
	require.Equal(t, m.schedule.paused, state.Paused)
	require.Equal(t, m.running == nil || m.schedule.paused, state.NextTick.IsZero())
	if next, ok := m.nextTick(); ok {
		m.schedule.check(t, len(ticks), next, state.NextTick)
	}
}
