package pgstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// batchesPerSpan is the number of batches whose users one statement of the final check of an update reads: about a
// million users by default.
const batchesPerSpan = 40

// An idRange is the ids low..high.
type idRange struct{ low, high int64 }

// updateStale reads the points of all users after the last batch, and updates the stale users, which no batch has
// reached: their id was changed to one that a batch had passed, or to one outside of the bounds at the start of the
// update. For a million users it takes about 5% of the time of the batches. It also detects a trigger that was created
// during the update and makes batches skip users.
//
// Reads in several snapshots could each miss a user whose id changes. So one snapshot shows whether any user is stale,
// and if so, one statement updates the last ones.
func (u *update) updateStale(ctx context.Context) error {
	ranges, err := u.staleRanges(ctx)
	if err != nil || len(ranges) == 0 {
		return err
	}
	for _, r := range ranges {
		n, err := u.inHalves(ctx, r.low, r.high, func(ctx context.Context, low, high int64) (int64, error) {
			return u.updateStaleRange(ctx, low, high, true)
		})
		u.users += n
		if err != nil {
			return err
		}
	}
	n, err := retry(ctx, u.lease, u.readTimeout(), u.updateMoved)
	u.users += n
	return err
}

// updateMoved updates the users that are stale because their ids changed, wherever their ids move meanwhile: if
// another transaction changes a user, PostgreSQL waits for it and looks at the latest version. A user whose updated_at
// is the time of the update has been updated, perhaps under another id, on which the points depend.
func (u *update) updateMoved(ctx context.Context) (n int64, err error) {
	err = u.withTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) error {
		if err := execSteps(ctx, tx, u.beginBatch()); err != nil {
			return err
		}
		if err := u.table.disableTimeouts(ctx, tx, disableStatementTimeoutsQuery); err != nil {
			return err
		}
		where, args := u.whereStale(math.MinInt64, math.MaxInt64, false)
		tag, err := tx.Exec(ctx, u.table.updateStaleStatement(where), args...)
		if err != nil {
			return err
		}
		n = tag.RowsAffected()
		if err := u.table.checkIdentity(ctx, tx, updateLockMode); err != nil {
			return err
		}
		return execSteps(ctx, tx, u.table.layout.endBatch(u.table))
	})
	return n, err
}

// staleRanges returns the ranges of ids that have stale users, all in one snapshot.
func (u *update) staleRanges(ctx context.Context) ([]idRange, error) {
	return retry(ctx, u.lease, u.readTimeout(), func(ctx context.Context) (ranges []idRange, err error) {
		err = u.withTx(ctx, pgx.RepeatableRead, func(tx pgx.Tx) error {
			if err := rejectStandbyAndRowSecurity(ctx, tx); err != nil {
				return err
			}
			if err := u.table.disableTimeouts(ctx, tx, disableStatementTimeoutsQuery); err != nil {
				return err
			}
			for _, r := range u.allIDs() {
				var found bool
				where, args := u.whereStale(r.low, r.high, true)
				err := tx.QueryRow(ctx, "SELECT count(*) > 0 FROM "+u.table.qualified+where, args...).Scan(&found)
				if err != nil {
					return err
				}
				if found {
					ranges = append(ranges, r)
				}
			}
			return u.table.checkIdentity(ctx, tx, selectLockMode)
		})
		return ranges, err
	})
}

// readTimeout returns the time that reading all users may take: RetryTimeout for each span.
func (u *update) readTimeout() time.Duration {
	spans := len(u.spans)
	return min(u.cfg.RetryTimeout, math.MaxInt64/time.Duration(spans)) * time.Duration(spans)
}

// allIDs returns ranges of all ids, with as many users each as a span has.
func (u *update) allIDs() []idRange {
	var ranges []idRange
	if u.spans[0] > math.MinInt64 {
		ranges = append(ranges, idRange{math.MinInt64, u.spans[0] - 1})
	}
	for i, low := range u.spans {
		high := int64(math.MaxInt64)
		if i+1 < len(u.spans) {
			high = u.spans[i+1] - 1
		}
		ranges = append(ranges, idRange{low, high})
	}
	return ranges
}

// inHalves calls do with the range low..high, and with halves of it if that is too large. It retries temporary errors.
// It returns the sum of the results.
func (u *update) inHalves(
	ctx context.Context, low, high int64, do func(ctx context.Context, low, high int64) (int64, error),
) (int64, error) {
	n, divide, err := retryOrDivide(ctx, u.lease, low < high,
		func(ctx context.Context) (int64, error) { return do(ctx, low, high) })
	switch {
	case err == nil:
		return n, nil
	case !divide:
		if _, waited := errors.AsType[*waitError](err); pgconn.Timeout(err) && ctx.Err() == nil && !waited {
			err = fmt.Errorf("%w: no answer within Config.RetryTimeout (%v): raise it or lower Config.BatchSize if batches "+
				"take so long", err, u.cfg.RetryTimeout)
		}
		return 0, fmt.Errorf("ids %d to %d: %w", low, high, err)
	case sqlState(err) != serializationFailure:
		u.shrinkBatches(low, high)
	}
	middle := low + int64((uint64(high)-uint64(low))/2) //nolint:gosec // half of the distance
	lower, err := u.inHalves(ctx, low, middle, do)
	if err != nil {
		return lower, err
	}
	upper, err := u.inHalves(ctx, middle+1, high, do)
	return lower + upper, err
}

// shrinkBatches makes further batches at most half as large as the range low..high.
func (u *update) shrinkBatches(low, high int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ranges.shrink((uint64(high) - uint64(low)) / 2) //nolint:gosec // half of the distance
}
