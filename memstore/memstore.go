package memstore

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// maxUsers is more than fits into memory, and few enough for make not to panic, on 32-bit machines too.
const maxUsers = min(math.MaxInt32, math.MaxInt/16)

// A Store keeps users in memory. It is safe for concurrent use. Create one with [New] or [FromIDs]: the zero value is
// not usable.
type Store struct {
	ids        []int64   // ascending
	insertedAt time.Time // of every user

	updating sync.Mutex // held by the running update
	current  atomic.Pointer[version]
}

var _ points.Store = (*Store)(nil)

// New returns a store of n users with ids 1..n and 0 points each. n must be in 0..2,147,483,647, or in 0..134,217,727
// on 32-bit machines.
func New(n int) (*Store, error) { return NewContext(context.Background(), n) }

// NewContext is [New] for many users, which takes some seconds per 1,000,000,000 users: it fails with ctx's error when
// ctx ends, and reports its progress ([points.WithProgress]).
func NewContext(ctx context.Context, n int) (*Store, error) {
	const step = 1 << 22 // users between two checks of ctx: some 10 ms
	if n < 0 || n > maxUsers {
		return nil, fmt.Errorf("memstore: the number of users must be in 0..%d, got %d", maxUsers, n)
	}
	ids := make([]int64, n)
	for first := 0; first < n; first += step {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("memstore: creating %d users: %w", n, err)
		}
		if first > 0 {
			points.ReportProgress(ctx, int64(first), int64(n))
		}
		for i := first; i < min(first+step, n); i++ {
			ids[i] = int64(i) + 1
		}
	}
	points.ReportProgress(ctx, int64(n), int64(n))
	return newStore(ids), nil
}

// Memory returns the number of bytes that n users occupy while an update runs.
func Memory(n int64) int64 {
	const id, versions = 8, 2 // a version has a byte of points
	return n * (id + versions)
}

// FromIDs returns a store of users with these ids, in any order, and 0 points each. It does not keep the slice. A
// duplicate id is an error.
func FromIDs(ids []int64) (*Store, error) {
	ids = slices.Sorted(slices.Values(ids))
	for i := 1; i < len(ids); i++ {
		if ids[i] == ids[i-1] {
			return nil, fmt.Errorf("memstore: ids must be unique, got %d twice", ids[i])
		}
	}
	return newStore(ids), nil
}

func newStore(ids []int64) *Store {
	v := newVersion(len(ids))
	v.updatedAt = nowAfter(time.Time{})
	s := &Store{ids: ids, insertedAt: v.updatedAt}
	s.current.Store(v)
	return s
}

// Len returns the number of users.
func (s *Store) Len() int { return len(s.ids) }

// Capabilities implements [points.Store]: reads are immediate.
func (s *Store) Capabilities() points.Capabilities { return points.Capabilities{ImmediateReads: true} }

// UsersAbove implements [points.Store]. The users are in order of their ids. It takes no lock and allocates only its
// result. It checks ctx once, at the beginning.
func (s *Store) UsersAbove(ctx context.Context, min, limit int) ([]points.User, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("memstore: reading users: %w", err)
	}
	v := s.current.Load()
	users := make([]points.User, v.count(min, limit))
	at := -1
	for i := range users {
		at = v.next(at+1, min)
		users[i] = points.User{
			ID: s.ids[at], Points: int(v.points[at]), InsertedAt: s.insertedAt, UpdatedAt: v.updatedAt,
		}
	}
	return users, nil
}

// UpdateAll implements [points.Store]. All users change at one moment, which is their UpdatedAt. If ctx ends first, it
// fails within some microseconds and no user has changed. While another update is running, it fails at once with an
// error that wraps [points.ErrUpdateRunning].
func (s *Store) UpdateAll(ctx context.Context, key uint64) (int64, error) {
	if !s.updating.TryLock() {
		return 0, fmt.Errorf("memstore: updating all users: %w", points.ErrUpdateRunning)
	}
	defer s.updating.Unlock()

	v, err := newUpdate(ctx, s.ids, key)
	if err != nil {
		return 0, fmt.Errorf("memstore: updating all users: %w", err)
	}
	v.updatedAt = nowAfter(s.current.Load().updatedAt)
	s.current.Store(v)
	users := int64(len(s.ids))
	points.ReportProgress(ctx, users, users)
	return users, nil
}

// nowAfter returns the time in microseconds, but at least a microsecond after previous, even if the clock was set back.
func nowAfter(previous time.Time) time.Time {
	now := time.Now().UTC().Truncate(time.Microsecond)
	if !now.After(previous) {
		return previous.Add(time.Microsecond)
	}
	return now
}
