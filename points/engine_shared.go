package points

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// This file is the part of an engine whose state is a SharedState. That gives the queries their timestamps, keeps the
// min number, and decides when ticks happen and which engine claims them. Run is in shared_run.go, the records of
// updates are in shared_updates.go.

// sharedInFlight is how many batches can be in flight. While one waits for the order lock or for its answer, the next
// one is on its way: with few clients, which wait for the network, that halves the latency.
const sharedInFlight = 2

// smallBatch is how many queries each of the latest two batches may have had for a second one to start while another is
// in flight. With many clients, two batches in flight are about as large as one together, but cost twice as much CPU
// time: they had 0.9x the requests/s (bench/README.md).
const smallBatch = 15

// shared is the shared state of an engine, and what the engine knows of it.
type shared struct {
	state    SharedState
	instance string        // Config.Instance
	id       uint64        // SyncRequest.InstanceID
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

func newShared(state SharedState, cfg Config) *shared {
	return &shared{
		state: state, instance: cfg.Instance, id: rand.Uint64(), interval: cfg.Interval, timeout: cfg.QueryTimeout,
		logger: cfg.Logger, wake: make(chan struct{}, 1),
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
// timestamps of the batch, because the next batch begins by returning the last one.
func setSharedResults(queries *waitQueue, answer SharedBatch, batch uint64) {
	previous := answer.PreviousTimestamp.UTC()
	timestamp := answer.LastTimestamp.UTC().Add(-time.Duration(queries.length) * time.Microsecond)
	for w := queries.first; w != nil; w = w.next {
		timestamp = timestamp.Add(time.Microsecond)
		w.result = Result{Users: answer.Users, PreviousTimestamp: previous, Batch: batch}
		previous = timestamp
	}
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

// sync completes the request with what every request contains, and calls Sync.
func (s *shared) sync(ctx context.Context, request SyncRequest) (claimed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	defer recoverPanic(ctx, s.logger, "sync", &err)
	request.Instance, request.InstanceID, request.Interval = s.instance, s.id, s.interval
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

// requestSync makes Run call Sync soon.
func (s *shared) requestSync() {
	select {
	case s.wake <- struct{}{}:
	default: // it is requested already
	}
}

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

// sameName returns another engine with the name of this one. It has called Sync since this one started, so it is not
// an earlier process that this one replaces.
func (s *shared) sameName() (SharedInstance, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	engines := s.status.Instances
	own := slices.IndexFunc(engines, func(i SharedInstance) bool { return i.ID == s.id })
	if own < 0 {
		return SharedInstance{}, false
	}
	other := slices.IndexFunc(engines, func(i SharedInstance) bool {
		return i.Instance == s.instance && i.ID != s.id && i.Seen.After(engines[own].Started)
	})
	if other < 0 {
		return SharedInstance{}, false
	}
	return engines[other], true
}

// toProcessClock converts a time of the shared state's clock to this process's clock. The status must have been
// received.
func (s *shared) toProcessClock(t time.Time) time.Time { return s.received.Add(t.Sub(s.status.Time)) }

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
	state.Interval, state.Instance, state.InstanceID = s.currentInterval(), s.instance, s.id
	s.mu.Lock()
	defer s.mu.Unlock()
	if state.Shared = s.status; s.status == nil {
		return
	}
	state.Paused, state.Ticks, state.Skipped = s.status.Paused, s.status.Ticks, s.status.Skipped
	if s.running && !s.status.NextTick.IsZero() {
		state.NextTick = s.toProcessClock(s.status.NextTick).UTC()
	}
}
