package points

import (
	"context"
	"fmt"
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
//
// With a [SharedState] the order is that of all its engines. There, a query that fails or is cancelled while its read
// is in flight may have taken a timestamp, as a transaction whose COMMIT got no answer may have been committed: the
// next query may then return that timestamp.
func (e *Engine) Query(ctx context.Context) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("points: query: %w", err)
	}
	if e.immediate {
		return e.queryImmediate(ctx)
	}

	w := e.waiterPool.Get().(*waiter) //nolint:forcetypeassert // New sets the type
	defer e.waiterPool.Put(w)
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
	if e.queriesWaiting() >= e.cfg.MaxWaiting {
		return ErrOverloaded
	}
	if e.downErr != nil && !e.probeIsDue() {
		return e.downErr
	}
	w.arrived = time.Now()
	e.waiting.push(w)
	if e.timeoutTimer == nil {
		e.timeoutTimer = time.AfterFunc(e.cfg.QueryTimeout, e.onTimeoutTimer)
	}
	if e.canServe() {
		e.serving++
		go e.serve()
	}
	return nil
}

// queriesWaiting returns the number of queries that wait for a read or for the end of theirs.
func (e *Engine) queriesWaiting() int {
	n := e.waiting.length
	for i := range e.slots {
		n += e.slots[i].queue.length
	}
	return n
}

// canServe reports whether another batch can be in flight, and no goroutine is about to take it.
func (e *Engine) canServe() bool { return e.serving == e.reading && e.canRead() }

// canRead reports whether another batch can be in flight.
func (e *Engine) canRead() bool {
	return e.reading == 0 || e.reading < len(e.slots) && max(e.latest[0], e.latest[1]) <= smallBatch
}

// probeIsDue reports whether the next query may probe a store that is down. Reads that began before the outage do not
// matter.
func (e *Engine) probeIsDue() bool {
	return !e.probing && e.canServe() && time.Since(e.lastProbe) >= probeInterval
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

// onTimeoutTimer fails the waiters whose timeout has passed. One timer serves all of them: in each queue they time out
// in order of arrival, and most get their result long before.
func (e *Engine) onTimeoutTimer() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.timeoutTimer = nil
	if remaining := e.timeOutWaiters(); remaining > 0 {
		e.timeoutTimer = time.AfterFunc(remaining, e.onTimeoutTimer)
	}
}

// timeOutWaiters fails the waiters whose timeout has passed. It returns the time left to the next one, 0 if there is
// none.
func (e *Engine) timeOutWaiters() (remaining time.Duration) {
	now := time.Now()
	timeOut := func(q *waitQueue) {
		for w := q.first; w != nil; w = q.first {
			if wait := w.arrived.Add(e.cfg.QueryTimeout).Sub(now); wait > 0 {
				if remaining == 0 || wait < remaining {
					remaining = wait
				}
				return
			}
			q.remove(w)
			w.err = ErrQueryTimeout
			w.done <- struct{}{}
		}
	}
	for i := range e.slots {
		timeOut(e.slots[i].queue)
	}
	timeOut(e.waiting)
	return remaining
}
