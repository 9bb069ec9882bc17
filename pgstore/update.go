package pgstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"github.com/pointsapp/pointsapp/points"
)

// Capabilities implements [points.Store]: there are none.
func (s *Store) Capabilities() points.Capabilities { return points.Capabilities{} }

// UpdateAll implements [points.Store]. It updates in batches by id range, each of them a short transaction of its
// own, so reads see what has been committed so far; after each it reports its progress ([points.WithProgress]), with
// the table's statistics for an estimate of the total. A batch that fails for a passing reason is repeated, with the
// same key and so the same points. Once ctx has ended no batch begins, and those under way are cancelled.
//
// While another UpdateAll of the table runs, in this process or in another, it fails with an error that wraps
// [points.ErrUpdateRunning].
func (s *Store) UpdateAll(ctx context.Context, key uint64) (int64, error) {
	users, err := s.updateAlone(ctx, key)
	if err != nil {
		return users, fmt.Errorf("pgstore: updating table %s: %w", s.name, err)
	}
	return users, nil
}

func (s *Store) updateAlone(ctx context.Context, key uint64) (users int64, err error) {
	if !s.updating.TryLock() {
		return 0, points.ErrUpdateRunning
	}
	defer s.updating.Unlock()
	err = s.locked(ctx, updateLock, func(l *lease) error {
		users, err = l.updateInBatches(ctx, key)
		return err
	})
	if errors.Is(err, errLocked) {
		err = fmt.Errorf("%w: %w", points.ErrUpdateRunning, err)
	}
	return users, err
}

func (l *lease) updateInBatches(ctx context.Context, key uint64) (int64, error) {
	finding, cancel := context.WithTimeout(ctx, l.cfg.RetryTimeout)
	defer cancel()
	first, last, estimate, ok, err := l.extent(finding)
	if err != nil || !ok {
		return 0, err
	}
	u := &update{
		lease:  l,
		key:    int64(key), //nolint:gosec // the same bits
		at:     time.Now().UTC().Truncate(time.Microsecond),
		total:  estimate,
		ranges: ranges{next: first, last: last, size: int64(l.cfg.BatchSize), step: firstBatch},
	}
	workers, working := errgroup.WithContext(ctx)
	for range l.cfg.Workers {
		workers.Go(func() error { return u.work(working) })
	}
	if err = workers.Wait(); err == nil {
		points.ReportProgress(ctx, u.users, u.users)
	}
	return u.users, err
}

// extent returns the lowest and the highest id, and how many users PostgreSQL believes there are; ok is false if there
// is none.
func (s *Store) extent(ctx context.Context) (first, last, estimate int64, ok bool, err error) {
	var low, high *int64
	err = s.pool.QueryRow(ctx, "SELECT min(id), max(id),"+
		" (SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass($1)) FROM "+s.table, s.table).
		Scan(&low, &high, &estimate)
	if err != nil || low == nil {
		return 0, 0, 0, false, err
	}
	return *low, *high, estimate, true, nil
}

// firstBatch is how many ids the first range of an update has. After a first update's first commit, within some
// milliseconds, reads find users at the table's head; until then they look at what is not committed, in vain.
const firstBatch = 1_000

// An update is one run of UpdateAll.
type update struct {
	*lease
	key   int64
	at    time.Time // the same for all users, and by this process's clock, as an engine's stamps are
	total int64     // users, as an estimate

	mu     sync.Mutex
	users  int64 // that have been updated
	ranges ranges
}

// work updates range after range, until there is none left.
func (u *update) work(ctx context.Context) error {
	for {
		low, high, ok, err := u.take(ctx)
		if err != nil || !ok {
			return err
		}
		n, err := retry(ctx, u.Store, func(ctx context.Context) (int64, error) { return u.updateRange(ctx, low, high) })
		if err != nil {
			return fmt.Errorf("ids %d to %d: %w", low, high, err)
		}
		u.done(ctx, low, high, n)
		if err := u.rest(ctx); err != nil {
			return err
		}
	}
}

func (u *update) updateRange(ctx context.Context, low, high int64) (int64, error) {
	return u.exec(ctx, "UPDATE "+u.table+
		" SET points = (hashint8extended(id::bigint, $1) & 9223372036854775807) % 101, updated_at = $2"+
		" WHERE id >= $3 AND id <= $4", u.key, u.at, low, high)
}

// done notes that the range low..high has been updated, with n users in it.
func (u *update) done(ctx context.Context, low, high, n int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.users += n
	u.ranges.held(low, high, n)
	points.ReportProgress(ctx, u.users, max(u.users, u.total))
}

func (u *update) rest(ctx context.Context) error {
	if u.cfg.Pause == 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(u.cfg.Pause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take returns the next range; ok is false if there is none left.
func (u *update) take(ctx context.Context) (low, high int64, ok bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ranges.done {
		return 0, 0, false, nil
	}
	if !u.ranges.sparse {
		low, high = u.ranges.takeDense()
		return low, high, true, nil
	}
	// The id of the first user after the next batch, counted along the index.
	after, err := retry(ctx, u.Store, func(ctx context.Context) (after *int64, err error) {
		err = u.pool.QueryRow(ctx, "SELECT min(id) FROM (SELECT id FROM "+u.table+
			" WHERE id >= $1 ORDER BY id OFFSET $2 LIMIT 1) AS next", u.ranges.next, u.ranges.size).Scan(&after)
		return after, err
	})
	if err != nil {
		return 0, 0, false, err
	}
	low, high = u.ranges.takeUpTo(after)
	return low, high, true, nil
}

// Ranges divides the ids next..last into ranges that hold at most size users each. While ids are dense, a range is as
// many ids; where they are sparse, it ends where the index says, which jumps over gaps of any width. The first ranges
// are smaller.
type ranges struct {
	next, last int64
	size       int64
	step       int64 // how many ids the next dense range has; it doubles, up to size
	sparse     bool
	done       bool
}

// takeDense takes the next step ids.
func (r *ranges) takeDense() (low, high int64) {
	low, high = r.next, r.last
	width := min(r.step, r.size)
	r.step = 2 * width
	if uint64(r.last)-uint64(r.next) >= uint64(width) { //nolint:gosec // the distance, which may be above MaxInt64
		high = low + width - 1
	}
	r.advance(high)
	return low, high
}

// takeUpTo takes the ids before after, or all that are left if it is nil.
func (r *ranges) takeUpTo(after *int64) (low, high int64) {
	low, high = r.next, r.last
	if after != nil && *after <= r.last {
		high = *after - 1
	}
	r.sparse = uint64(high)-uint64(low) >= 2*uint64(r.size) //nolint:gosec // the distance
	r.advance(high)
	return low, high
}

func (r *ranges) advance(high int64) {
	if high == r.last || high == math.MaxInt64 {
		r.done = true
		return
	}
	r.next = high + 1
}

// held notes that the range low..high held n users.
func (r *ranges) held(low, high, n int64) {
	distance := uint64(high) - uint64(low)                    //nolint:gosec // it may be above MaxInt64
	if distance < uint64(r.size) && 2*uint64(n) <= distance { //nolint:gosec // neither is negative
		r.sparse = true
	}
}

// retry repeats what fails for a passing reason, for RetryTimeout at most. No attempt takes longer than that: one may
// be on a connection whose other end has vanished.
func retry[T any](ctx context.Context, s *Store, do func(context.Context) (T, error)) (T, error) {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval = 20 * time.Millisecond
	wait.MaxInterval = time.Second
	return backoff.Retry(ctx, func() (T, error) {
		attempt, cancel := context.WithTimeout(ctx, s.cfg.RetryTimeout)
		defer cancel()
		result, err := do(attempt)
		if err != nil && (ctx.Err() != nil || !passing(err)) {
			return result, backoff.Permanent(err)
		}
		return result, err
	}, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(s.cfg.RetryTimeout),
		backoff.WithNotify(func(err error, in time.Duration) {
			s.cfg.Logger.WarnContext(ctx, "the update is repeating a batch", "table", s.name, "error", err, "in", in)
		}))
}

// passing reports whether what failed with err may succeed if it is done again.
func passing(err error) bool {
	if errors.Is(err, errLost) {
		return false
	}
	code := codeOf(err)
	if code == "" {
		return true // the connection was lost, or there was none
	}
	switch code[:2] {
	case "08", // connection exception
		"40", // transaction rollback: serialization failure, deadlock
		"53", // insufficient resources: too many connections, disk full, out of memory
		"57": // operator intervention: shutdown, crash, cannot connect now, statement timeout
		return true
	}
	return code == lockNotAvailable
}

// What PostgreSQL calls some of its errors.
const (
	divisionByZero   = "22012"
	lockNotAvailable = "55P03"
)

// codeOf returns PostgreSQL's code of an error; it is empty if PostgreSQL did not send it.
func codeOf(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}
