package points

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// This file is the state that an engine keeps itself, if its store has no shared state: the order of the queries, the
// min number and the schedule of the ticks.

// An ownState is the order of the queries and the min number of an engine without a shared state. Engine.mu guards it.
type ownState struct {
	minNumber     int
	pending       *pendingMinNumber // nil if there is none
	lastTimestamp int64             // of the latest query, in µs since 1970; 0 if there was none
}

// setResults gives the queries of a batch their results. Queries that have given up get no timestamp.
func (s *ownState) setResults(queries *waitQueue, users []User, batch uint64) {
	// The n queries of a batch get the n microseconds that end now: so no timestamp is in the future, unless there is
	// more than one query per microsecond.
	timestamp := max(s.lastTimestamp, time.Now().UnixMicro()-int64(queries.length))
	for w := queries.first; w != nil; w = w.next {
		timestamp++
		w.result = Result{Users: users, PreviousTimestamp: timeOf(s.lastTimestamp), Batch: batch}
		s.lastTimestamp = timestamp
	}
}

// queryImmediate answers one query from a store with ImmediateReads. The lock orders the queries.
func (e *Engine) queryImmediate(ctx context.Context) (Result, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	started := time.Now()
	e.batches++
	readCtx := ctx
	var hookCtx context.Context //nolint:contextcheck // as BatchStart returns it
	if e.cfg.Hooks.BatchStart != nil {
		s := &e.slots[0]
		s.contexts = append(s.contexts, ctx)
		hookCtx = e.callBatchStart(ctx, s)
		readCtx = hookCtx
	}
	users, err := e.read(readCtx, e.own.minNumber)
	if e.cfg.Hooks.BatchEnd != nil {
		e.cfg.Hooks.BatchEnd(BatchInfo{
			Context: hookCtx, Batch: e.batches, Queries: 1, Users: len(users), Duration: time.Since(started), Err: err,
		})
	}
	if err != nil {
		return Result{}, err
	}
	result := Result{Users: users, PreviousTimestamp: timeOf(e.own.lastTimestamp), Batch: e.batches}
	e.own.lastTimestamp = max(e.own.lastTimestamp+1, started.UnixMicro())
	return result, nil
}

// read reads from the store. It turns a panic of the store into an error.
func (e *Engine) read(ctx context.Context, min int) (users []User, err error) {
	defer recoverPanic(ctx, e.cfg.Logger, "reading users", &err)
	users, err = e.store.UsersAbove(ctx, min, e.cfg.Limit)
	if err != nil {
		return nil, fmt.Errorf("points: reading users: %w", err)
	}
	if users == nil {
		users = []User{}
	}
	return users, nil
}

// timeOf returns the time of a timestamp in µs since 1970; the zero time for 0.
func timeOf(timestamp int64) time.Time {
	if timestamp == 0 {
		return time.Time{}
	}
	return time.UnixMicro(timestamp).UTC()
}

// A pendingMinNumber becomes the min number when the read in flight has ended.
type pendingMinNumber struct {
	number  int
	applied chan struct{} // closed when it has become the min number
}

// setMinNumber changes the min number once no read is in flight: the users and the min number of a result belong to one
// moment. It returns after the change, so that the tick's update starts later.
func (e *Engine) setMinNumber(ctx context.Context, number int) {
	e.mu.Lock()
	if e.reading == 0 {
		e.own.minNumber = number
		e.mu.Unlock()
		return
	}
	e.own.pending = &pendingMinNumber{number, make(chan struct{})}
	applied := e.own.pending.applied
	e.mu.Unlock()

	select {
	case <-applied:
	case <-time.After(e.cfg.QueryTimeout): // the store ignores its context: the queries of the read have timed out
	case <-ctx.Done():
	}
}

// applyPending sets the pending min number, if there is one.
func (s *ownState) applyPending() {
	if s.pending != nil {
		s.minNumber = s.pending.number
		close(s.pending.applied)
		s.pending = nil
	}
}

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

// pauseLocal stops the ticks.
func (e *Engine) pauseLocal() {
	e.schedule.starting.Lock()
	defer e.schedule.starting.Unlock()
	e.setSchedule(func(s *schedule) bool { changed := !s.paused; s.paused = true; return changed })
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
	if errors.Is(err, errPaused) {
		e.cfg.Logger.Info("tick started no update: the engine was paused while the tick waited for a read")
	}
	e.reportTick(now, skipped)
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
