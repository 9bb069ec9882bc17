//go:build !linux

package attack

import "time"

// An alarm waits, and is as late as Go's timers are.
type alarm struct{}

func newAlarm() *alarm { return new(alarm) }

func (*alarm) wait(d time.Duration) { <-time.After(d) }

func (*alarm) close() {}
