package points

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// An updater runs the updates of a store, one at a time. It is safe for concurrent use.
type updater struct {
	store  Store
	shared *shared // gets the updates; nil if the engine keeps its own state
	cfg    UpdaterConfig
	logger *slog.Logger
	hooks  Hooks

	cooldownEnd func(failed UpdateInfo) time.Time // of the circuit breaker after this failure

	mu      sync.Mutex
	state   UpdaterState   // without Breaker; Failures are those of this engine
	running *runningUpdate // nil if there is none
}

type runningUpdate struct {
	cancel context.CancelFunc
	ended  chan struct{} // closed when the update has ended
	tick   bool          // it is the update of a tick
}

// UpdaterState describes the updates of an engine. With a [SharedState], Failures and Breaker are those of all its
// engines.
type UpdaterState struct {
	RunningSince time.Time    // in UTC; zero if no update is running
	Done, Total  int64        // users updated so far, users to update; 0 unless the store reports them (WithProgress)
	LastSuccess  UpdateInfo   // zero if there was none
	LastFailure  UpdateInfo   // zero if there was none; neither a cancelled nor a skipped update is a failure
	Failures     int          // consecutive failures up to now
	Breaker      BreakerState // state of the circuit breaker
}

func newUpdater(store Store, cfg Config, shared *shared, cooldownEnd func(failed UpdateInfo) time.Time) *updater {
	return &updater{
		store: store, shared: shared, cfg: cfg.Updater, logger: cfg.Logger, hooks: cfg.Hooks, cooldownEnd: cooldownEnd,
	}
}

func (u *updater) update(ctx context.Context) (UpdateInfo, error) {
	run, err := u.beginUpdate(ctx, false)
	if err != nil {
		return UpdateInfo{}, err
	}
	return run()
}

func (u *updater) currentState() UpdaterState {
	u.mu.Lock()
	defer u.mu.Unlock()
	state := u.state
	state.Failures, _ = u.failures()
	state.Breaker = u.breaker()
	return state
}

// failures returns the number of consecutive failed updates and the latest one: with a shared state, of all engines.
func (u *updater) failures() (int, UpdateInfo) {
	if u.shared != nil {
		return u.shared.failures()
	}
	return u.state.Failures, u.state.LastFailure
}

// breaker returns the state of the circuit breaker, which depends on the latest failures only.
func (u *updater) breaker() BreakerState {
	failures, last := u.failures()
	switch {
	case failures < u.cfg.MaxFailures:
		return BreakerClosed
	case time.Now().Before(u.cooldownEnd(last)):
		return BreakerOpen
	default:
		return BreakerHalfOpen
	}
}

// beginUpdate marks an update as running, unless another one runs or the breaker is open. The caller must then call
// run, which does the update. tick: it is the update of a tick.
func (u *updater) beginUpdate(ctx context.Context, tick bool) (run func() (UpdateInfo, error), err error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("points: updating all users: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, u.cfg.Timeout, errUpdateTimeout)
	info, err := u.acquire(cancel, tick)
	if err != nil {
		cancel()
		if errors.Is(err, ErrBreakerOpen) {
			u.logger.WarnContext(ctx, "update rejected after repeated failures", "breaker", BreakerOpen)
		}
		return nil, err
	}
	return func() (UpdateInfo, error) { return u.run(ctx, info) }, nil
}

// acquire marks the updater as running an update, until release.
func (u *updater) acquire(cancel context.CancelFunc, tick bool) (UpdateInfo, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.running != nil:
		return UpdateInfo{}, ErrUpdateRunning
	case u.breaker() == BreakerOpen:
		return UpdateInfo{}, ErrBreakerOpen
	}
	u.running = &runningUpdate{cancel: cancel, ended: make(chan struct{}), tick: tick}
	u.state.RunningSince = time.Now().UTC()
	info := UpdateInfo{Started: u.state.RunningSince}
	if u.shared != nil {
		info.ID = u.shared.addUpdate(info, UpdateUnfinished)
	}
	return info, nil
}

// stop cancels the running update. It returns a channel that is closed once none is running.
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

func (u *updater) run(ctx context.Context, info UpdateInfo) (UpdateInfo, error) {
	outcome := UpdateCancelled
	defer func() { u.release(info, outcome) }() // deferred, so that a panic of Key or a hook releases the updater, too

	info.Key = u.cfg.Key()
	updateCtx := ctx
	if u.hooks.UpdateStart != nil {
		updateCtx = u.hooks.UpdateStart(ctx, info)
	}
	info.Users, info.Err = u.updateStore(WithProgress(updateCtx, u.onProgress), info.Key)
	info.Duration = time.Since(info.Started)
	switch {
	case info.Err == nil:
		outcome = UpdateSucceeded
		u.logger.InfoContext(updateCtx, "update done", "users", info.Users, "duration", info.Duration)
	case errors.Is(info.Err, ErrUpdateRunning):
		outcome = UpdateSkipped
		u.logger.InfoContext(updateCtx, "update skipped: another one is running on the store", "error", info.Err)
	case isCancelled(ctx):
		u.logger.InfoContext(updateCtx, "update cancelled", "error", info.Err, "duration", info.Duration)
	default:
		outcome = UpdateFailed
		u.logger.ErrorContext(updateCtx, "update failed", "error", info.Err, "duration", info.Duration)
	}
	if u.hooks.UpdateEnd != nil {
		u.hooks.UpdateEnd(info)
	}
	return info, info.Err
}

// errUpdateTimeout is the cause of a context that has ended because of UpdaterConfig.Timeout.
var errUpdateTimeout = fmt.Errorf("points: update timeout: %w", context.DeadlineExceeded)

// isCancelled reports whether the context of an update was ended by the caller's context or by stop. The error that the
// store then returns says nothing about the store. UpdaterConfig.Timeout is no cancellation: an update that exceeds it
// has failed.
func isCancelled(ctx context.Context) bool {
	return ctx.Err() != nil && !errors.Is(context.Cause(ctx), errUpdateTimeout)
}

// updateStore updates the store. It turns a panic of the store into an error.
func (u *updater) updateStore(ctx context.Context, key uint64) (users int64, err error) {
	defer recoverPanic(ctx, u.logger, "updating all users", &err)
	users, err = u.store.UpdateAll(ctx, key)
	if err != nil {
		return users, fmt.Errorf("points: updating all users: %w", err)
	}
	return users, nil
}

func (u *updater) onProgress(done, total int64) {
	u.mu.Lock()
	if u.running != nil {
		u.state.Done, u.state.Total = done, total
	}
	u.mu.Unlock()
	if u.hooks.UpdateProgress != nil {
		u.hooks.UpdateProgress(done, total)
	}
}

// release ends the running update and records its outcome.
func (u *updater) release(info UpdateInfo, outcome UpdateOutcome) {
	u.mu.Lock()
	defer u.mu.Unlock()
	ended := u.running
	u.running = nil
	u.state.RunningSince, u.state.Done, u.state.Total = time.Time{}, 0, 0
	switch outcome { //nolint:exhaustive // the others say nothing about the store
	case UpdateSucceeded:
		u.state.LastSuccess = info
		u.state.Failures = 0
	case UpdateFailed:
		u.state.LastFailure = info
		u.state.Failures++
	}
	if u.shared != nil {
		if outcome == UpdateSkipped && !ended.tick {
			outcome = UpdateCancelled // only ticks count as skipped
		}
		u.shared.endUpdate(info, outcome)
	}
	ended.cancel()
	close(ended.ended)
}
