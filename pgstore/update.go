package pgstore

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pointsapp/pointsapp/points"
)

// UpdateAll implements [points.Store]. It updates in batches by id range, each in a short transaction of its own, so
// reads see the batches committed so far. After each batch it reports progress ([points.WithProgress]), with the
// table's statistics as an estimate of the total. It retries a batch that fails with a temporary error for
// RetryTimeout, with the same key and therefore the same points. When ctx ends, no further batch begins, and running
// ones are cancelled.
//
// Only one update of a table runs at a time, across all processes: another UpdateAll fails with an error that wraps
// [points.ErrUpdateRunning].
//
// It fails if a trigger, a rule or row-level security makes it skip users, or if the table is renamed or replaced
// during the update. At the end it looks at the points of all users: users that were inserted during the update, or
// whose id changed, get their points then. So points that another session writes during an update may be overwritten.
// The result counts updates of users: a user counts twice if it is updated, then gets another id, and is updated again
// under that one.
func (s *Store) UpdateAll(ctx context.Context, key uint64) (int64, error) {
	users, err := s.updateExclusively(ctx, key)
	if err != nil {
		return users, fmt.Errorf("pgstore: updating table %s: %w", s.name, withRemedy(err))
	}
	return users, nil
}

func (s *Store) updateExclusively(ctx context.Context, key uint64) (users int64, err error) {
	if !s.updating.TryLock() {
		return 0, points.ErrUpdateRunning
	}
	defer s.updating.Unlock()
	lookUpCtx, cancel := context.WithTimeout(ctx, s.cfg.RetryTimeout)
	defer cancel()
	t, err := s.currentTable(lookUpCtx)
	if err != nil {
		return 0, err
	}
	err = s.withLease(ctx, t, func(ctx context.Context, l *lease) error {
		users, err = l.updateInBatches(ctx, key)
		return err
	})
	if errors.Is(err, errLocked) {
		err = fmt.Errorf("%w: %w", points.ErrUpdateRunning, err)
	}
	return users, s.forgetIfGone(t, err)
}

func (l *lease) updateInBatches(ctx context.Context, key uint64) (int64, error) {
	b, err := retry(ctx, l, l.cfg.RetryTimeout, l.idBounds)
	if err != nil || b.first == nil {
		return 0, err
	}
	u := &update{
		lease:  l,
		key:    int64(key), //nolint:gosec // the same bits
		total:  b.estimate,
		verify: b.hasTriggers,
		ranges: ranges{next: *b.first, last: *b.last, size: int64(l.cfg.BatchSize), step: firstBatch},
	}
	workers, workCtx := errgroup.WithContext(ctx)
	for range l.cfg.Workers {
		workers.Go(func() (err error) {
			defer func() {
				if value := recover(); value != nil {
					err = &panicError{value, debug.Stack()}
				}
			}()
			return u.updateRanges(workCtx)
		})
	}
	err = workers.Wait()
	if p, ok := errors.AsType[*panicError](err); ok {
		panic(p.Error()) // the caller of UpdateAll can recover it
	}
	if err == nil {
		err = u.updateStale(ctx)
	}
	if err == nil {
		points.ReportProgress(ctx, u.users, u.users)
	}
	return u.users, err
}

// A panicError is a panic of a worker, such as that of the function that progress is reported to.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("%v\n\n%s", p.value, p.stack) }

// bounds are what an update needs to know of the table before its first batch.
type bounds struct {
	first, last *int64 // lowest and highest id, nil if there are no users
	estimate    int64  // number of users, by PostgreSQL's statistics
	hasTriggers bool   // or rules, which may make updates skip users
}

func (l *lease) idBounds(ctx context.Context) (b bounds, err error) {
	t := l.table
	err = l.withTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) error {
		if err := rejectStandbyAndRowSecurity(ctx, tx); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, "SELECT min(id)::bigint, max(id)::bigint FROM "+t.qualified).Scan(&b.first, &b.last)
		if err != nil {
			return err
		}
		if err := t.checkIdentity(ctx, tx, selectLockMode); err != nil || b.first == nil {
			return err
		}
		err = tx.QueryRow(ctx, "SELECT EXISTS ("+updateTriggers+" UNION ALL "+updateRules+")", int64(t.oid)).
			Scan(&b.hasTriggers)
		if err != nil {
			return err
		}
		b.estimate, err = t.layout.estimate(ctx, tx, t)
		return err
	})
	return b, err
}

// firstBatch is the number of ids in the first range of an update. It is small because of the table's very first
// update: reads scan the whole table until that range is committed, so it must be committed within milliseconds.
const firstBatch = 1_000

// An update is one run of UpdateAll.
type update struct {
	*lease
	key    int64
	total  int64 // estimated number of users
	verify bool  // look at the points after each batch, because triggers or rules may make it skip users

	mu     sync.Mutex
	users  int64 // updated so far
	ranges ranges
	batch  int     // number of the next batch
	spans  []int64 // the first id of each span of batchesPerSpan batches
}

// updateRanges updates ranges until none is left.
func (u *update) updateRanges(ctx context.Context) error {
	for {
		low, high, ok, err := u.nextBatch(ctx)
		if err != nil || !ok {
			return err
		}
		n, err := u.inHalves(ctx, low, high, u.updateRange)
		if err != nil {
			return err
		}
		u.finishBatch(ctx, low, high, n)
		if err := u.delay(ctx); err != nil {
			return err
		}
	}
}

// nextBatch returns the next range; ok is false if none is left.
func (u *update) nextBatch(ctx context.Context) (low, high int64, ok bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ranges.done {
		return 0, 0, false, nil
	}
	if u.batch%batchesPerSpan == 0 {
		u.spans = append(u.spans, u.ranges.next)
	}
	u.batch++
	if !u.ranges.sparse {
		low, high = u.ranges.nextDense()
		return low, high, true, nil
	}
	end, err := u.batchEnd(ctx)
	if err != nil {
		return 0, 0, false, err
	}
	low, high = u.ranges.nextBefore(end)
	return low, high, true, nil
}

// batchEnd returns the id of the first user after the next batch, counted along the index, or nil if there is none. It
// makes batches smaller if that takes too long.
func (u *update) batchEnd(ctx context.Context) (*int64, error) {
	for {
		end, divide, err := retryOrDivide(ctx, u.lease, u.ranges.size > firstBatch, u.countBatch)
		if !divide {
			return end, err
		}
		u.ranges.shrink(uint64(u.ranges.size / 2)) //nolint:gosec // positive
	}
}

func (u *update) countBatch(ctx context.Context) (end *int64, err error) {
	err = u.withTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) error {
		if err := rejectStandbyAndRowSecurity(ctx, tx); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT min(id)::bigint FROM (SELECT id FROM "+u.table.qualified+
			" WHERE id >= CAST($1 AS bigint) ORDER BY id OFFSET $2::bigint LIMIT 1) AS next",
			u.ranges.next, u.ranges.size).Scan(&end)
	})
	return end, err
}

// finishBatch records that the range low..high, with n users, has been updated.
func (u *update) finishBatch(ctx context.Context, low, high, n int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.users += n
	u.ranges.recordDensity(low, high, n)
	points.ReportProgress(ctx, u.users, max(u.users, u.total))
}

// delay waits for Config.BatchDelay, or until ctx ends.
func (u *update) delay(ctx context.Context) error {
	if u.cfg.BatchDelay == 0 {
		return ctx.Err()
	}
	return sleep(ctx, u.cfg.BatchDelay)
}
