package points

import (
	"context"
	"errors"
	"sync"
	"time"
)

// A schedule determines when the ticks of an engine without a SharedState happen. mu guards all fields but ticker's
// channel.
type schedule struct {
	ticker *time.Ticker

	mu       sync.Mutex
	running  bool // Run is running
	paused   bool
	interval time.Duration
	next     time.Time // zero if no tick will happen
	ticks    uint64
	skipped  uint64

	// startMu is held while a tick starts its update, so that none starts after Pause has returned. It is locked before
	// mu.
	startMu sync.Mutex
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

// setRunning reports whether it has changed running.
func (e *Engine) setRunning(running bool) bool {
	return e.setSchedule(func(s *schedule) bool {
		changed := s.running != running
		s.running = running
		return changed
	})
}

func (e *Engine) setPaused(paused bool) {
	e.setSchedule(func(s *schedule) bool {
		changed := s.paused != paused
		s.paused = paused
		return changed
	})
}

func (s *schedule) addState(state *State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state.Interval, state.Paused, state.NextTick = s.interval, s.paused, s.next
	state.Ticks, state.Skipped = s.ticks, s.skipped
}

// runLocal ticks until ctx ends, and then stops a running update.
func (e *Engine) runLocal(ctx context.Context) error {
	if e.cfg.UpdateOnStart {
		if run, err := e.updater.beginUpdate(ctx, true); err == nil {
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
			return e.stopUpdate()
		}
	}
}

// pauseLocal stops the ticks. It waits for a tick that is starting its update.
func (e *Engine) pauseLocal() {
	e.schedule.startMu.Lock()
	defer e.schedule.startMu.Unlock()
	e.setPaused(true)
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
		e.logUpdateRunning()
	}
	e.reportTick(now, skipped)
}

var errPaused = errors.New("points: the engine is paused")

// claimTickUpdate claims the update of a tick. It fails with errPaused if Pause was called while the tick waited for a
// read.
func (e *Engine) claimTickUpdate(ctx context.Context) (run func() (UpdateInfo, error), err error) {
	s := &e.schedule
	s.startMu.Lock()
	defer s.startMu.Unlock()
	s.mu.Lock()
	paused := s.paused
	s.mu.Unlock()
	if paused {
		return nil, errPaused
	}
	return e.updater.beginUpdate(ctx, true)
}

// runTickUpdate runs the update of a tick. The tick counts as skipped if the store was running another update.
func (e *Engine) runTickUpdate(run func() (UpdateInfo, error)) {
	if _, err := run(); errors.Is(err, ErrUpdateRunning) {
		e.schedule.mu.Lock()
		e.schedule.skipped++
		e.schedule.mu.Unlock()
	}
}
