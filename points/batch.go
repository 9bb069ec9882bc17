package points

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

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

// nextBatch makes the waiting queries the next batch. It reports false if there are none, or if they must wait for the
// end of a batch in flight: then serve must return.
func (e *Engine) nextBatch() (batch, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.waiting.first == nil || !e.canRead() {
		e.serving--
		return batch{}, false
	}
	s := e.freeSlot()
	s.busy = true
	e.waiting, s.queue = s.queue, e.waiting
	e.reading++
	e.batches++
	e.latest = [2]int{e.latest[1], s.queue.length}
	b := batch{
		slot:      s,
		number:    e.batches,
		minNumber: e.local.minNumber,
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

// finishBatch gives the queries of a batch their results, each with its own timestamp, in order of arrival. If the read
// found the store down, the waiting queries fail, too, because the next read is a probe for a single query.
func (e *Engine) finishBatch(b batch, answer SharedBatch, err, down error) {
	e.mu.Lock()
	queue := b.slot.queue
	var rejected *waiter
	if e.readFailed = (time.Time{}); err != nil {
		e.readFailed = time.Now()
	}
	switch {
	case err == nil:
		if e.shared != nil {
			setSharedResults(queue, answer, b.number)
		} else {
			e.local.setResults(queue, answer.Users, b.number)
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
	e.local.applyPending()
	e.mu.Unlock()
	wake(first)
	wake(rejected)
}

// callBatchStart calls Hooks.BatchStart for the queries of a slot: with two batches in flight, one call at a time. It
// returns the context of their read.
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

// callBatchEnd calls Hooks.BatchEnd: with two batches in flight, one call at a time.
func (e *Engine) callBatchEnd(info BatchInfo) {
	if e.shared != nil {
		e.hookMu.Lock()
		defer e.hookMu.Unlock()
	}
	e.cfg.Hooks.BatchEnd(info)
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
