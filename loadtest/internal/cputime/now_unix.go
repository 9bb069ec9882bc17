//go:build unix

package cputime

import (
	"time"

	"golang.org/x/sys/unix"
)

// Now returns the usage so far.
func Now() Usage {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return Usage{}
	}
	return Usage{Used: time.Duration(r.Utime.Nano() + r.Stime.Nano()), Waited: waited()}
}
