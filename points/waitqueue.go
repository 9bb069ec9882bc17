package points

import (
	"context"
	"time"
)

// A waiter is a query that waits for its result.
type waiter struct {
	ctx     context.Context //nolint:containedctx // for Hooks.BatchStart; nil if there is none
	done    chan struct{}   // receives one value once result or err is set
	arrived time.Time
	result  Result
	err     error

	queue      *waitQueue // nil once the waiter has its result or has given up
	prev, next *waiter
}

// A waitQueue is a doubly linked list of waiters in order of arrival: any of them can be removed in constant time.
type waitQueue struct {
	first, last *waiter
	length      int
}

func (q *waitQueue) push(w *waiter) {
	w.queue, w.prev, w.next = q, q.last, nil
	if q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
	q.length++
}

func (q *waitQueue) remove(w *waiter) {
	if w.prev == nil {
		q.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.queue, w.prev, w.next = nil, nil, nil
	q.length--
}

// drain removes all waiters and sets their error. It returns the first; next still links them, for wake.
func (q *waitQueue) drain(err error) (first *waiter) {
	first = q.first
	for w := first; w != nil; w = w.next {
		w.queue, w.err = nil, err
	}
	*q = waitQueue{}
	return first
}

// wake wakes the waiters of a drained queue.
func wake(first *waiter) {
	for w := first; w != nil; {
		next := w.next // before w wakes and is reused
		w.done <- struct{}{}
		w = next
	}
}
