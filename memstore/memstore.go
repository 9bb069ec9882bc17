package memstore

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// blockSize is the number of users whose maximum is noted together. A read for which one user in the store qualifies
// looks at this many points, and at one maximum for each block.
const blockSize = 4096

// A Store keeps users in memory. It is safe for concurrent use.
type Store struct {
	ids        []int64
	insertedAt time.Time

	updating sync.Mutex // held by the update that runs
	current  atomic.Pointer[version]
}

var _ points.Immediate = (*Store)(nil)

// A version is what an update leaves. It never changes.
type version struct {
	points    []uint8 // of the user with the id at the same index
	tops      []uint8 // the most points in each block
	top       uint8   // the most points of all
	updatedAt time.Time
}

// New returns a store of n users with 0 points, whose ids are 1..n. A negative n is an error.
func New(n int) (*Store, error) {
	if n < 0 {
		return nil, fmt.Errorf("memstore: the number of users cannot be negative: %d", n)
	}
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = int64(i) + 1
	}
	return newStore(ids), nil
}

// FromIDs returns a store of one user with 0 points for each of ids, which may be in any order. An id that comes twice is
// an error.
func FromIDs(ids []int64) (*Store, error) {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	for i := range ids[min(1, len(ids)):] {
		if ids[i] == ids[i+1] {
			return nil, fmt.Errorf("memstore: ids must differ: %d comes twice", ids[i])
		}
	}
	return newStore(ids), nil
}

func newStore(ids []int64) *Store {
	now := time.Now().UTC().Truncate(time.Microsecond)
	s := &Store{ids: ids, insertedAt: now}
	s.current.Store(&version{
		points:    make([]uint8, len(ids)),
		tops:      make([]uint8, blocks(len(ids))),
		updatedAt: now,
	})
	return s
}

func blocks(users int) int { return (users + blockSize - 1) / blockSize }

// Len returns the number of users.
func (s *Store) Len() int { return len(s.ids) }

// ImmediateReads makes the store [points.Immediate].
func (s *Store) ImmediateReads() {}

// UsersAbove implements [points.Store]. It waits for nothing, and allocates what it returns.
func (s *Store) UsersAbove(ctx context.Context, above, limit int) ([]points.User, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("memstore: reading users: %w", err)
	}
	v := s.current.Load()
	users := []points.User{}
	if int(v.top) <= above || limit < 1 {
		return users, nil
	}
	for block, top := range v.tops {
		if int(top) <= above {
			continue
		}
		first := block * blockSize
		for i, p := range v.points[first:min(first+blockSize, len(s.ids))] {
			if int(p) <= above {
				continue
			}
			if cap(users) == 0 {
				users = make([]points.User, 0, min(limit, len(s.ids)))
			}
			users = append(users, points.User{
				ID: s.ids[first+i], Points: int(p), InsertedAt: s.insertedAt, UpdatedAt: v.updatedAt,
			})
			if len(users) == limit {
				return users, nil
			}
		}
	}
	return users, nil
}

// UpdateAll implements [points.Store]. If it fails, no user has been updated. While another one runs it fails with an
// error that wraps [points.ErrUpdateRunning].
func (s *Store) UpdateAll(ctx context.Context, key uint64) (int64, error) {
	if !s.updating.TryLock() {
		return 0, fmt.Errorf("memstore: updating all users: %w", points.ErrUpdateRunning)
	}
	defer s.updating.Unlock()

	v, err := s.draw(ctx, key)
	if err != nil {
		return 0, fmt.Errorf("memstore: updating all users: %w", err)
	}
	s.current.Store(v)
	return int64(len(s.ids)), nil
}

// draw returns the version that the update with this key makes.
func (s *Store) draw(ctx context.Context, key uint64) (*version, error) {
	v := &version{
		points: make([]uint8, len(s.ids)),
		tops:   make([]uint8, blocks(len(s.ids))),
		updatedAt: time.Now().UTC().Truncate(time.Microsecond),
	}
	drawing := points.NewDrawing(key)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(v.tops)) {
		workers.Go(func() {
			for block := int(next.Add(1)) - 1; block < len(v.tops) && ctx.Err() == nil; block = int(next.Add(1)) - 1 {
				first := block * blockSize
				last := min(first+blockSize, len(s.ids))
				v.tops[block] = fill(v.points[first:last], s.ids[first:last], drawing)
			}
		})
	}
	workers.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(v.tops) > 0 {
		v.top = slices.Max(v.tops)
	}
	return v, nil
}

// fill draws the points of ids, and returns the most of them.
func fill(into []uint8, ids []int64, drawing points.Drawing) (top uint8) {
	for i, id := range ids {
		p := uint8(drawing.Points(id))
		into[i] = p
		top = max(top, p)
	}
	return top
}
