package points

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"
)

// Query answers one query: the users that have more points than the hidden number, and when the query before this one
// was stamped. It has one place in the order of all queries, at one moment between its call and its return.
//
// All callers that wait at one moment are answered from one read of the store, which begins once they have been taken:
// whoever comes during a read waits for the next one, so that no answer is older than its call. A caller on an idle
// engine waits for nobody.
//
// Query fails with ctx's error when ctx ends, with [ErrQueryTimeout], [ErrOverloaded] or [ErrStoreDown], or with the
// store's error, wrapped. A query that fails has no place in the order: the next one is answered as if it had not been.
func (e *Engine) Query(ctx context.Context) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("points: query: %w", err)
	}
	if e.immediate {
		return e.readAlone(ctx)
	}

	c := e.callers.Get().(*caller) //nolint:forcetypeassert // New makes them
	defer e.callers.Put(c)
	if e.cfg.Hooks.BatchStart != nil {
		c.ctx = ctx
		defer func() { c.ctx = nil }()
	}
	if err := e.join(c); err != nil { //nolint:contextcheck // a batch's read is not its first caller's alone
		return Result{}, err
	}
	select {
	case <-c.answered:
	case <-ctx.Done():
		if e.leave(c) {
			return Result{}, fmt.Errorf("points: query: %w", ctx.Err())
		}
		<-c.answered // it got its place in the order just before ctx ended
	}
	result, err := c.result, c.err
	c.result, c.err = Result{}, nil
	return result, err
}

// join puts c in the line and sees to it that someone serves it, unless too many wait, or the store is down and it is
// not time to try it again.
func (e *Engine) join(c *caller) error {
	const trialEvery = 100 * time.Millisecond
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.waiting.length+e.reading.length >= e.cfg.MaxWaiting {
		return ErrOverloaded
	}
	if e.down != nil && (e.serving || time.Since(e.tried) < trialEvery) {
		return e.down
	}
	c.arrived = time.Now()
	e.waiting.join(c)
	if e.expiry == nil {
		e.expiry = time.AfterFunc(e.cfg.QueryTimeout, e.expire)
	}
	if !e.serving {
		e.serving = true
		go e.serve()
	}
	return nil
}

// leave takes c out of the line. It reports false if c is answered.
func (e *Engine) leave(c *caller) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c.line == nil {
		return false
	}
	c.line.leave(c)
	return true
}

// expire answers the callers that have waited for too long. One timer is enough for all of them: they time out in the
// order in which they came, and most are answered long before.
func (e *Engine) expire() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.expiry = nil
	if left := e.dropOverdue(); left > 0 {
		e.expiry = time.AfterFunc(left, e.expire)
	}
}

// dropOverdue answers the callers whose time is up. It returns how long the next one has; 0 if there is none.
func (e *Engine) dropOverdue() (left time.Duration) {
	for _, l := range []*line{e.reading, e.waiting} {
		for c := l.first; c != nil; c = l.first {
			if left = e.cfg.QueryTimeout - time.Since(c.arrived); left > 0 {
				return left
			}
			l.leave(c)
			c.err = ErrQueryTimeout
			c.answered <- struct{}{}
		}
	}
	return 0
}

// serve answers the line, batch by batch, until nobody waits.
func (e *Engine) serve() {
	for {
		// Callers that can run, and are about to join, do so before this goroutine goes on.
		runtime.Gosched()
		batch, ok := e.take()
		if !ok {
			return
		}
		began := time.Now()
		ctx, cancel := context.WithDeadline(context.Background(), batch.deadline)
		users, err := e.read(e.start(ctx), batch.min)
		took := time.Since(began)
		var down error
		if err != nil && (batch.trial || took > e.cfg.ProbeTimeout) {
			down = fmt.Errorf("%w: %w", ErrStoreDown, err)
		}
		switch {
		case err != nil && batch.trial:
			err = down
		case err != nil && ctx.Err() != nil:
			err = fmt.Errorf("%w: %w", ErrQueryTimeout, err)
		}
		cancel()
		if e.cfg.Hooks.BatchEnd != nil {
			e.cfg.Hooks.BatchEnd(BatchInfo{
				Batch: batch.number, Queries: batch.callers, Users: len(users),
				Waited: began.Sub(batch.arrived), Duration: took, Err: err,
			})
		}
		e.answer(batch.number, users, err, down)
	}
}

// A batch is what a read needs to know of the callers that it is for.
type batch struct {
	number   uint64
	min      int
	callers  int
	arrived  time.Time // of the first
	deadline time.Time // of the last, or of a trial
	trial    bool      // the store is down
}

// take makes the callers who wait those whom the next read is for. It reports false if nobody waits, and nobody serves
// any longer.
func (e *Engine) take() (batch, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.waiting.first == nil {
		e.serving = false
		return batch{}, false
	}
	e.waiting, e.reading = e.reading, e.waiting
	e.inRead = true
	e.batches++
	b := batch{
		number:   e.batches,
		min:      e.min,
		callers:  e.reading.length,
		arrived:  e.reading.first.arrived,
		deadline: e.reading.last.arrived.Add(e.cfg.QueryTimeout),
		trial:    e.down != nil,
	}
	if b.trial {
		b.deadline = time.Now().Add(e.cfg.ProbeTimeout)
	}
	if e.cfg.Hooks.BatchStart != nil {
		for c := e.reading.first; c != nil; c = c.next {
			e.starting = append(e.starting, c.ctx)
		}
	}
	return b, true
}

// start returns the context of a read that is about to begin, for the callers in e.starting.
func (e *Engine) start(ctx context.Context) context.Context {
	if e.cfg.Hooks.BatchStart != nil {
		ctx = e.cfg.Hooks.BatchStart(ctx, e.starting)
		clear(e.starting)
		e.starting = e.starting[:0]
	}
	return ctx
}

// answer gives the callers of the read that has ended their answers: in the order in which they came, each with its own
// stamp. Those who have left have no part in it. If the read has found the store down, those who wait for the next one
// have that for an answer.
func (e *Engine) answer(number uint64, users []User, err, down error) {
	e.mu.Lock()
	var refused *caller
	switch {
	case err == nil:
		// A batch's stamps end now, rather than begin now: nobody is told of a time that is yet to come, unless more
		// than one query comes in a microsecond.
		stamp := max(e.last, time.Now().UnixMicro()-int64(e.reading.length))
		for c := e.reading.first; c != nil; c = c.next {
			stamp++
			c.result = Result{Users: users, Previous: timeOf(e.last), Batch: number}
			e.last = stamp
		}
	case down != nil:
		e.dropOverdue()
		refused = e.waiting.end(down)
		e.tried = time.Now()
	}
	e.down = down
	first := e.reading.end(err)
	e.inRead = false
	if e.drawn != nil {
		e.min = e.drawn.min
		close(e.drawn.placed)
		e.drawn = nil
	}
	e.mu.Unlock()
	tell(first)
	tell(refused)
}

// tell wakes callers, from the first one of a line that has ended.
func tell(first *caller) {
	for c := first; c != nil; {
		next := c.next // before c is told, and used again
		c.answered <- struct{}{}
		c = next
	}
}

// readAlone answers one query of an Immediate store. The lock makes the order.
func (e *Engine) readAlone(ctx context.Context) (Result, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cfg.Hooks.BatchStart != nil {
		e.starting = append(e.starting, ctx)
	}
	began := time.Now()
	e.batches++
	users, err := e.read(e.start(ctx), e.min)
	if e.cfg.Hooks.BatchEnd != nil {
		e.cfg.Hooks.BatchEnd(BatchInfo{
			Batch: e.batches, Queries: 1, Users: len(users), Duration: time.Since(began), Err: err,
		})
	}
	if err != nil {
		return Result{}, err
	}
	result := Result{Users: users, Previous: timeOf(e.last), Batch: e.batches}
	e.last = max(e.last+1, began.UnixMicro())
	return result, nil
}

// read reads from the store. A panic of the store becomes an error.
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

// timeOf returns the time of a stamp; zero if there is none.
func timeOf(stamp int64) time.Time {
	if stamp == 0 {
		return time.Time{}
	}
	return time.UnixMicro(stamp).UTC()
}
