package points

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

// An updater runs the updates of a store, one at a time. It is safe for concurrent use.
type updater struct {
	store   Store
	cfg     UpdaterConfig
	logger  *slog.Logger
	hooks   Hooks
	breaker *gobreaker.CircuitBreaker[int64]

	mu      sync.Mutex
	state   UpdaterState // without Breaker, which the breaker knows
	running *running     // nil if no update runs
}

// running is an update that has begun.
type running struct {
	cancel context.CancelFunc
	ended  chan struct{}
}

// UpdaterState describes the updates of an engine.
type UpdaterState struct {
	RunningSince time.Time    // in UTC; zero if no update is running
	Done, Total  int64        // progress of the running update in users, if the store reports it; see WithProgress
	LastSuccess  UpdateInfo   // zero if there was none
	LastFailure  UpdateInfo   // zero if there was none; a cancelled update is no failure
	Failures     int          // consecutive failures up to now
	Breaker      BreakerState // of the circuit breaker
}

func newUpdater(store Store, cfg Config) *updater {
	return &updater{
		store:  store,
		cfg:    cfg.Updater,
		logger: cfg.Logger,
		hooks:  cfg.Hooks,
		breaker: gobreaker.NewCircuitBreaker[int64](gobreaker.Settings{
			Timeout: cfg.Updater.Cooldown,
			ReadyToTrip: func(c gobreaker.Counts) bool {
				return int64(c.ConsecutiveFailures) >= int64(cfg.Updater.MaxFailures)
			},
			// That somebody stopped an update says nothing about the store.
			IsExcluded: func(err error) bool { return errors.Is(err, context.Canceled) },
		}),
	}
}

func (u *updater) update(ctx context.Context) (UpdateInfo, error) {
	run, err := u.claim(ctx)
	if err != nil {
		return UpdateInfo{}, err
	}
	return run()
}

func (u *updater) currentState() UpdaterState {
	u.mu.Lock()
	defer u.mu.Unlock()
	state := u.state
	state.Breaker = map[gobreaker.State]BreakerState{
		gobreaker.StateClosed: BreakerClosed, gobreaker.StateOpen: BreakerOpen, gobreaker.StateHalfOpen: BreakerHalfOpen,
	}[u.breaker.State()]
	return state
}

// claim makes the update that it returns, which must be called, the only one.
func (u *updater) claim(ctx context.Context) (run func() (UpdateInfo, error), err error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("points: updating all users: %w", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.running != nil {
		return nil, ErrUpdateRunning
	}
	ctx, cancel := context.WithTimeout(ctx, u.cfg.Timeout)
	u.running = &running{cancel, make(chan struct{})}
	u.state.RunningSince = time.Now().UTC()
	return func() (UpdateInfo, error) { return u.run(ctx) }, nil
}

// stop cancels the update that runs, if one does, and returns a channel that is closed once none does.
func (u *updater) stop() <-chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.running == nil {
		ended := make(chan struct{})
		close(ended)
		return ended
	}
	u.running.cancel()
	return u.running.ended
}

func (u *updater) run(ctx context.Context) (info UpdateInfo, err error) {
	// Deferred, so that nothing that panics in here (a hook, Key) leaves the updater taken for good.
	begun, ended := false, false
	defer func() { u.release(info, ended) }()

	info.Started = time.Now().UTC()
	info.Users, err = u.breaker.Execute(func() (int64, error) {
		begun = true
		info.Key = u.cfg.Key()
		if u.hooks.UpdateStart != nil {
			ctx = u.hooks.UpdateStart(ctx, info) //nolint:fatcontext // once; the log's lines have it, too
		}
		return u.updateStore(WithProgress(ctx, u.progress), info.Key)
	})
	if !begun {
		u.logger.WarnContext(ctx, "update refused: too many have failed in a row", "breaker", u.breaker.State().String())
		return UpdateInfo{}, ErrUpdatesSuspended
	}
	info.Duration = time.Since(info.Started)
	info.Err = err
	ended = true
	switch {
	case err == nil:
		u.logger.InfoContext(ctx, "update done", "users", info.Users, "duration", info.Duration)
	case errors.Is(err, context.Canceled):
		u.logger.InfoContext(ctx, "update stopped", "duration", info.Duration)
	default:
		u.logger.ErrorContext(ctx, "update failed", "error", err, "duration", info.Duration)
	}
	if u.hooks.UpdateEnd != nil {
		u.hooks.UpdateEnd(info)
	}
	return info, err
}

func (u *updater) updateStore(ctx context.Context, key uint64) (users int64, err error) {
	defer func() {
		if p := recover(); p != nil {
			u.logger.ErrorContext(ctx, "the store panicked", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("points: updating all users: the store panicked: %v", p)
		}
	}()
	users, err = u.store.UpdateAll(ctx, key)
	if err != nil {
		return users, fmt.Errorf("points: updating all users: %w", err)
	}
	return users, nil
}

// progress notes how far the update is.
func (u *updater) progress(done, total int64) {
	u.mu.Lock()
	if u.running != nil {
		u.state.Done, u.state.Total = done, total
	}
	u.mu.Unlock()
	if u.hooks.UpdateProgress != nil {
		u.hooks.UpdateProgress(done, total)
	}
}

// release frees the updater, and notes how the update has ended, if it has.
func (u *updater) release(info UpdateInfo, ended bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.running.cancel()
	close(u.running.ended)
	u.running = nil
	u.state.RunningSince, u.state.Done, u.state.Total = time.Time{}, 0, 0
	switch {
	case !ended || errors.Is(info.Err, context.Canceled):
	case info.Err == nil:
		u.state.LastSuccess = info
		u.state.Failures = 0
	default:
		u.state.LastFailure = info
		u.state.Failures++
	}
}
