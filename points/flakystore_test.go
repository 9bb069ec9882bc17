package points_test

import (
	"context"
	"sync"

	"github.com/pointsapp/pointsapp/points"
)

// A mood is what a store does.
type mood string

const (
	well   mood = "well"
	fails  mood = "fails"
	panics mood = "panics"
	slow   mood = "slow" // waits until it is released, or its context ends
	deaf   mood = "deaf" // waits until it is released
)

// moody is a table whose reads and updates have moods.
type moody struct {
	table

	reads, updates moods
}

func (s *moody) UsersAbove(ctx context.Context, minimum, limit int) (users []points.User, err error) {
	err = s.reads.call(ctx, func() error {
		users, err = s.table.UsersAbove(ctx, minimum, limit)
		return err
	})
	return users, err
}

func (s *moody) UpdateAll(ctx context.Context, key uint64) (n int64, err error) {
	err = s.updates.call(ctx, func() error {
		n, err = s.table.UpdateAll(ctx, key)
		return err
	})
	return n, err
}

// moods says what calls do, and knows which are under way.
type moods struct {
	released chan mood // for a call that waits: what it does then

	mu       sync.Mutex
	mood     mood
	underWay int
	latest   mood // of the call that began last
	most     int  // under way at one moment
}

// call does what the mood is when it begins; if all is well, work.
func (m *moods) call(ctx context.Context, work func() error) error {
	mood := m.begin()
	defer m.end()
	if mood == slow {
		select {
		case mood = <-m.released:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if mood == deaf {
		mood = <-m.released
	}
	switch mood {
	case fails:
		return errStore
	case panics:
		panic("out of paper")
	default:
		return work()
	}
}

func (m *moods) begin() mood {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.underWay++
	m.most = max(m.most, m.underWay)
	m.latest = m.mood
	return m.mood
}

func (m *moods) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.underWay--
}

func (m *moods) become(mood mood) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mood = mood
}

// now returns how many calls are under way, the mood of the latest, and how many there were at most.
func (m *moods) now() (underWay int, latest mood, most int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.underWay, m.latest, m.most
}

func (m *moods) idle() bool {
	underWay, _, _ := m.now()
	return underWay == 0
}
