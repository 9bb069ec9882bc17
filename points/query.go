package points

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
func (e *Engine) canServe() bool { return e.serving == e.reading && e.reading < len(e.slots) }

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

// serve answers the wait queue, batch by batch, until it is empty.
func (e *Engine) serve() {
	var b batch
	returned := false
	defer func() {
		if !returned {
			e.restartServe(b)
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
	var hookCtx context.Context // as BatchStart returned it
	if e.cfg.Hooks.BatchStart != nil {
		hookCtx = e.callBatchStart(ctx, b.slot)
		readCtx = hookCtx
	}
	answer, err := e.answer(readCtx, b)
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
		e.callBatchEnd(BatchInfo{
			Context: hookCtx, Batch: b.number, Queries: b.queries, Users: len(answer.Users),
			Waited: b.started.Sub(b.arrived), Duration: took, LockWait: answer.LockWait, Err: err,
		})
	}
	e.finishBatch(b, answer, err, down)
}

// answer reads the users for a batch. A shared state also gives its queries their timestamps; otherwise finishBatch
// does.
func (e *Engine) answer(ctx context.Context, b batch) (answer SharedBatch, err error) {
	if e.shared != nil {
		return e.answerShared(ctx, b.queries)
	}
	answer.Users, err = e.read(ctx, b.minNumber)
	return answer, err
}

// restartServe fails the batch and restarts serve if the store or a hook has called runtime.Goexit, as
// testing.T.FailNow does. A hook that panics leads here as well, but then the program ends.
func (e *Engine) restartServe(b batch) {
	err := errors.New("points: reading users: the store or a hook called runtime.Goexit")
	var down error
	if b.probe {
		down = fmt.Errorf("%w: %w", ErrStoreDown, err)
		err = down
	}
	e.finishBatch(b, SharedBatch{}, err, down)
	go e.serve()
}

// A slot holds one batch while it is in flight.
type slot struct {
	queue    *waitQueue        // queries of the batch
	contexts []context.Context // of these queries, for Hooks.BatchStart
	busy     bool
}

// newSlots returns as many slots as batches can be in flight.
func newSlots(shared *shared) []slot {
	slots := make([]slot, 1) // the order of the reads is that of the queries: reads do not overlap
	if shared != nil {
		slots = make([]slot, sharedInFlight)
	}
	for i := range slots {
		slots[i].queue = new(waitQueue)
	}
	return slots
}

func (e *Engine) freeSlot() *slot {
	for i := range e.slots {
		if !e.slots[i].busy {
			return &e.slots[i]
		}
	}
	panic("points: more batches in flight than slots")
}

// A batch describes the queries that a read answers.
type batch struct {
	slot      *slot
	number    uint64
	minNumber int // not used with a shared state
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
		e.serving--
		return batch{}, false
	}
	s := e.freeSlot()
	s.busy = true
	e.waiting, s.queue = s.queue, e.waiting
	e.reading++
	e.batches++
	b := batch{
		slot:      s,
		number:    e.batches,
		minNumber: e.own.minNumber,
		queries:   s.queue.length,
		arrived:   s.queue.first.arrived,
		started:   time.Now(),
		probe:     e.downErr != nil,
	}
	e.probing = e.probing || b.probe
	// The read gets a whole QueryTimeout, although its waiters have less time left: a shorter deadline would make a
	// slow store look down.
	timeout := e.cfg.QueryTimeout
	if b.probe {
		// The timeout grows with the outage: with a fixed one, a store with slower reads would stay down forever.
		timeout = min(timeout, max(e.cfg.ProbeTimeout, b.started.Sub(e.downSince)/4))
	}
	b.deadline = b.started.Add(timeout)
	if e.cfg.Hooks.BatchStart != nil {
		for w := s.queue.first; w != nil; w = w.next {
			s.contexts = append(s.contexts, w.ctx)
		}
	}
	return b, true
}

// callBatchStart calls Hooks.BatchStart for the queries of a slot. It returns the context of their read.
func (e *Engine) callBatchStart(ctx context.Context, s *slot) context.Context {
	if e.shared != nil {
		e.hookMu.Lock()
		defer e.hookMu.Unlock()
	}
	defer func() { // also if the hook panics
		clear(s.contexts)
		s.contexts = s.contexts[:0]
	}()
	return e.cfg.Hooks.BatchStart(ctx, s.contexts)
}

// callBatchEnd calls Hooks.BatchEnd.
func (e *Engine) callBatchEnd(info BatchInfo) {
	if e.shared != nil {
		e.hookMu.Lock()
		defer e.hookMu.Unlock()
	}
	e.cfg.Hooks.BatchEnd(info)
}

// finishBatch gives the queries of a batch their results, each with its own timestamp, in order of arrival. If the read
// found the store down, the waiting queries fail, too, because the next read is a probe for a single query.
func (e *Engine) finishBatch(b batch, answer SharedBatch, err, down error) {
	e.mu.Lock()
	queue := b.slot.queue
	var rejected *waiter
	switch {
	case err == nil:
		if e.shared != nil {
			setSharedResults(queue, answer, b.number)
		} else {
			e.own.setResults(queue, answer.Users, b.number)
		}
		e.downErr = nil
	case down != nil:
		if e.downErr == nil {
			e.downSince = b.started
		}
		e.downErr, e.lastProbe = down, time.Now()
		e.timeOutWaiters()
		rejected = e.waiting.drain(down)
	}
	e.probing = e.probing && !b.probe
	first := queue.drain(err)
	b.slot.busy = false
	e.reading--
	e.own.applyPending()
	e.mu.Unlock()
	wake(first)
	wake(rejected)
}

// recoverPanic turns a panic of the store into an error. It must be deferred itself. doing is for the error, such as
// "reading users".
func recoverPanic(ctx context.Context, logger *slog.Logger, doing string, err *error) {
	if p := recover(); p != nil {
		logger.ErrorContext(ctx, "the store panicked", "panic", p, "stack", string(debug.Stack()))
		*err = fmt.Errorf("points: %s: the store panicked: %v", doing, p)
	}
}
