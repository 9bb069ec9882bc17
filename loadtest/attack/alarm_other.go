//go:build !linux

package attack

import "time"

// An alarm waits, and is as late as the system's sleep is.
type alarm struct{}

func newAlarm() *alarm { return new(alarm) }

func (*alarm) wait(d time.Duration) { time.Sleep(d) }

func (*alarm) close() {}
