package points

import (
	"context"
	"fmt"
	"time"
)

// This file is the part of an engine that keeps its own order of the queries and min number, because its store has no
// SharedState. Its schedule is in schedule.go.

// A localState is the order of the queries and the min number of an engine without a shared state. Engine.mu guards it.
type localState struct {
	minNumber     int
	pending       *pendingMinNumber // nil if there is none
	lastTimestamp int64             // of the latest query, in µs since 1970; 0 if there was none
}

// setResults gives the queries of a batch their results. Queries that have given up get no timestamp.
func (s *localState) setResults(queries *waitQueue, users []User, batch uint64) {
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
	users, err := e.read(readCtx, e.local.minNumber)
	if e.cfg.Hooks.BatchEnd != nil {
		e.cfg.Hooks.BatchEnd(BatchInfo{
			Context: hookCtx, Batch: e.batches, Queries: 1, Users: len(users), Duration: time.Since(started), Err: err,
		})
	}
	if e.readFailed = (time.Time{}); err != nil {
		if ctx.Err() == nil { // otherwise the caller has ended the read
			e.readFailed = time.Now()
		}
		return Result{}, err
	}
	result := Result{Users: users, PreviousTimestamp: timeOf(e.local.lastTimestamp), Batch: e.batches}
	e.local.lastTimestamp = max(e.local.lastTimestamp+1, started.UnixMicro())
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
		e.local.minNumber = number
		e.mu.Unlock()
		return
	}
	e.local.pending = &pendingMinNumber{number, make(chan struct{})}
	applied := e.local.pending.applied
	e.mu.Unlock()

	select {
	case <-applied:
	case <-time.After(e.cfg.QueryTimeout): // the store ignores its context: the queries of the read have timed out
	case <-ctx.Done():
	}
}

// applyPending sets the pending min number, if there is one.
func (s *localState) applyPending() {
	if s.pending != nil {
		s.minNumber = s.pending.number
		close(s.pending.applied)
		s.pending = nil
	}
}
