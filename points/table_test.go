package points_test

import (
	"context"
	"slices"
	"sync"

	"github.com/pointsapp/pointsapp/points"
)

// A table is a store of few users. A read finds all users at one moment; an update gives one after the other its
// points.
type table struct {
	// hold is called where others may come in between. It may be nil.
	hold func(at place)

	mu    sync.Mutex
	users []points.User
}

type place int

const (
	beforeUsers place = iota // of a read: it has begun
	afterUsers               // of a read: it has found its users
	inUpdate                 // before each user's change
)

func (s *table) UsersAbove(_ context.Context, minimum, limit int) ([]points.User, error) {
	s.at(beforeUsers)
	s.mu.Lock()
	users := above(s.users, minimum, limit)
	s.mu.Unlock()
	s.at(afterUsers)
	return users, nil
}

func (s *table) UpdateAll(ctx context.Context, key uint64) (int64, error) {
	for i := range s.users {
		s.at(inUpdate)
		if ctx.Err() != nil {
			return int64(i), ctx.Err()
		}
		s.mu.Lock()
		s.users[i].Points = points.Draw(s.users[i].ID, key)
		s.mu.Unlock()
	}
	return int64(len(s.users)), nil
}

func (s *table) Capabilities() points.Capabilities { return points.Capabilities{} }

func (s *table) at(at place) {
	if s.hold != nil {
		s.hold(at)
	}
}

// above returns the first of users that are above minimum, at most limit.
func above(users []points.User, minimum, limit int) []points.User {
	found := slices.Clone(users)
	found = slices.DeleteFunc(found, func(u points.User) bool { return u.Points <= minimum })
	return found[:min(limit, len(found))]
}

// immediateTable is a table whose reads an engine takes to be immediate.
type immediateTable struct{ *table }

func (immediateTable) Capabilities() points.Capabilities {
	return points.Capabilities{ImmediateReads: true}
}
