package backend

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
)

// Open creates no users, so that the server can listen and handle signals first. Prepare creates them, reports its
// progress, and stops when its context ends.
func TestMemoryIsPrepared(t *testing.T) {
	t.Parallel()
	open := func(users config.Users) Backend {
		cfg := config.Defaults()
		cfg.Users = users
		backend, err := Open(cfg, nil, nil)
		require.NoError(t, err)
		return backend
	}
	huge := open(math.MaxInt32)
	_, err := huge.Store().UsersAbove(t.Context(), 0, 2)
	require.ErrorIs(t, err, errNotPrepared)
	_, err = huge.Store().UpdateAll(t.Context(), 1)
	require.ErrorIs(t, err, errNotPrepared)

	const many = 12_000_000
	backend := open(many)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var seen []int64
	n, err := backend.Prepare(ctx, func(done, total int64) {
		assert.EqualValues(t, many, total)
		seen = append(seen, done)
	})
	require.NoError(t, err)
	assert.EqualValues(t, many, n)
	assert.Greater(t, len(seen), 1)
	assert.IsIncreasing(t, seen)
	assert.EqualValues(t, many, seen[len(seen)-1])
	users, err := backend.Store().UpdateAll(t.Context(), 1)
	require.NoError(t, err)
	assert.EqualValues(t, many, users)

	calls := 0
	_, err = open(many).Prepare(ctx, func(int64, int64) { calls++; cancel() })
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 1, calls)
}

func TestUsersThatDoNotFit(t *testing.T) {
	t.Parallel()
	require.NoError(t, fits(1_000_000, 10_000_000))
	require.EqualError(t, fits(1_000_000, 9_999_999), "-users (USERS): 1000000 users need 10 MB of memory, and there are 9 MB: "+
		"set fewer, or a database, see -database-url (DATABASE_URL)")
	assert.Error(t, fits(math.MaxInt64, 1<<30))
	assert.Positive(t, availableMemory())
}
