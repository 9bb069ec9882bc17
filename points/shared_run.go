package points

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	// sharedPoll is the maximum time between two Syncs, and that between two attempts while they fail. It is well below
	// InstanceTimeout.
	sharedPoll = time.Second

	// maxJitter spreads the Syncs of the engines that wait for the same tick.
	maxJitter = 20 * time.Millisecond
)

// A sharedRun is one call of Run with a shared state.
type sharedRun struct {
	*Engine

	starting  bool          // no Sync has succeeded yet
	failing   bool          // the latest Sync has failed
	interval  time.Duration // between two ticks, as it was logged
	minNumber int           // for the next tick that this engine claims
	hasNumber bool          // minNumber is drawn, and cannot be the min number already
	sameName  bool          // another engine with the same name runs, which has been logged
}

// runShared calls Sync until ctx ends, and then stops a running update.
func (e *Engine) runShared(ctx context.Context) error {
	r := sharedRun{Engine: e, starting: true, interval: e.cfg.Interval}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wake := e.shared.wake
		if r.failing {
			wake = nil // the timer retries
		}
		select {
		case <-ctx.Done():
			err := e.stopUpdate()
			r.syncAtEnd(ctx)
			return err
		case <-timer.C:
		case <-wake:
		}
		if ctx.Err() == nil {
			r.sync(ctx)
			timer.Reset(r.untilSync())
		}
	}
}

// sync makes one Sync, and starts the update of the tick if it claims one.
func (r *sharedRun) sync(ctx context.Context) {
	if !r.hasNumber {
		r.drawNextMinNumber()
	}
	began := time.Now()
	claimed, err := r.shared.sync(ctx, SyncRequest{
		Starting: r.starting, TickNow: r.starting && r.cfg.UpdateOnStart, MinNumber: r.minNumber,
	})
	if err != nil {
		r.hasNumber = false // it may have become the min number
		if ctx.Err() == nil && !r.failing {
			r.failing = true
			r.cfg.Logger.Warn("sync of the shared state failed: no ticks here until it succeeds", "error", err)
		}
		return
	}
	if r.failing {
		r.cfg.Logger.Info("sync of the shared state succeeds again")
	}
	r.logInterval()
	r.starting, r.failing = false, false
	r.warnOfSameName()
	if claimed {
		r.hasNumber = false
		r.startTickUpdate(ctx, began)
	}
}

// logInterval logs a change of the interval by any engine, and at the start that it is not Config.Interval.
func (r *sharedRun) logInterval() {
	interval := r.shared.currentInterval()
	switch {
	case interval == r.interval:
		return
	case r.starting:
		r.cfg.Logger.Info("the interval was set by SetInterval: Config.Interval has no effect", "interval", interval,
			"configured", r.interval)
	default:
		r.cfg.Logger.Info("the interval has changed", "interval", interval, "before", r.interval)
	}
	r.interval = interval
}

// warnOfSameName logs when another engine with the same name appears.
func (r *sharedRun) warnOfSameName() {
	other, found := r.shared.sameName()
	if found && !r.sameName {
		r.cfg.Logger.Warn("another engine has the same name: give each engine its own Config.Instance",
			"instance", other.Instance, "its_start", other.Started)
	}
	r.sameName = found
}

// drawNextMinNumber draws the number for the next tick that this engine claims.
func (r *sharedRun) drawNextMinNumber() {
	number, err := r.drawMinNumber()
	if err != nil { // unlike a tick of its own, a claim cannot keep the min number, which the engine does not know
		number = rand.IntN(MaxPoints + 1)
		r.cfg.Logger.Error("tick sets a random min number", "error", err)
	}
	r.minNumber, r.hasNumber = number, true
}

// startTickUpdate starts the update of a tick that this engine has claimed, with a Sync that began at this time.
func (e *Engine) startTickUpdate(ctx context.Context, began time.Time) {
	now := time.Now()
	if e.shared.nextTickMayBeDue(now.Sub(began)) {
		e.cfg.Logger.Warn("tick skipped its update: its claim took too long", "duration", now.Sub(began))
		e.skipTickUpdate(now)
		return
	}
	run, err := e.updater.beginUpdate(ctx, true)
	if errors.Is(err, ErrUpdateRunning) {
		e.logUpdateRunning()
		e.skipTickUpdate(now)
		return
	}
	if run != nil {
		go run() //nolint:errcheck // the updater logs and reports errors
	}
	e.reportTick(now, false)
}

// skipTickUpdate records and reports a tick that starts no update.
func (e *Engine) skipTickUpdate(now time.Time) {
	e.shared.addUpdate(UpdateInfo{}, UpdateSkipped)
	e.reportTick(now, true)
}

// nextTickMayBeDue reports whether the next tick, with an update of its own, may be due after a Sync that claimed a
// tick and took this long, as after a stop of the process. It is false for short intervals: a Sync of a slow store can
// take longer than those.
func (s *shared) nextTickMayBeDue(took time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status.Interval >= sharedPoll && !s.status.Paused && took >= s.status.NextTick.Sub(s.status.Time)
}

// untilSync returns the time until the next Sync.
func (r *sharedRun) untilSync() time.Duration {
	if r.failing {
		return sharedPoll
	}
	return r.shared.untilSync()
}

// untilSync returns the time until the next tick is due, with some jitter, but at most sharedPoll.
func (s *shared) untilSync() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status == nil || s.status.NextTick.IsZero() {
		return sharedPoll
	}
	jitter := rand.N(min(maxJitter, s.status.Interval/10) + 1)
	return min(sharedPoll, max(minInterval, time.Until(s.toProcessClock(s.status.NextTick)))+jitter)
}

// syncAtEnd records the update that the end of Run has cancelled.
func (r *sharedRun) syncAtEnd(ctx context.Context) {
	if r.starting {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(r.cfg.QueryTimeout, sharedPoll))
	defer cancel()
	if _, err := r.shared.sync(ctx, SyncRequest{MinNumber: r.minNumber, Stopping: true}); err != nil {
		r.cfg.Logger.Warn("sync of the shared state failed at the end", "error", err)
	}
}
