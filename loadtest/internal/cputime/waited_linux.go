package cputime

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// waited returns the sum over all threads of the second field of their schedstat: nanoseconds on a run queue. It
// returns 0 if the kernel does not report it.
func waited() (sum time.Duration) {
	files, err := filepath.Glob("/proc/self/task/*/schedstat")
	if err != nil {
		return 0
	}
	for _, file := range files {
		content, err := os.ReadFile(file) //nolint:gosec // a thread of this process
		if err != nil {
			continue // the thread has ended
		}
		var running, waiting int64
		if _, err := fmt.Sscan(string(content), &running, &waiting); err == nil {
			sum += time.Duration(waiting)
		}
	}
	return sum
}
