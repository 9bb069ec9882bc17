package pointshttp

import (
	"errors"
	"os"
	"sync"
	"time"
)

// A lazyDeadline is a connection's deadline of reads or writes. net/http sets five to seven deadlines for each request,
// and each one moves a timer of the runtime. Nearly all of them are later than the one before, or are replaced before
// the next read or write. A lazyDeadline applies a later one only when the earlier one has passed, and an earlier one
// only when a read or write needs it: once in some seconds, instead of several times for each request.
type lazyDeadline struct {
	apply func(time.Time) error // sets the deadline of the connection

	mu      sync.Mutex
	wanted  time.Time // zero means none
	applied time.Time // wanted, or earlier during a read or write
	running int       // reads or writes
	exact   bool      // applied is wanted from now on
}

// begin must be called before a read or write, and end after it.
func (d *lazyDeadline) begin() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running++
	return d.applyIfEarlier()
}

func (d *lazyDeadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running--
}

// set sets the deadline.
func (d *lazyDeadline) set(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = t
	switch {
	case d.exact:
		return d.applyWanted()
	case d.running > 0:
		return d.applyIfEarlier()
	}
	return nil
}

// extend applies the deadline if a read or write has failed with err at an earlier one. It reports whether it did: then
// the read or write must be repeated.
func (d *lazyDeadline) extend(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.applied.Equal(d.wanted) && d.applyWanted() == nil
}

// makeExact applies this deadline and all later ones at once, for reads and writes that cannot be repeated.
func (d *lazyDeadline) makeExact() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.exact = true
	return d.applyWanted()
}

func (d *lazyDeadline) applyIfEarlier() error {
	if d.wanted.IsZero() || !d.applied.IsZero() && !d.wanted.Before(d.applied) {
		return nil
	}
	return d.applyWanted()
}

func (d *lazyDeadline) applyWanted() error {
	d.applied = d.wanted
	return d.apply(d.wanted)
}
