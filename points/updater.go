package points

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

// An Updater gives all users of a store new points, one update at a time. It is safe for concurrent use.
type Updater struct {
	store   Store
	cfg     UpdaterConfig
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

// UpdaterState is what an updater does and has done.
type UpdaterState struct {
	RunningSince time.Time  // in UTC; zero if no update runs
	Done, Total  int64      // users that the running update has reached, and will, if the store tells; see WithProgress
	LastSuccess  UpdateInfo // zero if there was none
	LastFailure  UpdateInfo // zero if there was none; that an update was cancelled is none
	Failures     int        // in a row, up to now
	Breaker      string     // "closed": updates run; "open": they are refused; "half-open": the next one is a trial
}

// NewUpdater returns an updater of store. Its error names the field of cfg that is wrong.
func NewUpdater(store Store, cfg UpdaterConfig) (*Updater, error) {
	if store == nil {
		return nil, errors.New("points: NewUpdater needs a store: it is nil")
	}
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Updater{
		store: store,
		cfg:   cfg,
		breaker: gobreaker.NewCircuitBreaker[int64](gobreaker.Settings{
			Timeout:     cfg.Cooldown,
			ReadyToTrip: func(c gobreaker.Counts) bool { return int64(c.ConsecutiveFailures) >= int64(cfg.MaxFailures) },
			// That somebody stopped an update says nothing about the store.
			IsExcluded: func(err error) bool { return errors.Is(err, context.Canceled) },
		}),
	}, nil
}

// Update gives every user new points and returns once that is done. It fails with [ErrUpdateRunning] if an update runs
// already, with [ErrUpdatesSuspended] if the circuit breaker is open, else with the store's error, wrapped: any part of
// the users may then have new points. A panic of the store becomes an error.
func (u *Updater) Update(ctx context.Context) (UpdateInfo, error) {
	run, err := u.claim(ctx)
	if err != nil {
		return UpdateInfo{}, err
	}
	return run()
}

// State returns what the updater does and has done.
func (u *Updater) State() UpdaterState {
	u.mu.Lock()
	defer u.mu.Unlock()
	state := u.state
	state.Breaker = u.breaker.State().String()
	return state
}

// claim makes the update that it returns, which must be called, the only one.
func (u *Updater) claim(ctx context.Context) (run func() (UpdateInfo, error), err error) {
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
func (u *Updater) stop() <-chan struct{} {
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

func (u *Updater) run(ctx context.Context) (info UpdateInfo, err error) {
	// Deferred, so that nothing that panics in here (a hook, Key) leaves the updater taken for good.
	begun, ended := false, false
	defer func() { u.release(info, ended) }()

	info.Started = time.Now().UTC()
	info.Users, err = u.breaker.Execute(func() (int64, error) {
		begun = true
		info.Key = u.cfg.Key()
		if u.cfg.Hooks.UpdateStart != nil {
			ctx = u.cfg.Hooks.UpdateStart(ctx, info) //nolint:fatcontext // once; the log's lines have it, too
		}
		return u.updateStore(WithProgress(ctx, u.progress), info.Key)
	})
	if !begun {
		u.cfg.Logger.WarnContext(ctx, "update refused: too many have failed in a row", "breaker", u.breaker.State().String())
		return UpdateInfo{}, ErrUpdatesSuspended
	}
	info.Duration = time.Since(info.Started)
	info.Err = err
	ended = true
	switch {
	case err == nil:
		u.cfg.Logger.InfoContext(ctx, "update done", "users", info.Users, "duration", info.Duration)
	case errors.Is(err, context.Canceled):
		u.cfg.Logger.InfoContext(ctx, "update stopped", "duration", info.Duration)
	default:
		u.cfg.Logger.ErrorContext(ctx, "update failed", "error", err, "duration", info.Duration)
	}
	if u.cfg.Hooks.UpdateEnd != nil {
		u.cfg.Hooks.UpdateEnd(info)
	}
	return info, err
}

func (u *Updater) updateStore(ctx context.Context, key uint64) (users int64, err error) {
	defer func() {
		if p := recover(); p != nil {
			u.cfg.Logger.ErrorContext(ctx, "the store panicked", "panic", p, "stack", string(debug.Stack()))
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
func (u *Updater) progress(done, total int64) {
	u.mu.Lock()
	if u.running != nil {
		u.state.Done, u.state.Total = done, total
	}
	u.mu.Unlock()
	if u.cfg.Hooks.UpdateProgress != nil {
		u.cfg.Hooks.UpdateProgress(done, total)
	}
}

// release frees the updater, and notes how the update has ended, if it has.
func (u *Updater) release(info UpdateInfo, ended bool) {
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
