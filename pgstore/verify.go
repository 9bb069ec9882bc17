package pgstore

import (
	"context"
	"fmt"
	"math"

	"golang.org/x/sync/errgroup"
)

// batchesPerSpan is the number of batches whose users one statement of the final check of an update reads: about a
// million users by default.
const batchesPerSpan = 40

// updateMissed reads the points of all users after the last batch, and updates the users that no batch has reached:
// their id was changed to one that a batch had passed, or to one outside of the bounds at the start of the update. It
// takes about 5% of the time of the batches. It also detects a trigger that was created during the update and makes
// batches skip users.
func (u *update) updateMissed(ctx context.Context) error {
	checks, checking := errgroup.WithContext(ctx)
	checks.SetLimit(u.cfg.Workers)
	check := func(low, high int64) {
		checks.Go(func() error {
			n, err := u.inPieces(checking, low, high, func(ctx context.Context, low, high int64) (int64, error) {
				return u.updateRest(ctx, low, high, true)
			})
			u.mu.Lock()
			defer u.mu.Unlock()
			u.users += n
			return err
		})
	}
	first, last := u.spans[0], u.ranges.last
	for i, low := range u.spans {
		high := last
		if i+1 < len(u.spans) {
			high = u.spans[i+1] - 1
		}
		check(low, high)
	}
	if first > math.MinInt64 {
		check(math.MinInt64, first-1)
	}
	if last < math.MaxInt64 {
		check(last+1, math.MaxInt64)
	}
	return checks.Wait()
}

// inPieces calls do with the range low..high, and with halves of it if a statement takes longer than statement_timeout
// or conflicts with other sessions. It retries temporary errors. It returns the sum of the results.
func (u *update) inPieces(
	ctx context.Context, low, high int64, do func(ctx context.Context, low, high int64) (int64, error),
) (int64, error) {
	tooLarge := false
	n, err := retry(ctx, u.Store, func(ctx context.Context) (int64, error) {
		var n int64
		err := u.explainTimeout(ctx, func(ctx context.Context) (err error) {
			n, err = do(ctx, low, high)
			return err
		})
		switch code := sqlState(err); {
		case low == high:
		case code == queryCanceled:
			tooLarge = true
			u.shrinkBatches(low, high)
		case code == serializationFailure:
			tooLarge = true
		}
		if tooLarge {
			return 0, nil
		}
		return n, err
	})
	switch {
	case err != nil:
		return 0, fmt.Errorf("ids %d to %d: %w", low, high, err)
	case !tooLarge:
		return n, nil
	}
	middle := low + int64((uint64(high)-uint64(low))/2) //nolint:gosec // half of the distance
	lower, err := u.inPieces(ctx, low, middle, do)
	if err != nil {
		return lower, err
	}
	upper, err := u.inPieces(ctx, middle+1, high, do)
	return lower + upper, err
}

// shrinkBatches makes further batches at most half as large as the range low..high, but not smaller than the first one.
func (u *update) shrinkBatches(low, high int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	half := (uint64(high) - uint64(low)) / 2                           //nolint:gosec // half of the distance
	if least := max(half, firstBatch); least < uint64(u.ranges.size) { //nolint:gosec // positive
		u.ranges.size = int64(least) //nolint:gosec // less than size
	}
}
