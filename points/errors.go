package points

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// Errors to test for with errors.Is.
var (
	// ErrOverloaded: Config.MaxWaiting queries are waiting. The query was rejected at once and changed nothing.
	ErrOverloaded = errors.New("points: overloaded: Config.MaxWaiting queries are waiting")

	// ErrQueryTimeout: there was no result within Config.QueryTimeout. It wraps context.DeadlineExceeded.
	ErrQueryTimeout = fmt.Errorf("points: no result within Config.QueryTimeout: %w", context.DeadlineExceeded)

	// ErrStoreDown: the store is down. The query was rejected at once, or was a probe that failed. The error of the
	// latest read is wrapped, too. See Config.ProbeTimeout.
	ErrStoreDown = errors.New("points: the store is down")

	// ErrUpdateRunning: another update is running. Updates never queue.
	ErrUpdateRunning = errors.New("points: an update is running")

	// ErrBreakerOpen: the circuit breaker rejects updates after repeated failures. See UpdaterConfig.Cooldown.
	ErrBreakerOpen = errors.New("points: update rejected: the circuit breaker is open after repeated failures")

	// ErrInvalidInterval: Engine.SetInterval was called with less than 1 ms.
	ErrInvalidInterval = fmt.Errorf("points: the interval must be at least %v", minInterval)

	// ErrRunning: Engine.Run was called while it is running.
	ErrRunning = errors.New("points: the engine is already running")

	// ErrStopTimeout: Engine.Run has ended, but a running update did not stop within Config.StopTimeout.
	ErrStopTimeout = errors.New("points: an update did not stop within Config.StopTimeout")
)

// recoverPanic turns a panic of the store into an error. It must be deferred itself. doing is for the error, such as
// "reading users".
func recoverPanic(ctx context.Context, logger *slog.Logger, doing string, err *error) {
	if p := recover(); p != nil {
		logger.ErrorContext(ctx, "the store panicked", "panic", p, "stack", string(debug.Stack()))
		*err = fmt.Errorf("points: %s: the store panicked: %v", doing, p)
	}
}
