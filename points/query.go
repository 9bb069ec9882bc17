package points

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"
)

// probeInterval is the time between two probes of a store that is down.
const probeInterval = 100 * time.Millisecond

// Query returns users that have more points than the min number, and the timestamp of the query before this one.
// Queries are linearizable: each takes effect at one moment between its call and its return.
//
// Queries that wait at the same moment form a batch and are answered from one read of the store, which starts after
// they have been collected. A query that arrives during a read waits for the next one, so no result is older than its
// call. On an idle engine a query does not wait.
//
// Query fails with ctx's error when ctx ends, with [ErrQueryTimeout], [ErrOverloaded] or [ErrStoreDown], or with the
// store's error, wrapped. A failed query has no timestamp: the next query's PreviousTimestamp is the same as without
// it.
func (e *Engine) Query(ctx context.Context) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("points: query: %w", err)
	}
	if e.immediate {
		return e.queryImmediate(ctx)
	}

	w := e.waiters.Get().(*waiter) //nolint:forcetypeassert // New sets the type
	defer e.waiters.Put(w)
	if e.cfg.Hooks.BatchStart != nil {
		w.ctx = ctx
		defer func() { w.ctx = nil }()
	}
	if err := e.enqueue(w); err != nil { //nolint:contextcheck // a read belongs to all queries of its batch
		return Result{}, err
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		if e.dequeue(w) {
			return Result{}, fmt.Errorf("points: query: %w", ctx.Err())
		}
		<-w.done // it got its result just before ctx ended
	}
	result, err := w.result, w.err
	w.result, w.err = Result{}, nil
	return result, err
}

// enqueue adds w to the wait queue, and starts serve if it is not running. It fails if too many queries are waiting, or
// if the store is down and no probe is due.
func (e *Engine) enqueue(w *waiter) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.waiting.length+e.inFlight.length >= e.cfg.MaxWaiting {
		return ErrOverloaded
	}
	if e.down != nil && (e.serving || time.Since(e.lastProbe) < probeInterval) {
		return e.down
	}
	w.arrived = time.Now()
	e.waiting.push(w)
	if e.timeoutTimer == nil {
		e.timeoutTimer = time.AfterFunc(e.cfg.QueryTimeout, e.onTimeoutTimer)
	}
	if !e.serving {
		e.serving = true
		go e.serve()
	}
	return nil
}

// dequeue removes w from its queue. It reports false if w has its result.
func (e *Engine) dequeue(w *waiter) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if w.queue == nil {
		return false
	}
	w.queue.remove(w)
	return true
}

// onTimeoutTimer fails the waiters whose timeout has passed. One timer serves all of them: they time out in order of
// arrival, and most get their result long before.
func (e *Engine) onTimeoutTimer() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.timeoutTimer = nil
	if left := e.timeOutWaiters(); left > 0 {
		e.timeoutTimer = time.AfterFunc(left, e.onTimeoutTimer)
	}
}

// timeOutWaiters fails the waiters whose timeout has passed. It returns the time left to the next one, 0 if there is
// none.
func (e *Engine) timeOutWaiters() (left time.Duration) {
	for _, q := range []*waitQueue{e.inFlight, e.waiting} {
		for w := q.first; w != nil; w = q.first {
			if left = e.cfg.QueryTimeout - time.Since(w.arrived); left > 0 {
				return left
			}
			q.remove(w)
			w.err = ErrQueryTimeout
			w.done <- struct{}{}
		}
	}
	return 0
}

// serve answers the wait queue, batch by batch, until it is empty.
func (e *Engine) serve() {
	var b batch
	returned := false
	defer func() {
		if !returned {
			e.recoverServe(b)
		}
	}()
	for {
		// Let queries that are runnable join the batch.
		runtime.Gosched()
		var ok bool
		if b, ok = e.nextBatch(); !ok {
			returned = true
			return
		}
		e.answerBatch(b)
	}
}

func (e *Engine) answerBatch(b batch) {
	ctx, cancel := context.WithDeadline(context.Background(), b.deadline)
	defer cancel()
	readCtx := ctx
	if e.cfg.Hooks.BatchStart != nil {
		readCtx = e.startBatch(ctx)
	}
	users, err := e.read(readCtx, b.minNumber)
	took := time.Since(b.started)
	var down error
	if err != nil && (b.probe || took > e.cfg.ProbeTimeout) {
		down = fmt.Errorf("%w: %w", ErrStoreDown, err)
	}
	switch {
	case err != nil && b.probe:
		err = down
	case err != nil && ctx.Err() != nil:
		err = fmt.Errorf("%w: %w", ErrQueryTimeout, err)
	}
	if e.cfg.Hooks.BatchEnd != nil {
		e.cfg.Hooks.BatchEnd(BatchInfo{
			Batch: b.number, Queries: b.queries, Users: len(users),
			Waited: b.started.Sub(b.arrived), Duration: took, Err: err,
		})
	}
	e.finishBatch(b, users, err, down)
}

// recoverServe fails the batch and restarts serve if the store or a hook has called runtime.Goexit, as
// testing.T.FailNow does. A hook that panics leads here as well, but then the program ends.
func (e *Engine) recoverServe(b batch) {
	err := errors.New("points: reading users: the store or a hook called runtime.Goexit")
	var down error
	if b.probe {
		down = fmt.Errorf("%w: %w", ErrStoreDown, err)
		err = down
	}
	e.finishBatch(b, nil, err, down)
	go e.serve()
}

// A batch describes the queries that a read answers.
type batch struct {
	number    uint64
	minNumber int
	queries   int
	arrived   time.Time // the first query
	started   time.Time
	deadline  time.Time // of the read
	probe     bool      // the store is down
}

// nextBatch makes the waiting queries the next batch. It reports false if there are none: then serve must return.
func (e *Engine) nextBatch() (batch, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.waiting.first == nil {
		e.serving = false
		return batch{}, false
	}
	e.waiting, e.inFlight = e.inFlight, e.waiting
	e.reading = true
	e.batches++
	b := batch{
		number:    e.batches,
		minNumber: e.minNumber,
		queries:   e.inFlight.length,
		arrived:   e.inFlight.first.arrived,
		started:   time.Now(),
		probe:     e.down != nil,
	}
	// The read gets a whole QueryTimeout, although its waiters have less time left: a shorter deadline would make a
	// slow store look down.
	timeout := e.cfg.QueryTimeout
	if b.probe {
		// The timeout grows with the outage: with a fixed one, a store with slower reads would stay down forever.
		timeout = min(timeout, max(e.cfg.ProbeTimeout, b.started.Sub(e.downSince)/4))
	}
	b.deadline = b.started.Add(timeout)
	if e.cfg.Hooks.BatchStart != nil {
		for w := e.inFlight.first; w != nil; w = w.next {
			e.batchCtxs = append(e.batchCtxs, w.ctx)
		}
	}
	return b, true
}

// startBatch calls Hooks.BatchStart for the queries whose contexts are in e.batchCtxs. It returns the context of their
// read.
func (e *Engine) startBatch(ctx context.Context) context.Context {
	defer func() { // also if the hook panics
		clear(e.batchCtxs)
		e.batchCtxs = e.batchCtxs[:0]
	}()
	return e.cfg.Hooks.BatchStart(ctx, e.batchCtxs)
}

// finishBatch gives the queries of the read in flight their results, each with its own timestamp, in order of arrival.
// Queries that have given up get no timestamp. If the read found the store down, the waiting queries fail, too: the
// next read is a probe, for a single query.
func (e *Engine) finishBatch(b batch, users []User, err, down error) {
	e.mu.Lock()
	var rejected *waiter
	switch {
	case err == nil:
		// The last timestamp of a batch is the current time, not the first: so no timestamp is in the future, unless
		// there is more than one query per microsecond.
		timestamp := max(e.lastTimestamp, time.Now().UnixMicro()-int64(e.inFlight.length))
		for w := e.inFlight.first; w != nil; w = w.next {
			timestamp++
			w.result = Result{Users: users, PreviousTimestamp: timeOf(e.lastTimestamp), Batch: b.number}
			e.lastTimestamp = timestamp
		}
	case down != nil:
		if e.down == nil {
			e.downSince = b.started
		}
		e.lastProbe = time.Now()
		e.timeOutWaiters()
		rejected = e.waiting.drain(down)
	}
	e.down = down
	first := e.inFlight.drain(err)
	e.reading = false
	if e.pending != nil {
		e.minNumber = e.pending.number
		close(e.pending.set)
		e.pending = nil
	}
	e.mu.Unlock()
	wake(first)
	wake(rejected)
}

// queryImmediate answers one query from a store with ImmediateReads. The lock orders the queries.
func (e *Engine) queryImmediate(ctx context.Context) (Result, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	started := time.Now()
	e.batches++
	readCtx := ctx
	if e.cfg.Hooks.BatchStart != nil {
		e.batchCtxs = append(e.batchCtxs, ctx)
		readCtx = e.startBatch(ctx)
	}
	users, err := e.read(readCtx, e.minNumber)
	if e.cfg.Hooks.BatchEnd != nil {
		e.cfg.Hooks.BatchEnd(BatchInfo{
			Batch: e.batches, Queries: 1, Users: len(users), Duration: time.Since(started), Err: err,
		})
	}
	if err != nil {
		return Result{}, err
	}
	result := Result{Users: users, PreviousTimestamp: timeOf(e.lastTimestamp), Batch: e.batches}
	e.lastTimestamp = max(e.lastTimestamp+1, started.UnixMicro())
	return result, nil
}

// read reads from the store. It turns a panic of the store into an error.
func (e *Engine) read(ctx context.Context, min int) (users []User, err error) {
	defer func() {
		if p := recover(); p != nil {
			e.cfg.Logger.ErrorContext(ctx, "the store panicked", "panic", p, "stack", string(debug.Stack()))
			users, err = nil, fmt.Errorf("points: reading users: the store panicked: %v", p)
		}
	}()
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
