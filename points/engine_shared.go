package points

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// This file is the part of an engine whose state is a SharedState. That gives the queries their timestamps, keeps the
// min number, and decides when ticks happen and which engine claims them.

const (
	// sharedInFlight is how many batches can be in flight. While one waits for the order lock or for its answer, the next
	// one is on its way. Measured with 100 connections: 0.85 to 1.4 times the rate of an engine that keeps its own state,
	// against 0.73 to 1.5 with one batch.
	sharedInFlight = 2

	// sharedPoll is the maximum time between two Syncs, and that between two attempts while they fail. It is well below
	// InstanceTimeout.
	sharedPoll = time.Second

	// maxJitter spreads the Syncs of the engines that wait for the same tick.
	maxJitter = 20 * time.Millisecond
)

// shared is the shared state of an engine, and what the engine knows of it.
type shared struct {
	state    SharedState
	instance string
	interval time.Duration // Config.Interval
	timeout  time.Duration // of a call: Config.QueryTimeout
	logger   *slog.Logger
	wake     chan struct{} // full if a Sync is due at once

	mu         sync.Mutex
	calls      uint64          // of Sync and Configure so far
	statusCall uint64          // the call that returned status
	running    bool            // Run is running
	status     *SharedStatus   // as of the latest call; nil before the first
	received   time.Time       // when status was received
	updates    []*sharedUpdate // of this engine, oldest first: not yet recorded, or running
}

// A sharedUpdate is an update of this engine until the shared state has recorded its outcome.
type sharedUpdate struct {
	SharedUpdate

	info UpdateInfo
	sent bool // a Sync has succeeded with it as it is
}

func newShared(state SharedState, cfg Config) *shared {
	return &shared{
		state: state, instance: cfg.Instance, interval: cfg.Interval, timeout: cfg.QueryTimeout, logger: cfg.Logger,
		wake: make(chan struct{}, 1),
	}
}

// answerShared answers a batch of n queries.
func (e *Engine) answerShared(ctx context.Context, n int) (answer SharedBatch, err error) {
	defer recoverPanic(ctx, e.cfg.Logger, "reading users", &err)
	answer, err = e.shared.state.AnswerBatch(ctx, n, e.cfg.Limit)
	if err != nil {
		return SharedBatch{}, fmt.Errorf("points: reading users: %w", err)
	}
	if answer.Users == nil {
		answer.Users = []User{}
	}
	return answer, nil
}

// setSharedResults gives the queries of a batch their results. If some have given up, the others get the last
// timestamps of the batch: the next batch returns its last one.
func setSharedResults(queries *waitQueue, answer SharedBatch, batch uint64) {
	previous := answer.PreviousTimestamp.UTC()
	timestamp := answer.LastTimestamp.UTC().Add(-time.Duration(queries.length) * time.Microsecond)
	for w := queries.first; w != nil; w = w.next {
		timestamp = timestamp.Add(time.Microsecond)
		w.result = Result{Users: answer.Users, PreviousTimestamp: previous, Batch: batch}
		previous = timestamp
	}
}

// A sharedRun is one call of Run with a shared state.
type sharedRun struct {
	*Engine

	starting  bool // no Sync has succeeded yet
	failing   bool // the latest Sync has failed
	drawn     bool // minNumber has been drawn, and is not the min number
	minNumber int
}

// runShared calls Sync until ctx ends, and then stops a running update.
func (e *Engine) runShared(ctx context.Context) error {
	r := sharedRun{Engine: e, starting: true}
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
	if !r.drawn {
		r.drawMinNumber()
	}
	claimed, err := r.shared.sync(ctx, SyncRequest{
		Starting: r.starting, TickNow: r.starting && r.cfg.UpdateOnStart, MinNumber: r.minNumber,
	})
	if err != nil {
		r.drawn = false // it may have become the min number
		if ctx.Err() == nil && !r.failing {
			r.failing = true
			r.cfg.Logger.Warn("sync of the shared state failed: no ticks here until it succeeds", "error", err)
		}
		return
	}
	if r.failing {
		r.cfg.Logger.Info("sync of the shared state succeeds again")
	}
	r.starting, r.failing = false, false
	if claimed {
		r.drawn = false
		r.startTickUpdate(ctx, time.Now())
	}
}

// drawMinNumber draws the number for the next tick that this engine claims.
func (r *sharedRun) drawMinNumber() {
	number, err := r.Engine.drawMinNumber()
	if err != nil { // unlike a tick of its own, a claim cannot keep the min number, which the engine does not know
		number = rand.IntN(MaxPoints + 1)
		r.cfg.Logger.Error("tick sets a random min number", "error", err)
	}
	r.minNumber, r.drawn = number, true
}

// startTickUpdate starts the update of a tick that this engine has claimed.
func (e *Engine) startTickUpdate(ctx context.Context, claimed time.Time) {
	run, err := e.updater.beginUpdate(ctx, true)
	skipped := errors.Is(err, ErrUpdateRunning)
	if skipped {
		e.shared.addUpdate(UpdateInfo{}, UpdateSkipped)
	}
	if run != nil {
		go run() //nolint:errcheck // the updater logs and reports errors
	}
	e.reportTick(claimed, skipped)
}

// untilSync returns the time until the next Sync.
func (r *sharedRun) untilSync() time.Duration {
	if r.failing {
		return sharedPoll
	}
	return r.shared.untilSync()
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

// sync completes the request with what every request contains, and calls Sync.
func (s *shared) sync(ctx context.Context, request SyncRequest) (claimed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	defer recoverPanic(ctx, s.logger, "sync", &err)
	request.Instance, request.Interval = s.instance, s.interval
	request.Update = s.nextUpdate()
	call := s.beginCall()
	result, err := s.state.Sync(ctx, request)
	if err != nil {
		return false, fmt.Errorf("points: sync: %w", err)
	}
	s.endCall(call, result.Status)
	if request.Update != nil {
		s.setRecorded(*request.Update)
	}
	return result.Claimed, nil
}

// configureShared changes the schedule for all engines. Run then waits for the new next tick.
func (e *Engine) configureShared(doing string, change ScheduleChange) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), e.shared.timeout)
	defer cancel()
	defer recoverPanic(ctx, e.cfg.Logger, doing, &err)
	call := e.shared.beginCall()
	status, err := e.shared.state.Configure(ctx, change)
	if err != nil {
		return fmt.Errorf("points: %s: %w", doing, err)
	}
	e.shared.endCall(call, status)
	e.shared.requestSync()
	return nil
}

// requestSync makes Run call Sync soon.
func (s *shared) requestSync() {
	select {
	case s.wake <- struct{}{}:
	default: // it is requested already
	}
}

// addUpdate adds an update that has begun, or one that was skipped before it began. It returns its ID.
func (s *shared) addUpdate(info UpdateInfo, outcome UpdateOutcome) (id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id = rand.Uint64()
	s.updates = append(s.updates, &sharedUpdate{
		SharedUpdate: SharedUpdate{ID: id, Instance: s.instance, Outcome: outcome}, info: info,
	})
	if len(s.updates) > MaxSharedUpdates { // no Sync has succeeded for long: the state would forget the oldest anyway
		oldest := slices.IndexFunc(s.updates, func(u *sharedUpdate) bool { return u.Outcome != UpdateUnfinished })
		s.updates = slices.Delete(s.updates, oldest, oldest+1)
	}
	s.requestSync()
	return id
}

// endUpdate sets the outcome of an update that was added.
func (s *shared) endUpdate(id uint64, info UpdateInfo, outcome UpdateOutcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.updates {
		if u.ID == id {
			u.Duration, u.Users, u.Outcome, u.info, u.sent = info.Duration, info.Users, outcome, info, false
			if outcome == UpdateFailed {
				u.Err = strings.ReplaceAll(strings.ToValidUTF8(info.Err.Error(), "?"), "\x00", "?")
			}
		}
	}
	s.requestSync()
}

// nextUpdate returns the update for the next Sync: the oldest that is to be recorded, or the running one; nil if there
// is none.
func (s *shared) nextUpdate() *SharedUpdate {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.updates) == 0 {
		return nil
	}
	update := s.updates[max(0, slices.IndexFunc(s.updates, isUnsent))].SharedUpdate
	return &update
}

func isUnsent(u *sharedUpdate) bool { return !u.sent }

// beginCall returns the number of a call.
func (s *shared) beginCall() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	return s.calls
}

// endCall sets the status that a call has returned, unless that of a later one has been set: the calls of Run and of
// Pause may overlap.
func (s *shared) endCall(call uint64, status SharedStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if call > s.statusCall {
		s.status, s.statusCall, s.received = &status, call, time.Now()
	}
}

// setRecorded notes that a Sync has recorded an update. If there are more to be recorded, the next Sync is due at once.
func (s *shared) setRecorded(update SharedUpdate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.updates, func(u *sharedUpdate) bool { return u.SharedUpdate == update })
	switch {
	case i < 0: // it has ended meanwhile, or it was dropped
	case update.Outcome == UpdateUnfinished:
		s.updates[i].sent = true
	default:
		s.updates = slices.Delete(s.updates, i, i+1)
	}
	if slices.ContainsFunc(s.updates, isUnsent) {
		s.requestSync()
	}
}

// untilSync returns the time until the next tick is due, with some jitter, but at most sharedPoll.
func (s *shared) untilSync() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status == nil || s.status.NextTick.IsZero() {
		return sharedPoll
	}
	jitter := rand.N(min(maxJitter, s.status.Interval/10) + 1)
	return min(sharedPoll, max(minInterval, time.Until(s.toLocal(s.status.NextTick)))+jitter)
}

// toLocal converts a time of the shared state's clock to this process's clock. The status must have been received.
func (s *shared) toLocal(t time.Time) time.Time { return s.received.Add(t.Sub(s.status.Time)) }

// failures returns the number of consecutive failed updates of all engines, and the latest one, with its times by this
// process's clock.
func (s *shared) failures() (failures int, last UpdateInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status != nil && s.status.Failures > 0 {
		failed := s.status.LastFailure
		failures = s.status.Failures
		last = UpdateInfo{Started: s.toLocal(failed.Started), Duration: failed.Duration}
	}
	for _, u := range s.updates { // which the status does not contain yet
		switch u.Outcome { //nolint:exhaustive // the others say nothing about the store
		case UpdateSucceeded:
			failures = 0
		case UpdateFailed:
			failures++
			last = u.info
		}
	}
	return failures, last
}

func (s *shared) currentInterval() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status == nil || s.status.Interval == 0 {
		return s.interval
	}
	return s.status.Interval
}

// setRunning reports whether it has changed running.
func (s *shared) setRunning(running bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := s.running != running
	s.running = running
	return changed
}

func (s *shared) addState(state *State) {
	state.Interval, state.Instance = s.currentInterval(), s.instance
	s.mu.Lock()
	defer s.mu.Unlock()
	if state.Shared = s.status; s.status == nil {
		return
	}
	state.Paused, state.Ticks, state.Skipped = s.status.Paused, s.status.Ticks, s.status.Skipped
	if s.running && !s.status.NextTick.IsZero() {
		state.NextTick = s.toLocal(s.status.NextTick).UTC()
	}
}
