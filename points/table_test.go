package points_test

import (
	"context"
	"slices"
	"sync"

	"github.com/pointsapp/pointsapp/points"
)

// A table is a store of few users. A read finds all users at one moment; an update changes one user after the other.
type table struct {
	// hook is called at each position where other calls may interleave. It may be nil.
	hook func(at position)

	mu    sync.Mutex
	users []points.User
}

type position int

const (
	beforeUsers position = iota // a read has begun
	afterUsers                  // a read has found its users
	inUpdate                    // an update is about to change a user
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

func (s *table) at(at position) {
	if s.hook != nil {
		s.hook(at)
	}
}

// above returns the first users with more than minimum points, at most limit.
func above(users []points.User, minimum, limit int) []points.User {
	found := slices.Clone(users)
	found = slices.DeleteFunc(found, func(u points.User) bool { return u.Points <= minimum })
	return found[:min(limit, len(found))]
}

// An immediateTable is a table with ImmediateReads.
type immediateTable struct{ *table }

func (immediateTable) Capabilities() points.Capabilities {
	return points.Capabilities{ImmediateReads: true}
}
