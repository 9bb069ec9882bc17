package backend

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/points"
)

// memory is the backend of users in memory, and also its store. Prepare creates the users, which takes seconds for a
// billion users.
type memory struct {
	want  config.Users
	users atomic.Pointer[memstore.Store] // nil before Prepare
}

var errNotPrepared = errors.New("the users have not been created yet")

func (m *memory) Store() points.Store        { return m }
func (m *memory) Name() string               { return "memory" }
func (m *memory) Ping(context.Context) error { return nil }
func (m *memory) Close()                     {}

func (m *memory) Prepare(ctx context.Context, progress func(done, total int64)) (int64, error) {
	if err := fits(m.want, availableMemory()); err != nil {
		return 0, err
	}
	const many = 10_000_000 // fewer are created within the start of the process
	if m.want > many {
		ctx = points.WithProgress(ctx, progress)
	}
	users, err := memstore.NewContext(ctx, int(m.want))
	if err != nil {
		return 0, fmt.Errorf("-users (USERS): %w", err)
	}
	m.users.Store(users)
	return int64(users.Len()), nil
}

// fits returns an error if the users need more than the available bytes of memory.
func fits(users config.Users, available uint64) error {
	const mega = 1_000_000
	need := memstore.Memory(int64(min(users, math.MaxInt32)))
	if uint64(need) > available { //nolint:gosec // it is not negative
		return fmt.Errorf("-users (USERS): %d users need %d MB of memory, and there are %d MB: set fewer, or a database, "+
			"see -database-url (DATABASE_URL)", users, need/mega, available/mega)
	}
	return nil
}

// availableMemory returns how many bytes of memory the machine has, or the container may use.
func availableMemory() uint64 {
	var least uint64 = math.MaxUint64
	for _, provider := range []memlimit.Provider{memlimit.FromCgroup, memlimit.FromSystem} {
		if limit, err := provider(); err == nil && limit > 0 { // an error means that it is unknown, or not limited
			least = min(least, limit)
		}
	}
	return least
}

// Capabilities implements points.Store.
func (m *memory) Capabilities() points.Capabilities { return (*memstore.Store)(nil).Capabilities() }

// UsersAbove implements points.Store.
func (m *memory) UsersAbove(ctx context.Context, min, limit int) ([]points.User, error) {
	users := m.users.Load()
	if users == nil {
		return nil, errNotPrepared
	}
	return users.UsersAbove(ctx, min, limit)
}

// UpdateAll implements points.Store.
func (m *memory) UpdateAll(ctx context.Context, key uint64) (int64, error) {
	users := m.users.Load()
	if users == nil {
		return 0, errNotPrepared
	}
	return users.UpdateAll(ctx, key)
}
