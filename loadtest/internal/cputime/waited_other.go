//go:build unix && !linux

package cputime

import "time"

// waited returns 0: the time on a run queue is not measured on this system.
func waited() time.Duration { return 0 }
