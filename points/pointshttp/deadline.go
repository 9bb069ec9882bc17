package pointshttp

import (
	"errors"
	"os"
	"sync"
	"time"
)

// A lazyDeadline is a connection's deadline of reads or writes. net/http sets five deadlines for each request, nearly
// all of them later than the one before, and each one moves a timer of the runtime. A lazyDeadline only notes a later
// deadline, and sets it when the earlier one has passed: once in some seconds, instead of five times for each request.
type lazyDeadline struct {
	apply func(time.Time) error // sets the deadline of the connection

	mu      sync.Mutex
	wanted  time.Time // zero means none
	applied time.Time // wanted, or earlier
	exact   bool      // applied is wanted from now on
}

// set sets the deadline.
func (d *lazyDeadline) set(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = t
	if !d.exact && !d.applied.IsZero() && (t.IsZero() || t.After(d.applied)) {
		return nil
	}
	return d.applyWanted()
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

func (d *lazyDeadline) applyWanted() error {
	d.applied = d.wanted
	return d.apply(d.wanted)
}
