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

// usesGreaterOrEqual compares with >= instead of >.
func usesGreaterOrEqual(p *refStore) points.Store {
	return withReads(p, func(ctx context.Context, minimum, limit int) ([]points.User, error) {
		return p.UsersAbove(ctx, max(minimum, -1)-1, limit)
	})
}

// truncatesMin converts min to a byte, so that -1 becomes 255.
func truncatesMin(p *refStore) points.Store {
	return withReads(p, func(ctx context.Context, minimum, limit int) ([]points.User, error) {
		return p.UsersAbove(ctx, int(uint8(minimum)), limit)
	})
}

func ignoresLimit(p *refStore) points.Store {
	return withReads(p, func(ctx context.Context, minimum, _ int) ([]points.User, error) {
		return p.UsersAbove(ctx, minimum, many)
	})
}

func returnsAtMostTwo(p *refStore) points.Store {
	return withReads(p, func(ctx context.Context, minimum, limit int) ([]points.User, error) {
		return p.UsersAbove(ctx, minimum, min(limit, 2))
	})
}

func repeatsAUser(p *refStore) points.Store {
	return withReads(p, func(ctx context.Context, minimum, limit int) ([]points.User, error) {
		users, err := p.UsersAbove(ctx, minimum, limit)
		if len(users) > 1 {
			users[1] = users[0]
		}
		return users, err
	})
}

func returnsNil(p *refStore) points.Store {
	return withReads(p, func(ctx context.Context, minimum, limit int) ([]points.User, error) {
		users, err := p.UsersAbove(ctx, minimum, limit)
		return append([]points.User(nil), users...), err
	})
}

func ignoresContextInReads(p *refStore) points.Store {
	return withReads(p, func(ctx context.Context, minimum, limit int) ([]points.User, error) {
		return p.UsersAbove(context.WithoutCancel(ctx), minimum, limit)
	})
}

func ignoresContextInUpdates(p *refStore) points.Store {
	return withUpdates(p, func(ctx context.Context, key uint64) (int64, error) {
		return p.UpdateAll(context.WithoutCancel(ctx), key)
	})
}

// hidesContextError does not wrap the error of its context.
func hidesContextError(p *refStore) points.Store {
	return withUpdates(p, func(ctx context.Context, key uint64) (int64, error) {
		n, err := p.UpdateAll(ctx, key)
		if err != nil {
			err = fmt.Errorf("updating: %v", err) //nolint:errorlint // the fault
		}
		return n, err
	})
}

func failsWithoutUsers(p *refStore) points.Store {
	return withUpdates(p, func(ctx context.Context, key uint64) (int64, error) {
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

// pagesByOffset pages with OFFSET through a table whose updated rows move to its end, as in a heap without ORDER BY.
func pagesByOffset(p *refStore) points.Store {
	return withUpdates(p, func(_ context.Context, key uint64) (int64, error) {
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

// interleavesUpdates lets two updates run at the same time, from both ends, and rejects only a third one.
func interleavesUpdates(p *refStore) points.Store {
	var calls atomic.Int64
	halfway := make(chan struct{})
	return withUpdates(p, func(_ context.Context, key uint64) (int64, error) {
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
				select { // wait for the other one
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

// rejectsWithoutErrUpdateRunning rejects a second update with some other error.
func rejectsWithoutErrUpdateRunning(p *refStore) points.Store {
	p.between = func(int) { <-time.After(time.Millisecond) } // so that updates overlap
	return withUpdates(p, func(ctx context.Context, key uint64) (int64, error) {
		if !p.updating.TryLock() {
			return 0, errors.New("busy")
		}
		defer p.updating.Unlock()
		return p.updateAll(ctx, key)
	})
}

// updatesOnly skips users for which updated is false, and counts them as updated.
func updatesOnly(p *refStore, updated func(id int64) bool) points.Store {
	return withUpdates(p, func(_ context.Context, key uint64) (int64, error) {
		p.change(0, len(p.users), func(u *points.User) {
			if updated(u.ID) {
				u.Points = points.Draw(u.ID, key)
			}
		})
		return int64(len(p.users)), nil
	})
}

func updatesOnlyContiguousIDs(p *refStore) points.Store {
	return updatesOnly(p, func(id int64) bool { return id >= 1 && id <= int64(len(p.users)) })
}

func updatesOnlyFromZero(p *refStore) points.Store {
	return updatesOnly(p, func(id int64) bool { return id >= 0 })
}

// updatesTwice updates the first users again, as overlapping batches do.
func updatesTwice(counted bool) func(*refStore) points.Store {
	return func(p *refStore) points.Store {
		return withUpdates(p, func(ctx context.Context, key uint64) (int64, error) {
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

// returnsEarly updates in a goroutine.
func returnsEarly(p *refStore) points.Store {
	var running sync.WaitGroup
	return withUpdates(p, func(ctx context.Context, key uint64) (int64, error) {
		running.Wait()
		running.Go(func() { _, _ = p.UpdateAll(noProgress(ctx), key) })
		return int64(len(p.users)), nil
	})
}

// noProgress returns a context for an update that goes on when its caller has returned.
func noProgress(ctx context.Context) context.Context {
	return points.WithProgress(context.WithoutCancel(ctx), func(_, _ int64) {})
}

func returnsItsRows(p *refStore) points.Store {
	return withReads(p, func(ctx context.Context, minimum, limit int) ([]points.User, error) {
		if minimum < 0 {
			return p.users[:min(limit, len(p.users))], nil
		}
		return p.UsersAbove(ctx, minimum, limit)
	})
}

func reusesABuffer(p *refStore) points.Store {
	var buffer []points.User
	return withReads(p, func(ctx context.Context, minimum, limit int) ([]points.User, error) {
		users, err := p.UsersAbove(ctx, minimum, limit)
		buffer = append(buffer[:0], users...)
		return buffer, err
	})
}

// slicesABuffer returns parts of one buffer without limiting their capacity.
func slicesABuffer(p *refStore) points.Store {
	buffer := make([]points.User, 1000)
	return withReads(p, func(ctx context.Context, minimum, limit int) ([]points.User, error) {
		users, err := p.UsersAbove(ctx, minimum, limit)
		part := buffer[:copy(buffer, users)]
		buffer = buffer[len(part):]
		return part, err
	})
}

// readsAStaleCopy returns the users as they were after the first update.
func readsAStaleCopy(p *refStore) points.Store {
	stale := newRefStore(nil)
	return overridden{stale.UsersAbove, func(ctx context.Context, key uint64) (int64, error) {
		n, err := p.UpdateAll(ctx, key)
		if key == 0 {
			stale.users = slices.Clone(p.users)
		}
		stale.awaitReads(50)
		return n, err
	}}
}

// zeroesFirst sets all users to 0 points before it updates them.
func zeroesFirst(p *refStore) points.Store {
	return withUpdates(p, func(ctx context.Context, key uint64) (int64, error) {
		p.change(0, len(p.users), func(u *points.User) { u.Points = 0 })
		p.awaitReads(50)
		return p.UpdateAll(ctx, key)
	})
}

// deletesAndInserts deletes the last user for a while during an update.
func deletesAndInserts(p *refStore) points.Store {
	return withUpdates(p, func(ctx context.Context, key uint64) (int64, error) {
		users := p.users
		p.replace(users[:len(users)-1])
		p.awaitReads(50)
		p.replace(users)
		return p.UpdateAll(ctx, key)
	})
}

// failsReads fails reads during an update.
func failsReads(p *refStore) points.Store {
	var updating atomic.Bool
	return overridden{
		read: func(ctx context.Context, minimum, limit int) ([]points.User, error) {
			users, err := p.UsersAbove(ctx, minimum, limit)
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

// tearsReads reads every other user first, and the rest when a running update has completed another batch.
func tearsReads(p *refStore) points.Store {
	var calls atomic.Int64
	var batch atomic.Pointer[chan struct{}] // closed at its end
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
	return withReads(p, func(ctx context.Context, minimum, limit int) ([]points.User, error) {
		odd, ended := int(calls.Add(1)%2), *batch.Load()
		users, err := p.UsersAbove(ctx, minimum, limit)
		select {
		case <-ended:
		case <-time.After(time.Millisecond):
		}
		later, _ := p.UsersAbove(ctx, minimum, limit)
		for i := odd; i < len(users); i += 2 {
			users[i] = later[i]
		}
		return users, err
	})
}

// tearsReadsAlike returns the users with even ids in the state of two batches earlier, like a table on two servers that
// are read one after the other. While the update waits, reads are consistent.
func tearsReadsAlike(p *refStore) points.Store {
	var mu sync.Mutex
	var history [][]points.User // after each batch of the running update
	var reports atomic.Int64    // begun and ended: odd during a report
	record := func() {
		mu.Lock()
		defer mu.Unlock()
		history = append(history, slices.Clone(p.users))
	}
	p.between = func(int) {
		record()
		p.awaitReads(5)
	}
	return overridden{
		read: func(ctx context.Context, minimum, limit int) ([]points.User, error) {
			report := reports.Load()
			users, err := p.UsersAbove(ctx, minimum, limit)
			if report%2 != 0 {
				<-time.After(time.Millisecond)
				if reports.Load() == report {
					return users, err
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if last := len(history) - 1; last >= 0 {
				users = slices.Clone(history[last])
				for i, u := range history[max(last-2, 0)] {
					if u.ID%2 == 0 {
						users[i] = u
					}
				}
			}
			return users, err
		},
		update: func(ctx context.Context, key uint64) (int64, error) {
			record()
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				history = nil
			}()
			return p.UpdateAll(points.WithProgress(ctx, func(done, total int64) {
				reports.Add(1)
				points.ReportProgress(ctx, done, total)
				reports.Add(1)
			}), key)
		},
	}
}

// tearsRows sets points first and updated_at later.
func tearsRows(p *refStore) points.Store {
	return withUpdates(p, func(_ context.Context, key uint64) (int64, error) {
		p.change(0, len(p.users), func(u *points.User) { u.Points = points.Draw(u.ID, key) })
		p.awaitReads(5)
		now := time.Now().UTC().Truncate(time.Microsecond)
		p.change(0, len(p.users), func(u *points.User) { u.UpdatedAt = now })
		return int64(len(p.users)), nil
	})
}

// rollsBack shows an update that is rolled back and then repeated.
func rollsBack(p *refStore) points.Store {
	return withUpdates(p, func(_ context.Context, key uint64) (int64, error) {
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

// checksContextOnce checks its context only at the start.
func checksContextOnce(p *refStore) points.Store {
	p.pauseForReads()
	return withUpdates(p, func(ctx context.Context, key uint64) (int64, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return p.UpdateAll(context.WithoutCancel(ctx), key)
	})
}

// stopsSilently reports success for an update that was cancelled.
func stopsSilently(p *refStore) points.Store {
	p.pauseForReads()
	return withUpdates(p, func(ctx context.Context, key uint64) (int64, error) {
		_, _ = p.UpdateAll(ctx, key)
		return int64(len(p.users)), nil
	})
}

// resumes starts where the cancelled update before it has stopped.
func resumes(p *refStore) points.Store {
	p.pauseForReads()
	first := 0
	return withUpdates(p, func(ctx context.Context, key uint64) (int64, error) {
		n, err := p.updateFrom(points.WithProgress(ctx, func(_, _ int64) {}), key, first)
		if err != nil {
			first = int(n)
			return n, err
		}
		first = 0
		return int64(len(p.users)), nil
	})
}

// staysLocked treats a cancelled update as running.
func staysLocked(p *refStore) points.Store {
	p.pauseForReads()
	locked := false
	return withUpdates(p, func(ctx context.Context, key uint64) (int64, error) {
		if locked {
			return 0, points.ErrUpdateRunning
		}
		n, err := p.UpdateAll(ctx, key)
		locked = err != nil
		return n, err
	})
}

// blocksReads has ImmediateReads, but blocks reads during an update.
func blocksReads(p *refStore) points.Store {
	lock := make(chan struct{}, 1)
	return immediate{overridden{
		read: func(ctx context.Context, minimum, limit int) ([]points.User, error) {
			lock <- struct{}{}
			defer func() { <-lock }()
			return p.UsersAbove(ctx, minimum, limit)
		},
		update: func(ctx context.Context, key uint64) (int64, error) {
			lock <- struct{}{}
			defer func() { <-lock }()
			return p.UpdateAll(ctx, key)
		},
	}}
}
