package pgstore

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// retry calls do until it succeeds, fails with a permanent error, or the timeout has passed. No attempt takes longer
// than the timeout either: the other end of its connection may have vanished. If do waited for another session, the
// error names it.
func retry[T any](
	ctx context.Context, l *lease, timeout time.Duration, do func(context.Context) (T, error),
) (T, error) {
	return retryIf(ctx, l, timeout, isRetryable, do)
}

// retryOrDivide is retry with RetryTimeout, for an operation on ids that can perhaps be divided. If it can, and fails
// because it is too large, it is not retried, and divide is true: the caller should repeat it with fewer ids.
func retryOrDivide[T any](
	ctx context.Context, l *lease, divisible bool, do func(context.Context) (T, error),
) (result T, divide bool, err error) {
	tooLarge := func(err error) bool { return divisible && isTooLarge(err) }
	result, err = retryIf(ctx, l, l.cfg.RetryTimeout,
		func(err error) bool { return isRetryable(err) && !tooLarge(err) }, do)
	return result, ctx.Err() == nil && tooLarge(err), err
}

// retryIf is retry for the errors that retryable accepts.
func retryIf[T any](
	ctx context.Context, l *lease, timeout time.Duration, retryable func(error) bool,
	do func(context.Context) (T, error),
) (T, error) {
	waits, stop := l.watchTable(ctx)
	defer stop()
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval = 20 * time.Millisecond
	wait.MaxInterval = time.Second
	result, err := backoff.Retry(ctx, func() (T, error) {
		attemptCtx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		waits.startAttempt()
		result, err := do(attemptCtx)
		err = waits.explain(err, true)
		if err != nil && (ctx.Err() != nil || !retryable(err)) {
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
	for _, permanent := range []error{errLeaseLost, errReplaced, errSkipped} {
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
	case lockNotAvailable, idleInTransactionTimeout, transactionTimeout,
		internalError: // which is how Citus reports some lost workers
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
