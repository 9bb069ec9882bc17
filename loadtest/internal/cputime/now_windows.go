package cputime

import (
	"time"

	"golang.org/x/sys/windows"
)

// Now returns the usage so far.
func Now() Usage {
	var created, exited, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(windows.CurrentProcess(), &created, &exited, &kernel, &user); err != nil {
		return Usage{}
	}
	return Usage{Used: duration(kernel) + duration(user)}
}

// duration returns a duration that Windows gives as a number of 100 ns.
func duration(t windows.Filetime) time.Duration {
	return time.Duration(uint64(t.HighDateTime)<<32|uint64(t.LowDateTime)) * 100 //nolint:gosec // less than 292 years
}
