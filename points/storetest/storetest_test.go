package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"

	"github.com/pointsapp/pointsapp/points"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCorrectStorePasses(t *testing.T) {
	Run(t, func(_ testing.TB, ids []int64) points.Store { return newDouble(ids) })
}

// Each fault is one that the Elixir original has or that is close to one, and is caught by the check named.
func TestFaultyStoresFail(t *testing.T) {
	for _, fault := range []struct {
		name   string
		caught string
		inject func(*double)
	}{
		{">= for >", "strictly above", func(d *double) { d.above = func(p, minimum int) bool { return p >= minimum } }},
		{"limit ignored", "limit", func(d *double) { d.limit = func(int) int { return 1 << 30 } }},
		{"one fewer than there are", "limit", func(d *double) { d.limit = func(n int) int { return max(n-1, 1) } }},
		{"nil for empty", "empty, never nil", func(d *double) { d.empty = nil }},
		{"never 100", "every user once", func(d *double) { d.draw = func(id int64, key uint64) int { return min(points.Draw(id, key), 99) } }},
		{"never 0", "every user once", func(d *double) { d.draw = func(id int64, key uint64) int { return max(points.Draw(id, key), 1) } }},
		{"random points", "same key, same points", func(d *double) { d.draw = func(int64, uint64) int { return rand.IntN(101) } }},
		{"pages by OFFSET of rows that move", "every user once", func(d *double) { d.update = d.updateByOffset }},
		{"a range of ids instead of ids", "any ids", func(d *double) { d.update = d.updateByArithmetic }},
		{"counts too many", "every user once", func(d *double) { d.count = func(n int64) int64 { return n + 1 } }},
		{"counts too few", "every user once", func(d *double) { d.count = func(n int64) int64 { return n - 1 } }},
		{"two updates at once", "two updates at once", func(d *double) { d.oneUpdate = false }},
		{"updated_at stays", "times", func(d *double) { d.now = func() time.Time { return d.made } }},
		{"inserted_at changes", "times", func(d *double) { d.touchInserted = true }},
		{"local time", "times", func(d *double) { d.zone = time.FixedZone("CET", 3600) }},
		{"nanoseconds", "times", func(d *double) {
			d.now = func() time.Time { return time.Now().UTC().Truncate(time.Microsecond).Add(1) }
		}},
		{"its own slice", "slices are the caller's", func(d *double) { d.share = true }},
		{"a stale copy", "reads beside updates", func(d *double) { d.stale = true }},
		{"zero points while it updates", "reads beside updates", func(d *double) { d.resets = true }},
		{"heeds no context", "ended contexts", func(d *double) { d.heedless = true }},
		{"an update that was cancelled blocks the next", "cancelled update", func(d *double) { d.sticky = true }},
	} {
		t.Run(fault.name, func(t *testing.T) {
			i := slices.IndexFunc(checks, func(c check) bool { return c.name == fault.caught })
			failures := failuresOf(t, checks[i], func(ids []int64) points.Store {
				d := newDouble(ids)
				fault.inject(d)
				return d
			})
			assert.NotEmpty(t, failures, "%q has not caught it", fault.caught)
		})
	}
}

// failuresOf runs a check that may fail, and returns how it did.
func failuresOf(t *testing.T, c check, open func([]int64) points.Store) []string {
	r := &recorder{ctx: t.Context()}
	done := make(chan struct{})
	go func() { // that FailNow may end
		defer close(done)
		c.run(r, open)
	}()
	<-done
	return r.failures
}

type recorder struct {
	ctx      context.Context
	mu       sync.Mutex
	failures []string
}

func (r *recorder) Context() context.Context { return r.ctx }
func (r *recorder) FailNow()                 { runtime.Goexit() }
func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

// A double is a store that is right until a fault is injected.
type double struct {
	made  time.Time
	above func(p, minimum int) bool
	limit func(int) int
	draw  func(id int64, key uint64) int
	count func(int64) int64
	now   func() time.Time
	empty []points.User
	zone  *time.Location

	update        func(ctx context.Context, key uint64) (int64, error)
	oneUpdate     bool
	touchInserted bool
	share         bool
	stale         bool
	resets        bool
	heedless      bool
	sticky        bool

	half     chan struct{}
	updating sync.Mutex
	mu       sync.RWMutex
	users    []points.User
	copied   []points.User
	jammed   bool
}

func newDouble(ids []int64) *double {
	made := time.Now().UTC().Truncate(time.Microsecond)
	d := &double{
		made: made, half: make(chan struct{}), zone: time.UTC, empty: []points.User{}, oneUpdate: true,
		above: func(p, minimum int) bool { return p > minimum },
		limit: func(n int) int { return n },
		draw:  points.Draw,
		count: func(n int64) int64 { return n },
	}
	last := made
	d.now = func() time.Time {
		last = time.UnixMicro(max(time.Now().UnixMicro(), last.UnixMicro()+1)).UTC()
		return last
	}
	d.update = d.updateInBatches
	for _, id := range ids {
		d.users = append(d.users, points.User{ID: id, InsertedAt: made, UpdatedAt: made})
	}
	d.copied = slices.Clone(d.users)
	return d
}

func (d *double) UsersAbove(ctx context.Context, minimum, limit int) ([]points.User, error) {
	if err := ctx.Err(); err != nil && !d.heedless {
		return nil, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	from := d.users
	if d.stale {
		from = d.copied
	}
	if d.share && minimum < 0 {
		return from, nil
	}
	users := d.empty
	for _, u := range from {
		if len(users) >= d.limit(limit) {
			break
		}
		if d.above(u.Points, minimum) {
			u.InsertedAt, u.UpdatedAt = u.InsertedAt.In(d.zone), u.UpdatedAt.In(d.zone)
			users = append(users, u)
		}
	}
	return users, nil
}

func (d *double) UpdateAll(ctx context.Context, key uint64) (int64, error) {
	if d.oneUpdate {
		d.updating.Lock()
		defer d.updating.Unlock()
	}
	if d.jammed {
		return 0, points.ErrUpdateRunning
	}
	n, err := d.update(ctx, key)
	if err != nil {
		d.jammed = d.sticky
		return n, err
	}
	return d.count(n), nil
}

const batch = 2000

func (d *double) updateInBatches(ctx context.Context, key uint64) (int64, error) {
	d.mu.Lock()
	d.copied = slices.Clone(d.users)
	now := d.now()
	if d.resets {
		for i := range d.users {
			d.users[i].Points = 101
		}
	}
	d.mu.Unlock()
	chunks := slices.Collect(slices.Chunk(d.users, batch))
	if !d.oneUpdate && key%2 == 1 {
		slices.Reverse(chunks)
	}
	var n int64
	for i, chunk := range chunks {
		if !d.oneUpdate && i == len(chunks)/2 {
			d.meet()
		}
		if err := ctx.Err(); err != nil && !d.heedless {
			return n, err
		}
		d.mu.Lock()
		for i := range chunk {
			d.set(&chunk[i], key, now)
		}
		d.mu.Unlock()
		n += int64(len(chunk))
		runtime.Gosched()
	}
	return n, ctx.Err()
}

// meet waits, not for long, for another update that is half done.
func (d *double) meet() {
	select {
	case d.half <- struct{}{}:
	case <-d.half:
	case <-time.After(100 * time.Millisecond):
	}
}

func (d *double) set(u *points.User, key uint64, now time.Time) {
	u.Points, u.UpdatedAt = d.draw(u.ID, key), now
	if d.touchInserted {
		u.InsertedAt = now
	}
}

// updateByOffset takes page after page of a table whose updated rows move to its end, as a heap without ORDER BY does.
func (d *double) updateByOffset(ctx context.Context, key uint64) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	var n int64
	for offset := 0; offset < len(d.users); offset += batch {
		page := slices.Clone(d.users[offset:min(offset+batch, len(d.users))])
		for i := range page {
			d.set(&page[i], key, now)
		}
		d.users = append(slices.Delete(d.users, offset, offset+len(page)), page...)
		n += int64(len(page))
	}
	return n, ctx.Err()
}

// updateByArithmetic updates the ids 1..n.
func (d *double) updateByArithmetic(ctx context.Context, key uint64) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	for i := range d.users {
		if u := &d.users[i]; u.ID > 0 && u.ID <= int64(len(d.users)) {
			d.set(u, key, now)
		}
	}
	return int64(len(d.users)), ctx.Err()
}
