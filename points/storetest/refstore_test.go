package storetest

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// A refStore is a correct store: rows behind a lock, which an update takes for one batch at a time.
type refStore struct {
	draw    func(id int64, key uint64) int
	batch   int             // rows in a batch
	between func(batch int) // called after each batch but the last, counted from 1

	updating sync.Mutex
	mu       sync.RWMutex // guards users
	users    []points.User
	read     chan struct{} // receives when a read returns, if awaitReads is waiting
}

func newRefStore(ids []int64) *refStore {
	p := &refStore{draw: points.Draw, batch: 2000, between: func(int) {}, read: make(chan struct{})}
	now := time.Now().UTC().Truncate(time.Microsecond)
	for _, id := range ids {
		p.users = append(p.users, points.User{ID: id, InsertedAt: now, UpdatedAt: now})
	}
	return p
}

func (s *refStore) UsersAbove(ctx context.Context, minimum, limit int) ([]points.User, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	users := filter(s.users, minimum, limit)
	s.mu.RUnlock()
	select {
	case s.read <- struct{}{}:
		runtime.Gosched() // let awaitReads go on before the next read
	default:
	}
	return users, nil
}

// awaitReads waits until n reads have returned. It gives up when all readers are gone: in synctest, time passes only when
// all goroutines are blocked.
func (s *refStore) awaitReads(n int) {
	for range n {
		select {
		case <-s.read:
		case <-time.After(time.Second):
			return
		}
	}
}

// pauseForReads makes each update wait for reads after its first batch, so that they see it halfway.
func (s *refStore) pauseForReads() {
	s.between = func(batch int) {
		if batch == 1 {
			s.awaitReads(5)
		}
	}
}

func filter(from []points.User, minimum, limit int) []points.User {
	users := make([]points.User, 0, min(limit, len(from)))
	for _, u := range from {
		if len(users) == limit {
			break
		}
		if u.Points > minimum {
			users = append(users, u)
		}
	}
	return users
}

func (s *refStore) Capabilities() points.Capabilities { return points.Capabilities{} }

func (s *refStore) UpdateAll(ctx context.Context, key uint64) (int64, error) {
	s.updating.Lock()
	defer s.updating.Unlock()
	return s.updateAll(ctx, key)
}

func (s *refStore) updateAll(ctx context.Context, key uint64) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return s.updateFrom(ctx, key, 0)
}

// updateFrom updates the rows from index first on.
func (s *refStore) updateFrom(ctx context.Context, key uint64, first int) (n int64, err error) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	for batch := 0; first < len(s.users); first += s.batch {
		if batch > 0 {
			s.between(batch)
		}
		batch++
		if err := ctx.Err(); err != nil {
			return n, err
		}
		last := min(first+s.batch, len(s.users))
		s.change(first, last, func(u *points.User) { u.Points, u.UpdatedAt = s.draw(u.ID, key), now })
		n += int64(last - first)
		points.ReportProgress(ctx, n, int64(len(s.users)))
	}
	return n, nil
}

// change changes the rows first..last-1 atomically.
func (s *refStore) change(first, last int, how func(*points.User)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := first; i < last; i++ {
		how(&s.users[i])
	}
}

// replace replaces all rows.
func (s *refStore) replace(users []points.User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users = users
}

// An immediate store has ImmediateReads.
type immediate struct{ points.Store }

func (immediate) Capabilities() points.Capabilities { return points.Capabilities{ImmediateReads: true} }

// An overridden store has methods that a mutant replaces.
type overridden struct {
	read   func(ctx context.Context, minimum, limit int) ([]points.User, error)
	update func(ctx context.Context, key uint64) (int64, error)
}

func (o overridden) UsersAbove(ctx context.Context, minimum, limit int) ([]points.User, error) {
	return o.read(ctx, minimum, limit)
}

func (o overridden) Capabilities() points.Capabilities { return points.Capabilities{} }

func (o overridden) UpdateAll(ctx context.Context, key uint64) (int64, error) {
	return o.update(ctx, key)
}

func withReads(p *refStore, read func(ctx context.Context, minimum, limit int) ([]points.User, error)) points.Store {
	return overridden{read, p.UpdateAll}
}

func withUpdates(p *refStore, update func(ctx context.Context, key uint64) (int64, error)) points.Store {
	return overridden{p.UsersAbove, update}
}

func withDraw(draw func(id int64, key uint64) int) func(*refStore) points.Store {
	return func(p *refStore) points.Store { p.draw = draw; return p }
}

func withCount(count func(int64) int64) func(*refStore) points.Store {
	return func(p *refStore) points.Store {
		return withUpdates(p, func(ctx context.Context, key uint64) (int64, error) {
			n, err := p.UpdateAll(ctx, key)
			return count(n), err
		})
	}
}

// withProgress changes the progress that an update reports.
func withProgress(how func(ctx context.Context, done, total int64)) func(*refStore) points.Store {
	return func(p *refStore) points.Store {
		return withUpdates(p, func(ctx context.Context, key uint64) (int64, error) {
			return p.UpdateAll(points.WithProgress(ctx, func(done, total int64) { how(ctx, done, total) }), key)
		})
	}
}

// withRows changes the users that a read returns.
func withRows(how func(*points.User)) func(*refStore) points.Store {
	return func(p *refStore) points.Store {
		return withReads(p, func(ctx context.Context, minimum, limit int) ([]points.User, error) {
			users, err := p.UsersAbove(ctx, minimum, limit)
			for i := range users {
				how(&users[i])
			}
			return users, err
		})
	}
}
