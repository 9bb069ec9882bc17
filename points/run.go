package points

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A schedule determines when ticks happen. mu guards all fields but ticker's channel.
type schedule struct {
	ticker *time.Ticker

	mu       sync.Mutex
	running  bool // Run is running
	paused   bool
	interval time.Duration
	next     time.Time // zero if no tick will happen
	ticks    uint64
	skipped  uint64

	// starting is held while a tick starts its update, so that none starts after Pause has returned. It is locked before
	// mu.
	starting sync.Mutex
}

// State is a snapshot of an engine, for operators. It does not contain the min number.
type State struct {
	Waiting  int           // queries waiting for their result
	Batches  uint64        // reads of the store since New
	Down     bool          // the store is down: queries fail with ErrStoreDown
	Interval time.Duration // between two ticks
	Paused   bool          // no ticks until Resume
	NextTick time.Time     // in UTC; zero while the engine is paused or not running
	Ticks    uint64        // since New
	Skipped  uint64        // ticks whose update was skipped, because another one was running
	Updater  UpdaterState
}

// Run ticks once per interval until ctx ends. Then it cancels a running update, waits for it, and returns nil. It fails
// with [ErrRunning] if it is running already, and with [ErrStopTimeout] if the update does not stop in time. Queries
// are answered before, during and after Run.
//
// Each tick draws a new min number, which takes effect at once or after the read in flight. Then it starts an update,
// unless one is running, and does not wait for it.
func (e *Engine) Run(ctx context.Context) error {
	if !e.setSchedule(func(s *schedule) bool { started := !s.running; s.running = true; return started }) {
		return ErrRunning
	}
	defer e.setSchedule(func(s *schedule) bool { s.running = false; return true })

	if e.cfg.UpdateOnStart {
		if run, err := e.updater.beginUpdate(ctx); err == nil {
			go run() //nolint:errcheck // the updater logs and reports errors
		}
	}
	for {
		select {
		case now := <-e.schedule.ticker.C:
			if ctx.Err() == nil {
				e.tick(ctx, now)
			}
		case <-ctx.Done():
			select {
			case <-e.updater.stop():
				return nil
			case <-time.After(e.cfg.StopTimeout):
				return fmt.Errorf("%w (%v)", ErrStopTimeout, e.cfg.StopTimeout)
			}
		}
	}
}

// Pause stops the ticks. A running update goes on, and queries are answered. No tick starts an update once Pause has
// returned, but the new min number of a tick that is waiting for a read still takes effect. It may be called at any
// time.
func (e *Engine) Pause() {
	e.schedule.starting.Lock()
	defer e.schedule.starting.Unlock()
	e.setSchedule(func(s *schedule) bool { changed := !s.paused; s.paused = true; return changed })
}

// Resume restarts the ticks after Pause; the next one comes after a whole interval. It may be called at any time.
func (e *Engine) Resume() {
	e.setSchedule(func(s *schedule) bool { changed := s.paused; s.paused = false; return changed })
}

// SetInterval changes the time between two ticks; the next one comes after a whole interval from now. An interval of
// less than 1 ms is an error and changes nothing. It may be called at any time.
func (e *Engine) SetInterval(interval time.Duration) error {
	if interval < minInterval {
		return fmt.Errorf("points: the interval must be at least %v, got %v", minInterval, interval)
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

// State returns a snapshot of the engine.
func (e *Engine) State() State {
	e.mu.Lock()
	state := State{Waiting: e.waiting.length + e.inFlight.length, Batches: e.batches, Down: e.down != nil}
	e.mu.Unlock()

	s := &e.schedule
	s.mu.Lock()
	state.Interval, state.Paused, state.NextTick = s.interval, s.paused, s.next
	state.Ticks, state.Skipped = s.ticks, s.skipped
	s.mu.Unlock()

	state.Updater = e.updater.currentState()
	return state
}

// setSchedule changes the schedule, and the ticker with it. It returns what change returns: whether anything changed.
func (e *Engine) setSchedule(change func(*schedule) bool) bool {
	s := &e.schedule
	s.mu.Lock()
	defer s.mu.Unlock()
	if !change(s) {
		return false
	}
	if s.running && !s.paused {
		s.ticker.Reset(s.interval)
		s.next = time.Now().UTC().Add(s.interval)
	} else {
		s.ticker.Stop()
		s.next = time.Time{}
	}
	return true
}

// cooldownEnd returns when the cooldown of the circuit breaker ends after this failure.
func (e *Engine) cooldownEnd(failed UpdateInfo) time.Time {
	if e.cfg.Updater.Cooldown > 0 {
		return failed.Started.Add(e.cfg.Updater.Cooldown)
	}
	e.schedule.mu.Lock()
	interval := e.schedule.interval
	e.schedule.mu.Unlock()
	// After a fast failure, every other tick updates. Half an interval of slack on either side: ticks and updates do not
	// start exactly on time. After a slow failure, the cooldown counts from its end, or it would be over by then.
	end := failed.Started.Add(interval + interval/2)
	if rested := failed.Started.Add(failed.Duration + interval/2); rested.After(end) {
		return rested
	}
	return end
}

// tick sets a new min number and starts an update.
func (e *Engine) tick(ctx context.Context, now time.Time) {
	if number, err := e.drawMinNumber(); err != nil {
		e.cfg.Logger.Error("tick keeps the min number", "error", err)
	} else {
		e.setMinNumber(ctx, number)
	}
	if ctx.Err() != nil {
		return
	}
	run, err := e.claimTickUpdate(ctx)
	skipped := errors.Is(err, ErrUpdateRunning)

	s := &e.schedule
	s.mu.Lock()
	s.ticks++
	if skipped {
		s.skipped++
	}
	// The tick may have waited several intervals for a read, and the schedule may have changed since.
	for !s.next.IsZero() && !s.next.After(time.Now()) {
		s.next = s.next.Add(s.interval)
	}
	s.mu.Unlock()

	if run != nil {
		go e.runTickUpdate(run)
	}
	switch {
	case errors.Is(err, errPaused):
		e.cfg.Logger.Info("tick started no update: the engine was paused while the tick waited for a read")
	case skipped:
		e.cfg.Logger.Warn("tick skipped its update: one is running", "since", e.updater.currentState().RunningSince)
	}
	if e.cfg.Hooks.Tick != nil {
		e.cfg.Hooks.Tick(TickInfo{Time: now.UTC(), Skipped: skipped})
	}
}

var errPaused = errors.New("points: the engine is paused")

// claimTickUpdate claims the update of a tick. It fails with errPaused if Pause was called while the tick waited for a
// read.
func (e *Engine) claimTickUpdate(ctx context.Context) (run func() (UpdateInfo, error), err error) {
	s := &e.schedule
	s.starting.Lock()
	defer s.starting.Unlock()
	s.mu.Lock()
	paused := s.paused
	s.mu.Unlock()
	if paused {
		return nil, errPaused
	}
	return e.updater.beginUpdate(ctx)
}

// runTickUpdate runs the update of a tick. The tick counts as skipped if the store was running another update.
func (e *Engine) runTickUpdate(run func() (UpdateInfo, error)) {
	if _, err := run(); errors.Is(err, ErrUpdateRunning) {
		e.schedule.mu.Lock()
		e.schedule.skipped++
		e.schedule.mu.Unlock()
	}
}

// A pendingMinNumber becomes the min number when the read in flight has ended.
type pendingMinNumber struct {
	number int
	set    chan struct{} // closed when it has become the min number
}

// setMinNumber changes the min number once no read is in flight: the users and the min number of a result belong to one
// moment. It returns after the change, so that the tick's update starts later.
func (e *Engine) setMinNumber(ctx context.Context, number int) {
	e.mu.Lock()
	if !e.reading {
		e.minNumber = number
		e.mu.Unlock()
		return
	}
	e.pending = &pendingMinNumber{number, make(chan struct{})}
	set := e.pending.set
	e.mu.Unlock()

	select {
	case <-set:
	case <-time.After(e.cfg.QueryTimeout): // the store ignores its context: the queries of the read have timed out
	case <-ctx.Done():
	}
}
