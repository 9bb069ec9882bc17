package points

import (
	"context"
	"fmt"
	"time"
)

// State is a snapshot of an engine, for operators. It does not contain the min number.
//
// With a [SharedState], Interval, Paused, NextTick, Ticks and Skipped are those of all its engines, as of Shared, and
// so are the Failures and the Breaker of Updater. Everything else is about this engine alone.
type State struct {
	Waiting  int    // queries waiting for their result
	Batches  uint64 // reads of the store since New
	InFlight int    // reads in progress: at most 1, or 2 with a SharedState; 0 for a store with ImmediateReads
	Down     bool   // the store is down: queries fail with ErrStoreDown

	// ReadFailed is the end of the latest read of the store if it failed, by the clock of this process; zero if it
	// succeeded.
	ReadFailed time.Time

	Interval time.Duration // between two ticks
	Paused   bool          // no ticks until Resume
	NextTick time.Time     // in UTC, by the clock of this process; zero while the engine is paused or not running
	Ticks    uint64        // since New, or since the shared state was created
	Skipped  uint64        // ticks whose update was skipped; see UpdateSkipped
	Updater  UpdaterState

	// Instance is the name of this engine in Shared, and InstanceID identifies it there; zero without a shared state.
	Instance   string
	InstanceID uint64

	// Shared is the shared state as of the latest successful Sync or change of the schedule by this engine: at most a
	// second old while Run runs and the store answers. It is nil before that, and without a shared state. Do not modify
	// it.
	Shared *SharedStatus
}

// Run ticks once per interval until ctx ends. Then it cancels a running update, waits for it, and returns nil. It fails
// with [ErrRunning] if it is running already, and with [ErrStopTimeout] if the update does not stop in time. Queries
// are answered before, during and after Run.
//
// Each tick draws a new min number, which takes effect at once or after the read in flight. Then it starts an update,
// unless one is running, and does not wait for it.
//
// With a [SharedState] there is one tick per interval for all its engines that run: one of them claims it, and starts
// its update. Run then calls Sync at once, at each tick, after each update of this engine, and at least once a second,
// each time for at most Config.QueryTimeout. While Sync fails there are no ticks here; it is retried every second. At
// the end, after the update has stopped, Run calls Sync once more, for at most a second.
func (e *Engine) Run(ctx context.Context) error {
	if e.shared != nil {
		if !e.shared.setRunning(true) {
			return ErrRunning
		}
		defer e.shared.setRunning(false)
		return e.runShared(ctx)
	}
	if !e.setRunning(true) {
		return ErrRunning
	}
	defer e.setRunning(false)
	return e.runLocal(ctx)
}

// stopUpdate cancels a running update and waits until it has stopped.
func (e *Engine) stopUpdate() error {
	select {
	case <-e.updater.stop():
		return nil
	case <-time.After(e.cfg.StopTimeout):
		return fmt.Errorf("%w (%v)", ErrStopTimeout, e.cfg.StopTimeout)
	}
}

// Pause stops the ticks. A running update goes on, and queries are answered. Once Pause has returned, no tick starts an
// update. A tick that is in progress, waiting for the read in flight to end, still sets its new min number. Pause may
// be called at any time.
//
// With a [SharedState], Pause stops the ticks of all its engines; an engine that has just claimed a tick still starts
// its update. It waits for the shared state for at most Config.QueryTimeout, and returns its error, wrapped: the ticks
// may then be paused or not. Without a shared state the error is nil.
func (e *Engine) Pause() error {
	if e.shared != nil {
		paused := true
		return e.configureShared("pausing the ticks", ScheduleChange{Paused: &paused})
	}
	e.pauseLocal()
	return nil
}

// Resume restarts the ticks after Pause; the next one comes after a whole interval. It may be called at any time. It
// fails as Pause does.
func (e *Engine) Resume() error {
	if e.shared != nil {
		paused := false
		return e.configureShared("resuming the ticks", ScheduleChange{Paused: &paused})
	}
	e.setPaused(false)
	return nil
}

// SetInterval changes the time between two ticks; the next one comes after a whole interval from now. An interval of
// less than 1 ms fails with [ErrInvalidInterval] and changes nothing; otherwise it fails as Pause does. It may be
// called at any time. With a [SharedState], Run of each of its engines logs the change.
func (e *Engine) SetInterval(interval time.Duration) error {
	if interval < minInterval {
		return fmt.Errorf("%w, got %v", ErrInvalidInterval, interval)
	}
	if e.shared != nil {
		return e.configureShared("setting the interval", ScheduleChange{Interval: &interval})
	}
	e.setSchedule(func(s *schedule) bool { s.interval = interval; return true })
	return nil
}

// Update gives every user new points now. It changes neither the ticks nor the min number. It may be called at any
// time, whether Run is running or not; the end of Run cancels it.
//
// It fails with [ErrUpdateRunning] if an update is running, with [ErrBreakerOpen] if the circuit breaker is open,
// or with the store's error, wrapped: then any subset of the users may have new points. A panic of the store becomes an
// error.
func (e *Engine) Update(ctx context.Context) (UpdateInfo, error) {
	return e.updater.update(ctx)
}

// State returns a snapshot of the engine. It does not wait for the store.
func (e *Engine) State() State {
	e.mu.Lock()
	state := State{
		Waiting: e.queriesWaiting(), Batches: e.batches, InFlight: e.reading,
		Down: e.downErr != nil, ReadFailed: e.readFailed,
	}
	e.mu.Unlock()
	if e.shared != nil {
		e.shared.addState(&state)
	} else {
		e.schedule.addState(&state)
	}
	state.Updater = e.updater.currentState()
	return state
}

// interval returns the time between two ticks.
func (e *Engine) interval() time.Duration {
	if e.shared != nil {
		return e.shared.currentInterval()
	}
	e.schedule.mu.Lock()
	defer e.schedule.mu.Unlock()
	return e.schedule.interval
}

// cooldownEnd returns when the cooldown of the circuit breaker ends after this failure.
func (e *Engine) cooldownEnd(failed UpdateInfo) time.Time {
	if e.cfg.Updater.Cooldown > 0 {
		return failed.Started.Add(e.cfg.Updater.Cooldown)
	}
	interval := e.interval()
	// After a fast failure, every other tick updates. Half an interval of slack on either side: ticks and updates do not
	// start exactly on time. After a slow failure, the cooldown counts from its end, or it would be over by then.
	end := failed.Started.Add(interval + interval/2)
	if pauseEnd := failed.Started.Add(failed.Duration + interval/2); pauseEnd.After(end) {
		return pauseEnd
	}
	return end
}

// logUpdateRunning logs a tick that skipped its update because another one is running.
func (e *Engine) logUpdateRunning() {
	e.cfg.Logger.Warn("tick skipped its update: one is running", "since", e.updater.currentState().RunningSince)
}

func (e *Engine) reportTick(due time.Time, skipped bool) {
	if e.cfg.Hooks.Tick != nil {
		e.cfg.Hooks.Tick(TickInfo{Time: due.UTC(), Skipped: skipped})
	}
}
