package points

import (
	"context"
	"time"
)

// A caller is a query that waits for its answer.
type caller struct {
	ctx      context.Context //nolint:containedctx // for Hooks.BatchStart; nil if there is none
	answered chan struct{}   // gets one value once result or err is set
	arrived  time.Time
	result   Result
	err      error

	line       *line // nil once it has left: it is answered, or gave up
	prev, next *caller
}

// A line holds callers in the order in which they came. Any of them may leave it.
type line struct {
	first, last *caller
	length      int
}

func (l *line) join(c *caller) {
	c.line, c.prev, c.next = l, l.last, nil
	if l.last == nil {
		l.first = c
	} else {
		l.last.next = c
	}
	l.last = c
	l.length++
}

func (l *line) leave(c *caller) {
	if c.prev == nil {
		l.first = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		l.last = c.prev
	} else {
		c.next.prev = c.prev
	}
	c.line, c.prev, c.next = nil, nil, nil
	l.length--
}

// end empties the line: all have left it, with this error. It returns the first of them, who leads to the others.
func (l *line) end(err error) (first *caller) {
	first = l.first
	for c := first; c != nil; c = c.next {
		c.line, c.err = nil, err
	}
	*l = line{}
	return first
}
