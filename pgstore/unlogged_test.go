package pgstore_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/pgstore"
)

// An unlogged table works like any other. A crash of PostgreSQL empties it, and Seed fills it again.
func TestUnloggedTable(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	pool, err := pgxpool.New(t.Context(), server.URL)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	store, err := pgstore.New(pool, pgstore.Config{})
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	execSQL(t, pool, "ALTER TABLE users SET UNLOGGED")
	require.NoError(t, store.Migrate(t.Context()), "it stays unlogged")
	use := func() {
		require.NoError(t, store.Seed(t.Context(), 1_000))
		n, err := store.UpdateAll(t.Context(), 1)
		require.NoError(t, err)
		assert.EqualValues(t, 1_000, n)
		assert.Zero(t, missed(t, pool, 1))
	}
	use()
	assert.Equal(t, "u", queryOne[string](t, pool, "SELECT relpersistence::text FROM pg_class WHERE relname = 'users'"))
	server.Kill()
	server.Start()
	require.Eventually(t, func() bool {
		n, err := store.Count(t.Context())
		return err == nil && n == 0
	}, time.Minute, 10*time.Millisecond, "it is empty")
	use()
}
