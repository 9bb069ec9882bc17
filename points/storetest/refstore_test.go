package storetest

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// A plain store is a correct one: rows behind a lock, which an update takes for a batch at a time.
type plain struct {
	draw    func(id int64, key uint64) int
	batch   int             // rows in a batch
	between func(batch int) // is called after each batch but the last: 1, 2, ...

	updating sync.Mutex
	mu       sync.RWMutex // guards users
	users    []points.User
	read     chan struct{} // a read has returned, if someone wants to know
}

func newPlain(ids []int64) *plain {
	p := &plain{draw: points.Draw, batch: 2000, between: func(int) {}, read: make(chan struct{})}
	now := time.Now().UTC().Truncate(time.Microsecond)
	for _, id := range ids {
		p.users = append(p.users, points.User{ID: id, InsertedAt: now, UpdatedAt: now})
	}
	return p
}

func (p *plain) UsersAbove(ctx context.Context, above, limit int) ([]points.User, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.mu.RLock()
	users := pick(p.users, above, limit)
	p.mu.RUnlock()
	select {
	case p.read <- struct{}{}:
		runtime.Gosched() // who has waited for it goes on before the next read
	default:
	}
	return users, nil
}

// awaitReads waits until n reads have returned, or gives up, as there is nobody to read: in synctest, time passes only
// when nobody does anything.
func (p *plain) awaitReads(n int) {
	for range n {
		select {
		case <-p.read:
		case <-time.After(time.Second):
			return
		}
	}
}

// halt makes updates wait for reads once they have updated the first batch, so that a read sees them halfway.
func (p *plain) halt() {
	p.between = func(batch int) {
		if batch == 1 {
			p.awaitReads(5)
		}
	}
}

func pick(from []points.User, above, limit int) []points.User {
	users := make([]points.User, 0, min(limit, len(from)))
	for _, u := range from {
		if len(users) == limit {
			break
		}
		if u.Points > above {
			users = append(users, u)
		}
	}
	return users
}

func (p *plain) Capabilities() points.Capabilities { return points.Capabilities{} }

func (p *plain) UpdateAll(ctx context.Context, key uint64) (int64, error) {
	p.updating.Lock()
	defer p.updating.Unlock()
	return p.updateAll(ctx, key)
}

func (p *plain) updateAll(ctx context.Context, key uint64) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return p.updateFrom(ctx, key, 0)
}

// updateFrom updates the rows from this index on.
func (p *plain) updateFrom(ctx context.Context, key uint64, first int) (n int64, err error) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	for batch := 0; first < len(p.users); first += p.batch {
		if batch > 0 {
			p.between(batch)
		}
		batch++
		if err := ctx.Err(); err != nil {
			return n, err
		}
		last := min(first+p.batch, len(p.users))
		p.change(first, last, func(u *points.User) { u.Points, u.UpdatedAt = p.draw(u.ID, key), now })
		n += int64(last - first)
		points.ReportProgress(ctx, n, int64(len(p.users)))
	}
	return n, nil
}

// change changes the rows first..last-1 at once.
func (p *plain) change(first, last int, how func(*points.User)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := first; i < last; i++ {
		how(&p.users[i])
	}
}

// replace puts other rows in the place of all.
func (p *plain) replace(users []points.User) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users = users
}

// An immediate store promises that reads wait for nothing (or, here, for no more than a batch).
type immediate struct{ points.Store }

func (immediate) Capabilities() points.Capabilities { return points.Capabilities{ImmediateReads: true} }

// A changed store is made of another one's methods and of such as change what it does.
type changed struct {
	read   func(ctx context.Context, above, limit int) ([]points.User, error)
	update func(ctx context.Context, key uint64) (int64, error)
}

func (c changed) UsersAbove(ctx context.Context, above, limit int) ([]points.User, error) {
	return c.read(ctx, above, limit)
}

func (c changed) Capabilities() points.Capabilities { return points.Capabilities{} }

func (c changed) UpdateAll(ctx context.Context, key uint64) (int64, error) { return c.update(ctx, key) }

func reads(p *plain, read func(ctx context.Context, above, limit int) ([]points.User, error)) points.Store {
	return changed{read, p.UpdateAll}
}

func updates(p *plain, update func(ctx context.Context, key uint64) (int64, error)) points.Store {
	return changed{p.UsersAbove, update}
}

func draws(draw func(id int64, key uint64) int) func(*plain) points.Store {
	return func(p *plain) points.Store { p.draw = draw; return p }
}

func counts(count func(int64) int64) func(*plain) points.Store {
	return func(p *plain) points.Store {
		return updates(p, func(ctx context.Context, key uint64) (int64, error) {
			n, err := p.UpdateAll(ctx, key)
			return count(n), err
		})
	}
}

// reports changes what an update tells of its progress.
func reports(how func(ctx context.Context, done, total int64)) func(*plain) points.Store {
	return func(p *plain) points.Store {
		return updates(p, func(ctx context.Context, key uint64) (int64, error) {
			return p.UpdateAll(points.WithProgress(ctx, func(done, total int64) { how(ctx, done, total) }), key)
		})
	}
}

// rows changes what a read returns.
func rows(how func(*points.User)) func(*plain) points.Store {
	return func(p *plain) points.Store {
		return reads(p, func(ctx context.Context, above, limit int) ([]points.User, error) {
			users, err := p.UsersAbove(ctx, above, limit)
			for i := range users {
				how(&users[i])
			}
			return users, err
		})
	}
}
