package pgstore

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// retry calls do until it succeeds, fails with a permanent error, or RetryTimeout has passed. No attempt takes longer
// than RetryTimeout either: the other end of its connection may have vanished.
func retry[T any](ctx context.Context, s *Store, do func(context.Context) (T, error)) (T, error) {
	return retryFor(ctx, s, s.cfg.RetryTimeout, do)
}

// retryFor is retry with another timeout.
func retryFor[T any](
	ctx context.Context, s *Store, timeout time.Duration, do func(context.Context) (T, error),
) (T, error) {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval = 20 * time.Millisecond
	wait.MaxInterval = time.Second
	return backoff.Retry(ctx, func() (T, error) {
		attempt, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		result, err := do(attempt)
		if err != nil && (ctx.Err() != nil || !isRetryable(err)) {
			return result, backoff.Permanent(err)
		}
		return result, err
	}, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(timeout),
		backoff.WithNotify(func(err error, in time.Duration) {
			s.cfg.Logger.WarnContext(ctx, "retrying a batch of the update", "table", s.name, "error", err, "in", in)
		}))
}

// isRetryable reports whether an operation that failed with err may succeed when it is repeated.
func isRetryable(err error) bool {
	for _, permanent := range []error{errLost, errReplaced, errSkipped} {
		if errors.Is(err, permanent) {
			return false
		}
	}
	code := sqlState(err)
	if code == "" {
		return true // the connection was lost, or there was none, or it was to a standby (ErrReadOnly)
	}
	switch code[:2] {
	case "08", // connection exception
		"40", // transaction rollback: serialization failure, deadlock
		"53", // insufficient resources: too many connections, disk full, out of memory
		"57": // operator intervention: shutdown, crash, cannot connect now, statement timeout
		return true
	}
	return code == lockNotAvailable || code == internalError // which is how Citus reports some lost workers
}

// sleep waits for the duration, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
