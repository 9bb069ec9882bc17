package points_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/testenv"
	"github.com/pointsapp/pointsapp/points"
)

// startUpdate starts a call of u.Update.
func startUpdate(ctx context.Context, u interface {
	Update(ctx context.Context) (points.UpdateInfo, error)
}) *call[points.UpdateInfo] {
	return startCall(func() (points.UpdateInfo, error) { return u.Update(ctx) })
}

// updatesAt returns a store whose updates wait at the gate, or until their context ends.
func updatesAt(g *gate) *fake {
	return &fake{update: func(ctx context.Context, _ uint64) (int64, error) { return 3, g.pass(ctx) }}
}

// unresponsiveUpdatesAt returns a store whose updates wait at the gate and ignore their context.
func unresponsiveUpdatesAt(g *gate) *fake {
	return &fake{update: func(ctx context.Context, _ uint64) (int64, error) { return 3, g.pass(context.WithoutCancel(ctx)) }}
}

func failingUpdates() *fake {
	return &fake{update: func(context.Context, uint64) (int64, error) { return 1, errStore }}
}

// lines records the lines of a log, without their time.
type lines struct{ testenv.Log }

// read returns the lines since the last read.
func (l *lines) read() []string {
	return strings.Split(strings.TrimSpace(l.Drain()), "\n")
}

func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey && len(groups) == 0 {
				return slog.Attr{}
			}
			return a
		},
	}))
}

func TestUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []points.UpdateInfo
		var log lines
		store := &fake{update: func(_ context.Context, key uint64) (int64, error) {
			assert.EqualValues(t, 7, key)
			assert.Len(t, got, 1, "the hook is called before the store")
			pass(time.Second)
			return 42, nil
		}}
		note := func(info points.UpdateInfo) { got = append(got, info) }
		start := func(ctx context.Context, info points.UpdateInfo) context.Context { note(info); return ctx }
		updater := newUpdater(t, store, points.Config{
			Updater: points.UpdaterConfig{Key: func() uint64 { return 7 }},
			Logger:  log.logger(),
			Hooks:   points.Hooks{UpdateStart: start, UpdateEnd: note},
		})
		started := time.Now().UTC()
		want := points.UpdateInfo{Key: 7, Started: started, Users: 42, Duration: time.Second}
		info, err := updater.Update(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want, info)
		assert.Equal(t, []points.UpdateInfo{{Key: 7, Started: started}, want}, got)
		assert.Equal(t, points.UpdaterState{LastSuccess: want, Breaker: points.BreakerClosed}, updater.State())
		assert.Equal(t, []string{`level=INFO msg="update done" users=42 duration=1s`}, log.read())
	})
}

func TestUpdateKeysDifferByDefault(t *testing.T) {
	keys := make(map[uint64]bool)
	updater := newUpdater(t, &fake{}, points.Config{})
	for range 1000 {
		info, err := updater.Update(t.Context())
		require.NoError(t, err)
		keys[info.Key] = true
	}
	assert.Len(t, keys, 1000)
}

func TestOneUpdateAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		g.close()
		store := updatesAt(g)
		updater := newUpdater(t, store, points.Config{})
		started := time.Now().UTC()
		first := startUpdate(t.Context(), updater)
		pass(time.Minute)
		assert.Equal(t, points.UpdaterState{RunningSince: started, Breaker: points.BreakerClosed}, updater.State())

		second := startUpdate(t.Context(), updater)
		require.True(t, second.hasReturned(), "updates never queue")
		require.ErrorIs(t, second.err, points.ErrUpdateRunning)
		assert.Zero(t, second.result)
		assert.Zero(t, second.took)
		assert.False(t, first.hasReturned())

		g.open()
		require.True(t, first.hasReturned())
		require.NoError(t, first.err)
		assert.Zero(t, updater.State().RunningSince)
		_, err := updater.Update(t.Context())
		require.NoError(t, err)
		assert.EqualValues(t, 2, store.updates.Load())
	})
}

func TestConcurrentUpdates(t *testing.T) {
	var at atomic.Int64
	store := &fake{update: func(context.Context, uint64) (int64, error) {
		assert.EqualValues(t, 1, at.Add(1))
		defer at.Add(-1)
		return 0, nil
	}}
	updater := newUpdater(t, store, points.Config{})
	var done atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 50 {
				_, err := updater.Update(t.Context())
				if err == nil {
					done.Add(1)
				} else {
					assert.ErrorIs(t, err, points.ErrUpdateRunning)
				}
				updater.State()
			}
		})
	}
	all.Wait()
	assert.Positive(t, done.Load())
	assert.Equal(t, done.Load(), store.updates.Load())
}

func TestUpdateAfterAFailedOne(t *testing.T) {
	for name, test := range map[string]struct {
		update func(ctx context.Context, key uint64) (int64, error)
		want   string
		is     error
		took   time.Duration
		log    string
	}{
		"error": {
			func(context.Context, uint64) (int64, error) { return 1, errStore },
			"points: updating all users: the store is away", errStore, 0,
			`level=ERROR msg="update failed" error="points: updating all users: the store is away" duration=0s`,
		},
		"panic": {
			func(context.Context, uint64) (int64, error) { panic("out of paper") },
			"points: updating all users: the store panicked: out of paper", nil, 0,
			`level=ERROR msg="update failed" error="points: updating all users: the store panicked: out of paper" duration=0s`,
		},
		"timeout": {
			func(ctx context.Context, _ uint64) (int64, error) { <-ctx.Done(); return 1, ctx.Err() },
			"points: updating all users: context deadline exceeded", context.DeadlineExceeded, 10 * time.Minute,
			`level=ERROR msg="update failed" error="points: updating all users: context deadline exceeded" duration=10m0s`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ended []points.UpdateInfo
				var log lines
				store := &fake{update: test.update}
				updater := newUpdater(t, store, points.Config{
					Updater: points.UpdaterConfig{Key: func() uint64 { return 7 }},
					Logger:  log.logger(),
					Hooks:   points.Hooks{UpdateEnd: func(info points.UpdateInfo) { ended = append(ended, info) }},
				})
				started := time.Now().UTC()
				info, err := updater.Update(t.Context())
				require.EqualError(t, err, test.want)
				if test.is != nil {
					require.ErrorIs(t, err, test.is)
				}
				assert.Equal(t, test.took, time.Since(started))
				assert.Equal(t, points.UpdateInfo{Key: 7, Started: started, Users: info.Users, Duration: test.took, Err: err}, info)
				assert.Equal(t, []points.UpdateInfo{info}, ended)
				assert.Equal(t, points.UpdaterState{LastFailure: info, Failures: 1, Breaker: points.BreakerClosed}, updater.State())
				logged := log.read()
				assert.Equal(t, test.log, logged[len(logged)-1])

				store.onUpdate(nil)
				success, err := updater.Update(t.Context())
				require.NoError(t, err)
				assert.Equal(t, points.UpdaterState{LastSuccess: success, LastFailure: info, Breaker: points.BreakerClosed}, updater.State())
			})
		})
	}
}

func TestStorePanicIsLoggedWithItsStack(t *testing.T) {
	var log lines
	store := &fake{
		read:   func(context.Context, int, int) ([]points.User, error) { panic("out of paper") },
		update: func(context.Context, uint64) (int64, error) { panic("out of ink") },
	}
	engine := newEngine(t, store, points.Config{Logger: log.logger()})
	_, err := engine.Query(t.Context())
	require.Error(t, err)
	_, err = engine.Update(t.Context())
	require.Error(t, err)
	text := strings.Join(log.read(), "\n")
	assert.Contains(t, text, `level=ERROR msg="the store panicked" panic="out of paper" stack="goroutine `)
	assert.Contains(t, text, `level=ERROR msg="the store panicked" panic="out of ink" stack="goroutine `)
}

func TestUpdateAfterAPanicOfAHookOrKey(t *testing.T) {
	for name, cfg := range map[string]points.Config{
		"Key":         {Updater: points.UpdaterConfig{Key: func() uint64 { panic("out of keys") }}},
		"UpdateStart": {Hooks: points.Hooks{UpdateStart: panickingStart}},
		"UpdateEnd":   {Hooks: points.Hooks{UpdateEnd: func(points.UpdateInfo) { panic("no end") }}},
	} {
		t.Run(name, func(t *testing.T) {
			updater := newUpdater(t, &fake{}, cfg)
			for range 2 {
				assert.Panics(t, func() { _, _ = updater.Update(t.Context()) }, "panics of hooks are not recovered")
				assert.Zero(t, updater.State().RunningSince)
			}
		})
	}
}

func TestCancelledUpdateIsNeitherSuccessNorFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		g := &gate{}
		g.close()
		blocked, failing := updatesAt(g), failingUpdates()
		store := &fake{update: failing.update}
		updater := newUpdater(t, store, points.Config{
			Updater: points.UpdaterConfig{MaxFailures: 2, Cooldown: time.Minute}, Logger: log.logger(),
		})
		cancelOne := func() {
			t.Helper()
			store.onUpdate(blocked.update)
			ctx, cancel := context.WithCancel(t.Context())
			cancelled := startUpdate(ctx, updater)
			pass(time.Second)
			before := updater.State()
			log.read()
			cancel()
			synctest.Wait()
			require.True(t, cancelled.hasReturned())
			require.ErrorIs(t, cancelled.err, context.Canceled)
			require.ErrorIs(t, cancelled.result.Err, context.Canceled)
			before.RunningSince = time.Time{}
			assert.Equal(t, before, updater.State())
			assert.Equal(t, []string{
				`level=INFO msg="update cancelled" error="points: updating all users: context canceled" duration=1s`,
			}, log.read())
			store.onUpdate(failing.update)
		}
		fail := func() {
			t.Helper()
			_, err := updater.Update(t.Context())
			require.ErrorIs(t, err, errStore)
		}

		fail()
		cancelOne()
		assert.Equal(t, points.BreakerClosed, updater.State().Breaker)
		fail()
		assert.Equal(t, points.BreakerOpen, updater.State().Breaker, "two consecutive failures, not counting the cancelled update")

		pass(time.Minute + 1)
		cancelOne()
		assert.Equal(t, points.BreakerHalfOpen, updater.State().Breaker, "a cancelled probe changes nothing")
		fail()
		assert.Equal(t, points.BreakerOpen, updater.State().Breaker)
	})
}

// An update that ends with its caller's context says nothing about the store, whatever error the store returns.
func TestUpdateThatItsCallerEndsIsNoFailure(t *testing.T) {
	withDeadline := context.WithTimeout
	withCancel := func(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(ctx)
		time.AfterFunc(d, cancel)
		return ctx, cancel
	}
	storeError := func(context.Context) error { return errStore }
	updateOnce := func(ctx context.Context, engine *points.Engine) { _, _ = engine.Update(ctx) }
	runOnce := func(ctx context.Context, engine *points.Engine) { _ = engine.Run(ctx) }
	for name, test := range map[string]struct {
		newContext func(context.Context, time.Duration) (context.Context, context.CancelFunc)
		storeErr   func(context.Context) error
		do         func(context.Context, *points.Engine)
	}{
		"deadline of Update":                     {withDeadline, context.Context.Err, updateOnce},
		"deadline of Update, error of the store": {withDeadline, storeError, updateOnce},
		"cancelled Update, error of the store":   {withCancel, storeError, updateOnce},
		"deadline of Run":                        {withDeadline, context.Context.Err, runOnce},
		"cancelled Run, error of the store":      {withCancel, storeError, runOnce},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &fake{update: func(ctx context.Context, _ uint64) (int64, error) {
					<-ctx.Done()
					return 0, test.storeErr(ctx)
				}}
				engine := newEngine(t, store, points.Config{UpdateOnStart: true})
				for range points.DefaultMaxFailures {
					ctx, cancel := test.newContext(t.Context(), time.Second)
					test.do(ctx, engine)
					cancel()
				}
				assert.EqualValues(t, points.DefaultMaxFailures, store.updates.Load())
				assert.Equal(t, points.UpdaterState{Breaker: points.BreakerClosed}, engine.State().Updater)
			})
		})
	}
}

// An update that exceeds UpdaterConfig.Timeout has failed, even if its caller's context ends before the store returns.
func TestUpdateTimeoutIsAFailureAlthoughTheCallerGivesUpLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fake{update: func(ctx context.Context, _ uint64) (int64, error) {
			<-ctx.Done()
			pass(2 * time.Second) // stops slowly
			return 0, context.Cause(ctx)
		}}
		updater := newUpdater(t, store, points.Config{Updater: points.UpdaterConfig{Timeout: time.Second}})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := updater.Update(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 1, updater.State().Failures)
	})
}

func TestBreaker(t *testing.T) {
	for name, test := range map[string]struct {
		cfg      points.UpdaterConfig
		failures int
		cooldown time.Duration
	}{
		"default": {points.UpdaterConfig{}, 3, 90 * time.Second},
		"set":     {points.UpdaterConfig{MaxFailures: 1, Cooldown: time.Second}, 1, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log lines
				hooks := 0
				cfg := points.Config{Updater: test.cfg, Logger: log.logger()}
				cfg.Hooks.UpdateStart = func(ctx context.Context, _ points.UpdateInfo) context.Context {
					hooks++
					return ctx
				}
				store := failingUpdates()
				updater := newUpdater(t, store, cfg)
				update := func(want error, breaker points.BreakerState, failures int) {
					t.Helper()
					log.read()
					_, err := updater.Update(t.Context())
					require.ErrorIs(t, err, want)
					assert.Equal(t, breaker, updater.State().Breaker)
					assert.Equal(t, failures, updater.State().Failures)
					assert.EqualValues(t, store.updates.Load(), hooks)
				}

				for i := range test.failures - 1 {
					update(errStore, points.BreakerClosed, i+1)
				}
				update(errStore, points.BreakerOpen, test.failures)
				last := updater.State()
				pass(test.cooldown - 1)
				update(points.ErrBreakerOpen, points.BreakerOpen, test.failures)
				assert.Equal(t, []string{
					`level=WARN msg="update rejected after repeated failures" breaker=open`,
				}, log.read())
				assert.Equal(t, last, updater.State(), "a rejected update is no failure")
				assert.EqualValues(t, test.failures, store.updates.Load(), "and does not reach the store")

				pass(1)
				assert.Equal(t, points.BreakerHalfOpen, updater.State().Breaker)
				update(errStore, points.BreakerOpen, test.failures+1)
				update(points.ErrBreakerOpen, points.BreakerOpen, test.failures+1)

				pass(test.cooldown)
				store.onUpdate(nil)
				update(nil, points.BreakerClosed, 0)
				store.onUpdate(failingUpdates().update)
				for i := range test.failures - 1 {
					update(errStore, points.BreakerClosed, i+1)
				}
				update(errStore, points.BreakerOpen, test.failures)
			})
		})
	}
}

// Several processes share a table: the store fails with ErrUpdateRunning in all but one. That is neither a success
// nor a failure, however often it happens, also while the circuit breaker is half-open.
func TestUpdateThatTheStoreSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		var ended []points.UpdateInfo
		skipping := func(context.Context, uint64) (int64, error) {
			return 0, fmt.Errorf("users are locked: %w", points.ErrUpdateRunning)
		}
		store := &fake{update: skipping}
		engine := newEngine(t, store, points.Config{
			Updater: points.UpdaterConfig{MaxFailures: 2, Cooldown: time.Second},
			Logger:  log.logger(),
			Hooks:   points.Hooks{UpdateEnd: func(info points.UpdateInfo) { ended = append(ended, info) }},
		})
		_, stop := run(t.Context(), engine)
		defer stop()
		for i := range 5 {
			pass(time.Minute)
			assert.Equal(t, points.UpdaterState{}, engine.State().Updater)
			assert.EqualValues(t, i+1, engine.State().Ticks)
			assert.EqualValues(t, i+1, engine.State().Skipped)
			require.Len(t, ended, i+1)
			require.ErrorIs(t, ended[i].Err, points.ErrUpdateRunning)
			assert.Equal(t, []string{`level=INFO msg="update skipped: another one is running on the store" ` +
				`error="points: updating all users: users are locked: points: an update is running"`}, log.read())
		}
		_, err := engine.Update(t.Context())
		require.ErrorIs(t, err, points.ErrUpdateRunning)
		assert.EqualValues(t, 5, engine.State().Skipped, "Update is no tick")

		store.onUpdate(failingUpdates().update)
		pass(2 * time.Minute)
		failed := engine.State().Updater
		assert.Equal(t, 2, failed.Failures)
		store.onUpdate(skipping)
		pass(time.Minute)
		failed.Breaker = points.BreakerHalfOpen
		assert.Equal(t, failed, engine.State().Updater, "a skipped probe says nothing about the store")
		store.onUpdate(nil)
		pass(time.Minute)
		assert.Equal(t, points.BreakerClosed, engine.State().Updater.Breaker)
	})
}

// A store may return context.Canceled although the update was not cancelled: that is a failure.
func TestCancelledByTheStore(t *testing.T) {
	updater := newUpdater(t, &fake{update: func(context.Context, uint64) (int64, error) {
		return 0, context.Canceled
	}}, points.Config{})
	_, err := updater.Update(t.Context())
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 1, updater.State().Failures)
}

func TestSuccessResetsTheFailures(t *testing.T) {
	store := &fake{}
	updater := newUpdater(t, store, points.Config{Updater: points.UpdaterConfig{MaxFailures: 2}})
	for range 3 {
		store.onUpdate(failingUpdates().update)
		_, err := updater.Update(t.Context())
		require.ErrorIs(t, err, errStore)
		store.onUpdate(nil)
		_, err = updater.Update(t.Context())
		require.NoError(t, err)
	}
}

// An update that ignores its timeout still keeps out others: two updates at once would be worse.
func TestUnresponsiveUpdateStaysTheOnlyOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		g.close()
		updater := newUpdater(t, unresponsiveUpdatesAt(g), points.Config{Updater: points.UpdaterConfig{Timeout: time.Second}})
		c := startUpdate(t.Context(), updater)
		pass(time.Hour)
		require.False(t, c.hasReturned())
		_, err := updater.Update(t.Context())
		require.ErrorIs(t, err, points.ErrUpdateRunning)
		g.open()
		require.True(t, c.hasReturned())
		require.NoError(t, c.err)
	})
}
