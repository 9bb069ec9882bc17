package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// orEqual has >= for >.
func orEqual(p *plain) points.Store {
	return reads(p, func(ctx context.Context, above, limit int) ([]points.User, error) {
		return p.UsersAbove(ctx, max(above, -1)-1, limit)
	})
}

// minAsAByte takes -1 for 255.
func minAsAByte(p *plain) points.Store {
	return reads(p, func(ctx context.Context, above, limit int) ([]points.User, error) {
		return p.UsersAbove(ctx, int(uint8(above)), limit)
	})
}

func ignoresLimit(p *plain) points.Store {
	return reads(p, func(ctx context.Context, above, _ int) ([]points.User, error) {
		return p.UsersAbove(ctx, above, many)
	})
}

func atMostTwo(p *plain) points.Store {
	return reads(p, func(ctx context.Context, above, limit int) ([]points.User, error) {
		return p.UsersAbove(ctx, above, min(limit, 2))
	})
}

func repeatsAUser(p *plain) points.Store {
	return reads(p, func(ctx context.Context, above, limit int) ([]points.User, error) {
		users, err := p.UsersAbove(ctx, above, limit)
		if len(users) > 1 {
			users[1] = users[0]
		}
		return users, err
	})
}

func nilForNobody(p *plain) points.Store {
	return reads(p, func(ctx context.Context, above, limit int) ([]points.User, error) {
		users, err := p.UsersAbove(ctx, above, limit)
		return append([]points.User(nil), users...), err
	})
}

func heedlessReads(p *plain) points.Store {
	return reads(p, func(ctx context.Context, above, limit int) ([]points.User, error) {
		return p.UsersAbove(context.WithoutCancel(ctx), above, limit)
	})
}

func heedlessUpdates(p *plain) points.Store {
	return updates(p, func(ctx context.Context, key uint64) (int64, error) {
		return p.UpdateAll(context.WithoutCancel(ctx), key)
	})
}

// hidesTheReason does not wrap what has stopped it.
func hidesTheReason(p *plain) points.Store {
	return updates(p, func(ctx context.Context, key uint64) (int64, error) {
		n, err := p.UpdateAll(ctx, key)
		if err != nil {
			err = fmt.Errorf("updating: %v", err) //nolint:errorlint // the fault
		}
		return n, err
	})
}

func failsForNobody(p *plain) points.Store {
	return updates(p, func(ctx context.Context, key uint64) (int64, error) {
		if len(p.users) == 0 {
			return 0, errors.New("no rows")
		}
		return p.UpdateAll(ctx, key)
	})
}

func randomDraw(int64, uint64) int        { return rand.IntN(points.MaxPoints + 1) }
func drawUpTo99(id int64, key uint64) int { return min(points.Draw(id, key), 99) }
func drawFrom1(id int64, key uint64) int  { return max(points.Draw(id, key), 1) }
func drawOneMore(id int64, key uint64) int {
	return (points.Draw(id, key) + 1) % (points.MaxPoints + 1)
}
func drawByHalfTheID(id int64, key uint64) int  { return points.Draw(int64(int32(id)), key) }
func drawByHalfTheKey(id int64, key uint64) int { return points.Draw(id, uint64(uint32(key))) }

// pagesByOffset takes page after page of a table whose updated rows move to its end, as a heap's do that is read without
// ORDER BY.
func pagesByOffset(p *plain) points.Store {
	return updates(p, func(_ context.Context, key uint64) (int64, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for offset := 0; offset < len(p.users); offset += p.batch {
			page := slices.Clone(p.users[offset:min(offset+p.batch, len(p.users))])
			for i := range page {
				page[i].Points = points.Draw(page[i].ID, key)
			}
			p.users = append(slices.Delete(p.users, offset, offset+len(page)), page...)
		}
		return int64(len(p.users)), nil
	})
}

// mixes lets two updates run together, from both ends, and refuses only a third one.
func mixes(p *plain) points.Store {
	var calls atomic.Int64
	halfway := make(chan struct{})
	return updates(p, func(_ context.Context, key uint64) (int64, error) {
		call := calls.Add(1)
		if call%3 == 0 {
			return 0, points.ErrUpdateRunning
		}
		halves := [][2]int{{0, len(p.users) / 2}, {len(p.users) / 2, len(p.users)}}
		if call%3 == 2 {
			slices.Reverse(halves)
		}
		for i, half := range halves {
			if i > 0 {
				select { // until the other one has come as far
				case halfway <- struct{}{}:
				case <-halfway:
				case <-time.After(time.Second):
				}
			}
			p.change(half[0], half[1], func(u *points.User) { u.Points = points.Draw(u.ID, key) })
		}
		return int64(len(p.users)), nil
	})
}

// refusesWithoutReason says of a second update that it failed, not why.
func refusesWithoutReason(p *plain) points.Store {
	p.between = func(int) { <-time.After(time.Millisecond) } // so that the others come in its midst
	return updates(p, func(ctx context.Context, key uint64) (int64, error) {
		if !p.updating.TryLock() {
			return 0, errors.New("busy")
		}
		defer p.updating.Unlock()
		return p.updateAll(ctx, key)
	})
}

// only updates the users of whom updated is true, and says that these were all.
func only(p *plain, updated func(id int64) bool) points.Store {
	return updates(p, func(_ context.Context, key uint64) (int64, error) {
		p.change(0, len(p.users), func(u *points.User) {
			if updated(u.ID) {
				u.Points = points.Draw(u.ID, key)
			}
		})
		return int64(len(p.users)), nil
	})
}

func onlyContiguous(p *plain) points.Store {
	return only(p, func(id int64) bool { return id >= 1 && id <= int64(len(p.users)) })
}

func onlyFromZero(p *plain) points.Store { return only(p, func(id int64) bool { return id >= 0 }) }

// drawsTwice updates the first users again, as batches that overlap do.
func drawsTwice(counted bool) func(*plain) points.Store {
	return func(p *plain) points.Store {
		return updates(p, func(ctx context.Context, key uint64) (int64, error) {
			n, err := p.UpdateAll(ctx, key)
			p.awaitReads(5)
			again := min(10, len(p.users))
			p.change(0, again, func(u *points.User) { u.UpdatedAt = u.UpdatedAt.Add(time.Microsecond) })
			if counted {
				n += int64(again)
			}
			return n, err
		})
	}
}

// returnsEarly leaves the update to a goroutine.
func returnsEarly(p *plain) points.Store {
	var running sync.WaitGroup
	return updates(p, func(ctx context.Context, key uint64) (int64, error) {
		running.Wait()
		running.Go(func() { _, _ = p.UpdateAll(context.WithoutCancel(ctx), key) })
		return int64(len(p.users)), nil
	})
}

func sharesItsRows(p *plain) points.Store {
	return reads(p, func(ctx context.Context, above, limit int) ([]points.User, error) {
		if above < 0 {
			return p.users[:min(limit, len(p.users))], nil
		}
		return p.UsersAbove(ctx, above, limit)
	})
}

func reusesABuffer(p *plain) points.Store {
	var buffer []points.User
	return reads(p, func(ctx context.Context, above, limit int) ([]points.User, error) {
		users, err := p.UsersAbove(ctx, above, limit)
		buffer = append(buffer[:0], users...)
		return buffer, err
	})
}

// cutsFromABuffer returns parts that have the capacity of the whole.
func cutsFromABuffer(p *plain) points.Store {
	buffer := make([]points.User, 1000)
	return reads(p, func(ctx context.Context, above, limit int) ([]points.User, error) {
		users, err := p.UsersAbove(ctx, above, limit)
		part := buffer[:copy(buffer, users)]
		buffer = buffer[len(part):]
		return part, err
	})
}

// readsAStaleCopy returns what users were after the first update.
func readsAStaleCopy(p *plain) points.Store {
	stale := newPlain(nil)
	return changed{stale.UsersAbove, func(ctx context.Context, key uint64) (int64, error) {
		n, err := p.UpdateAll(ctx, key)
		if key == 0 {
			stale.users = slices.Clone(p.users)
		}
		stale.awaitReads(50)
		return n, err
	}}
}

// zeroesFirst has users without points while it updates them.
func zeroesFirst(p *plain) points.Store {
	return updates(p, func(ctx context.Context, key uint64) (int64, error) {
		p.change(0, len(p.users), func(u *points.User) { u.Points = 0 })
		p.awaitReads(50)
		return p.UpdateAll(ctx, key)
	})
}

// deletesAndInserts has the last user missing while it updates.
func deletesAndInserts(p *plain) points.Store {
	return updates(p, func(ctx context.Context, key uint64) (int64, error) {
		users := p.users
		p.replace(users[:len(users)-1])
		p.awaitReads(50)
		p.replace(users)
		return p.UpdateAll(ctx, key)
	})
}

// failsReads fails reads while it updates.
func failsReads(p *plain) points.Store {
	var updating atomic.Bool
	return changed{
		read: func(ctx context.Context, above, limit int) ([]points.User, error) {
			users, err := p.UsersAbove(ctx, above, limit)
			if updating.Load() {
				return nil, errors.New("locked")
			}
			return users, err
		},
		update: func(ctx context.Context, key uint64) (int64, error) {
			updating.Store(true)
			defer updating.Store(false)
			p.awaitReads(5)
			return p.UpdateAll(ctx, key)
		},
	}
}

// tearsReads reads every second user first, and the others when an update that runs has gone on, by a batch at least.
func tearsReads(p *plain) points.Store {
	var calls atomic.Int64
	var batch atomic.Pointer[chan struct{}] // is closed after it
	next := func() {
		ended := make(chan struct{})
		if last := batch.Swap(&ended); last != nil {
			close(*last)
		}
	}
	next()
	p.between = func(int) {
		p.awaitReads(5)
		next()
	}
	return reads(p, func(ctx context.Context, above, limit int) ([]points.User, error) {
		odd, ended := int(calls.Add(1)%2), *batch.Load()
		users, err := p.UsersAbove(ctx, above, limit)
		select {
		case <-ended:
		case <-time.After(time.Millisecond):
		}
		later, _ := p.UsersAbove(ctx, above, limit)
		for i := odd; i < len(users); i += 2 {
			users[i] = later[i]
		}
		return users, err
	})
}

// tearsRows sets points and updated_at one after the other.
func tearsRows(p *plain) points.Store {
	return updates(p, func(_ context.Context, key uint64) (int64, error) {
		p.change(0, len(p.users), func(u *points.User) { u.Points = points.Draw(u.ID, key) })
		p.awaitReads(5)
		now := time.Now().UTC().Truncate(time.Microsecond)
		p.change(0, len(p.users), func(u *points.User) { u.UpdatedAt = now })
		return int64(len(p.users)), nil
	})
}

// undoes shows an update that is rolled back, and then made.
func undoes(p *plain) points.Store {
	return updates(p, func(_ context.Context, key uint64) (int64, error) {
		p.mu.RLock()
		before := p.users
		p.mu.RUnlock()
		after := slices.Clone(before)
		now := time.Now().UTC().Truncate(time.Microsecond)
		for i := range after {
			after[i].Points, after[i].UpdatedAt = points.Draw(after[i].ID, key), now
		}
		for _, users := range [][]points.User{after, before, after} {
			p.replace(users)
			p.awaitReads(10)
		}
		return int64(len(p.users)), nil
	})
}

// looksOnce heeds its context when it begins, and never after that.
func looksOnce(p *plain) points.Store {
	p.halt()
	return updates(p, func(ctx context.Context, key uint64) (int64, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return p.UpdateAll(context.WithoutCancel(ctx), key)
	})
}

// stopsSilently says nothing of users that it has not reached.
func stopsSilently(p *plain) points.Store {
	p.halt()
	return updates(p, func(ctx context.Context, key uint64) (int64, error) {
		_, _ = p.UpdateAll(ctx, key)
		return int64(len(p.users)), nil
	})
}

// resumes begins where the update before it was stopped.
func resumes(p *plain) points.Store {
	p.halt()
	first := 0
	return updates(p, func(ctx context.Context, key uint64) (int64, error) {
		ctx = points.WithProgress(ctx, func(_, _ int64) {}) // which would tell
		n, err := p.updateFrom(ctx, key, first)
		if err != nil {
			first = int(n)
			return n, err
		}
		first = 0
		return int64(len(p.users)), nil
	})
}

// staysTaken takes an update that was stopped for one that runs.
func staysTaken(p *plain) points.Store {
	p.halt()
	taken := false
	return updates(p, func(ctx context.Context, key uint64) (int64, error) {
		if taken {
			return 0, points.ErrUpdateRunning
		}
		n, err := p.UpdateAll(ctx, key)
		taken = err != nil
		return n, err
	})
}

// locksOutReads keeps reads out for a whole update.
func locksOutReads(p *plain) points.Store {
	lock := make(chan struct{}, 1)
	return immediate{changed{
		read: func(ctx context.Context, above, limit int) ([]points.User, error) {
			lock <- struct{}{}
			defer func() { <-lock }()
			return p.UsersAbove(ctx, above, limit)
		},
		update: func(ctx context.Context, key uint64) (int64, error) {
			lock <- struct{}{}
			defer func() { <-lock }()
			return p.UpdateAll(ctx, key)
		},
	}}
}
