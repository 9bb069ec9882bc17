package pgstore_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/pgstore"
)

func TestMigrateAtOnce(t *testing.T) {
	pool := pgtest.Pool(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			store, err := pgstore.New(pool, pgstore.Config{})
			if assert.NoError(t, err) {
				assert.NoError(t, store.Migrate(t.Context()))
			}
		})
	}
	wg.Wait()
	var version, server int
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT max(version), current_setting('server_version_num')::int FROM users_migrations").Scan(&version, &server))
	assert.Equal(t, 1, version)
	var brin int
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_indexes WHERE tablename = 'users' AND indexdef LIKE '%brin%'").Scan(&brin))
	if server >= 160000 {
		assert.Equal(t, 1, brin, "since PostgreSQL 16 a BRIN index leaves updates heap-only")
	} else {
		assert.Zero(t, brin, "before PostgreSQL 16 a BRIN index keeps updates from being heap-only")
	}
}

func TestSeed(t *testing.T) {
	store, pool := open(t, pgstore.Config{}, nil)
	require.EqualError(t, store.Seed(t.Context(), -1, nil), "pgstore: the number of users cannot be negative: -1")
	require.NoError(t, store.Seed(t.Context(), 0, nil))
	assertUsers(t, store, 0)

	var done []int64
	require.NoError(t, store.Seed(t.Context(), 120_000, func(n, total int64) {
		assert.EqualValues(t, 120_000, total)
		done = append(done, n)
	}))
	assert.Equal(t, []int64{0, 50_000, 100_000, 120_000}, done)
	assertUsers(t, store, 120_000)
	var most, first, last int64
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT max(points), min(id), max(id) FROM users").Scan(&most, &first, &last))
	assert.Equal(t, []int64{0, 1, 120_000}, []int64{most, first, last})
	var known int64
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT reltuples FROM pg_class WHERE oid = 'users'::regclass").Scan(&known))
	assert.EqualValues(t, 120_000, known, "statistics are fresh")

	require.NoError(t, store.Seed(t.Context(), 130_000, func(int64, int64) { assert.Fail(t, "a table with users is left alone") }))
	assertUsers(t, store, 120_000)
}

func assertUsers(t *testing.T, store *pgstore.Store, want int64) {
	t.Helper()
	n, err := store.Count(t.Context())
	require.NoError(t, err)
	assert.Equal(t, want, n)
}

// A Seed that was interrupted, between its transactions or in one, is resumed by the next one.
func TestSeedResumes(t *testing.T) {
	store, pool := open(t, pgstore.Config{}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	require.Error(t, store.Seed(ctx, 200_000, func(n, _ int64) {
		if n > 0 {
			cancel()
		}
	}))
	cancel()
	assertUsers(t, store, 50_000)

	ctx, cancel = context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil && cutActive(ctx, pool, "INSERT") == 0 {
		}
	})
	require.ErrorContains(t, store.Seed(ctx, 200_000, nil), "pgstore: filling table users: ")
	cancel()
	wg.Wait()

	var first int64 = -1
	require.NoError(t, store.Seed(t.Context(), 200_000, func(n, _ int64) {
		if first < 0 {
			first = n
		}
	}))
	assert.GreaterOrEqual(t, first, int64(50_000), "it goes on where it was")
	assertUsers(t, store, 200_000)
}

func TestSeedAtOnce(t *testing.T) {
	_, pool := open(t, pgstore.Config{}, nil)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			store, err := pgstore.New(pool, pgstore.Config{})
			if assert.NoError(t, err) {
				assert.NoError(t, store.Seed(t.Context(), 60_000, nil))
			}
		})
	}
	wg.Wait()
	store, err := pgstore.New(pool, pgstore.Config{})
	require.NoError(t, err)
	assertUsers(t, store, 60_000)
}
