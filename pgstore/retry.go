package pgstore

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// retry calls do until it succeeds, fails with a permanent error, or RetryTimeout has passed. No attempt takes longer
// than RetryTimeout either: the other end of its connection may have vanished. If do waited for another session, the
// error names it.
func retry[T any](ctx context.Context, l *lease, do func(context.Context) (T, error)) (T, error) {
	return retryFor(ctx, l, l.cfg.RetryTimeout, isRetryable, do)
}

// retryFor is retry with another timeout, and another condition for a new attempt.
func retryFor[T any](
	ctx context.Context, l *lease, timeout time.Duration, isRetryable func(error) bool,
	do func(context.Context) (T, error),
) (T, error) {
	waits, stop := l.watchTable(ctx)
	defer stop()
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval = 20 * time.Millisecond
	wait.MaxInterval = time.Second
	result, err := backoff.Retry(ctx, func() (T, error) {
		attempt, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		waits.startAttempt()
		result, err := do(attempt)
		err = waits.explain(err, true)
		if err != nil && (ctx.Err() != nil || !isRetryable(err)) {
			return result, backoff.Permanent(err)
		}
		return result, err
	}, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(timeout),
		backoff.WithNotify(func(err error, in time.Duration) {
			l.cfg.Logger.WarnContext(ctx, "retrying a step of the update", "table", l.name, "error", err, "in", in)
		}))
	return result, waits.explain(err, false)
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
	switch code {
	case lockNotAvailable, transactionTimeout, internalError: // which is how Citus reports some lost workers
		return true
	}
	return false
}

// isTooLarge reports whether a batch that failed with err may succeed if it is smaller: a statement took longer than
// statement_timeout, but not because it waited for a lock, or it conflicted with other sessions.
func isTooLarge(err error) bool {
	switch sqlState(err) {
	case queryCanceled, transactionTimeout:
		_, waited := errors.AsType[*waitError](err)
		return !waited
	case serializationFailure:
		return true
	}
	return false
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
