//go:build unix || windows

package cputime

import (
	"runtime"
	"testing"
	"time"
)

// TestNow works until the CPU time that it needs is visible.
func TestNow(*testing.T) {
	before := Now()
	for Now().Used-before.Used < time.Millisecond { // each call uses some
		runtime.Gosched()
	}
}
