package points

import (
	"context"
	"errors"
	"fmt"
)

// What callers may want to tell apart, with errors.Is.
var (
	// ErrOverloaded: Config.MaxWaiting callers wait already. The query was refused at once and changed nothing.
	ErrOverloaded = errors.New("points: overloaded: too many queries wait")

	// ErrQueryTimeout: there was no answer within Config.QueryTimeout. It is a context.DeadlineExceeded too.
	ErrQueryTimeout = fmt.Errorf("points: query timeout: %w", context.DeadlineExceeded)

	// ErrStoreDown: the store does not answer, as the latest reads have shown; the query was refused at once, or was a
	// trial that failed. What the store said is wrapped, too. See Config.TrialTimeout.
	ErrStoreDown = errors.New("points: the store is down")

	// ErrUpdateRunning: an update runs already; updates never queue.
	ErrUpdateRunning = errors.New("points: an update is running")

	// ErrUpdatesSuspended: so many updates failed in a row that the circuit breaker is open; it lets a trial through
	// after UpdaterConfig.Cooldown.
	ErrUpdatesSuspended = errors.New("points: updates are suspended after repeated failures")

	// ErrRunning: Engine.Run was called while it runs.
	ErrRunning = errors.New("points: the engine runs already")
)
