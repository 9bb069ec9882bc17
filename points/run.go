package points

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A schedule says when ticks come. All its fields but ticker's channel are guarded by mu.
type schedule struct {
	ticker *time.Ticker

	mu       sync.Mutex
	running  bool // Run runs
	paused   bool
	interval time.Duration
	next     time.Time // zero if no tick will come
	ticks    uint64
	skipped  uint64
}

// State is what an engine does, for operators. The hidden number is not in it.
type State struct {
	Waiting  int           // queries that wait for an answer
	Batches  uint64        // reads of the store since New
	Down     bool          // the store is down: queries fail with ErrStoreDown
	Interval time.Duration // between two ticks
	Paused   bool          // no ticks come until Resume
	NextTick time.Time     // in UTC; zero while the engine is paused or does not run
	Ticks    uint64        // since New
	Skipped  uint64        // of these, how many found an update running and started none
	Updater  UpdaterState
}

// Run lets ticks come until ctx ends, and returns nil once a running update has stopped. It fails with [ErrRunning] if
// it runs already, and with an error of its own if the update has not stopped within Config.StopTimeout. Queries are
// answered before, during and after it.
//
// Each tick draws a new hidden number, which takes its place at once, or after the read that is under way; then it
// starts an update beside the queries, unless one runs.
func (e *Engine) Run(ctx context.Context) error {
	if !e.setSchedule(func(s *schedule) bool { started := !s.running; s.running = true; return started }) {
		return ErrRunning
	}
	defer e.setSchedule(func(s *schedule) bool { s.running = false; return true })

	if e.cfg.UpdateOnStart {
		e.startUpdate(ctx)
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

// Pause stops the ticks; an update that runs is not stopped, and queries are answered. It may be called at any time.
func (e *Engine) Pause() {
	e.setSchedule(func(s *schedule) bool { changed := !s.paused; s.paused = true; return changed })
}

// Resume lets ticks come again after a Pause, the first after a whole interval. It may be called at any time.
func (e *Engine) Resume() {
	e.setSchedule(func(s *schedule) bool { changed := s.paused; s.paused = false; return changed })
}

// SetInterval changes the time between two ticks; the next comes after a whole interval from now. An interval shorter
// than 1 millisecond is an error and changes nothing. It may be called at any time.
func (e *Engine) SetInterval(interval time.Duration) error {
	if interval < minInterval {
		return fmt.Errorf("points: the interval must be at least %v, got %v", minInterval, interval)
	}
	e.setSchedule(func(s *schedule) bool { s.interval = interval; return true })
	return nil
}

// Update gives every user new points now, TODO; ticks and hidden number stay as they are. It may be
// called at any time. The end of Run stops it.
func (e *Engine) Update(ctx context.Context) (UpdateInfo, error) {
	return e.updater.update(ctx)
}

// State returns what the engine does.
func (e *Engine) State() State {
	e.mu.Lock()
	state := State{Waiting: e.waiting.length + e.reading.length, Batches: e.batches, Down: e.down != nil}
	e.mu.Unlock()

	s := &e.schedule
	s.mu.Lock()
	state.Interval, state.Paused, state.NextTick = s.interval, s.paused, s.next
	state.Ticks, state.Skipped = s.ticks, s.skipped
	s.mu.Unlock()

	state.Updater = e.updater.currentState()
	return state
}

// setSchedule makes the ticker follow a change of the schedule. It reports what change does: whether it is one.
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

// tick draws a new hidden number and starts an update.
func (e *Engine) tick(ctx context.Context, now time.Time) {
	if number, err := e.draw(); err != nil {
		e.cfg.Logger.Error("the hidden number stays as it was", "error", err)
	} else {
		e.place(ctx, number)
	}
	if ctx.Err() != nil {
		return
	}
	started := e.startUpdate(ctx)

	s := &e.schedule
	s.mu.Lock()
	s.ticks++
	if !started {
		s.skipped++
	}
	// It may have waited for a read for several intervals, and the schedule may have been changed meanwhile.
	for !s.next.IsZero() && !s.next.After(time.Now()) {
		s.next = s.next.Add(s.interval)
	}
	s.mu.Unlock()

	if !started {
		e.cfg.Logger.Warn("tick skipped its update: one is running", "since", e.updater.currentState().RunningSince)
	}
	if e.cfg.Hooks.Tick != nil {
		e.cfg.Hooks.Tick(TickInfo{Time: now.UTC(), Skipped: !started})
	}
}

// startUpdate starts an update beside the caller. It reports false if one runs.
func (e *Engine) startUpdate(ctx context.Context) bool {
	run, err := e.updater.claim(ctx)
	if err != nil {
		return false
	}
	go run() //nolint:errcheck // the updater keeps, logs and reports its errors
	return true
}

// place makes number the hidden number once no read is under way: an answer's users and hidden number belong to one
// moment, and the update of this tick has not begun then.
func (e *Engine) place(ctx context.Context, number int) {
	e.mu.Lock()
	if !e.inRead {
		e.min = number
		e.mu.Unlock()
		return
	}
	e.drawn = &drawn{number, make(chan struct{})}
	placed := e.drawn.placed
	e.mu.Unlock()

	select {
	case <-placed:
	case <-time.After(e.cfg.QueryTimeout): // a store that does not heed its context: the read's callers are gone by now
	case <-ctx.Done():
	}
}
