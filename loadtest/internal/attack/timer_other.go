//go:build !linux

package attack

import "time"

// A timer sleeps with the precision of Go's timers.
type timer struct{}

func newTimer() *timer { return new(timer) }

func (*timer) sleep(d time.Duration) { <-time.After(d) }

func (*timer) close() {}
