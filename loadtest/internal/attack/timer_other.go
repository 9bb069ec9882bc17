//go:build !linux

package attack

import (
	"context"
	"time"
)

// A timer sleeps with the precision of Go's timers.
type timer struct{}

func newTimer() *timer { return new(timer) }

func (*timer) sleep(ctx context.Context, d time.Duration) { sleepContext(ctx, d) }

func (*timer) close() {}
