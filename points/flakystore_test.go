package points_test

import (
	"context"
	"sync"

	"github.com/pointsapp/pointsapp/points"
)

// A behaviour is what a call of a flakyStore does.
type behaviour string

const (
	works        behaviour = "works"
	fails        behaviour = "fails"
	loses        behaviour = "loses" // works, and fails all the same
	panics       behaviour = "panics"
	skips        behaviour = "skips"        // fails with ErrUpdateRunning
	hangs        behaviour = "hangs"        // until it is released or its context ends
	unresponsive behaviour = "unresponsive" // hangs, and ignores its context
)

// A flakyStore is a table whose reads and updates can fail in several ways.
type flakyStore struct {
	table

	reads, updates behaviours
}

func (s *flakyStore) UsersAbove(ctx context.Context, minimum, limit int) (users []points.User, err error) {
	err = s.reads.call(ctx, func() error {
		users, err = s.table.UsersAbove(ctx, minimum, limit)
		return err
	})
	return users, err
}

func (s *flakyStore) UpdateAll(ctx context.Context, key uint64) (n int64, err error) {
	err = s.updates.call(ctx, func() error {
		n, err = s.table.UpdateAll(ctx, key)
		return err
	})
	return n, err
}

// behaviours controls and counts the calls of one method.
type behaviours struct {
	released chan behaviour // what a call does that hangs

	mu       sync.Mutex
	next     behaviour
	inFlight int
	latest   behaviour // of the latest call
	most     int       // maximum of inFlight
}

// call behaves as is set when it begins. If that is works, it calls work.
func (b *behaviours) call(ctx context.Context, work func() error) error {
	do := b.begin()
	defer b.end()
	if do == hangs {
		select {
		case do = <-b.released:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if do == unresponsive {
		do = <-b.released
	}
	switch do {
	case fails:
		return errStore
	case loses:
		_ = work()
		return errStore
	case skips:
		return points.ErrUpdateRunning
	case panics:
		panic("out of paper")
	default:
		return work()
	}
}

func (b *behaviours) begin() behaviour {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inFlight++
	b.most = max(b.most, b.inFlight)
	b.latest = b.next
	return b.next
}

func (b *behaviours) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inFlight--
}

// set sets the behaviour of the calls to come.
func (b *behaviours) set(next behaviour) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next = next
}

// stats returns the number of calls in flight, the behaviour of the latest call, and the maximum of calls in flight.
func (b *behaviours) stats() (inFlight int, latest behaviour, most int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.inFlight, b.latest, b.most
}

func (b *behaviours) idle() bool {
	inFlight, _, _ := b.stats()
	return inFlight == 0
}
