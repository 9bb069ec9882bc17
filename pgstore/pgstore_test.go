package pgstore_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
	"github.com/pointsapp/pointsapp/points/storetest"
)

// open returns the store of a new table with these users, and the pool that it is on.
func open(tb testing.TB, cfg pgstore.Config, ids []int64) (*pgstore.Store, *pgxpool.Pool) {
	tb.Helper()
	return openAs(tb, "", cfg, ids)
}

// openAs does what open does with a table that exists before Migrate, made by this SQL.
func openAs(tb testing.TB, create string, cfg pgstore.Config, ids []int64) (*pgstore.Store, *pgxpool.Pool) {
	tb.Helper()
	pool := setup{create: create}.open(tb)
	return openOn(tb, pool, cfg, ids), pool
}

// openOn returns the store of a table with these users, in a database that has at most the empty table.
func openOn(tb testing.TB, pool *pgxpool.Pool, cfg pgstore.Config, ids []int64) *pgstore.Store {
	tb.Helper()
	store, err := pgstore.New(pool, cfg)
	require.NoError(tb, err)
	require.NoError(tb, store.Migrate(tb.Context()))
	pgtest.Distribute(tb, pool)
	require.NoError(tb, store.Check(tb.Context()))
	_, err = pool.CopyFrom(tb.Context(), pgx.Identifier{"users"}, []string{"id"},
		pgx.CopyFromSlice(len(ids), func(i int) ([]any, error) { return []any{ids[i]}, nil }))
	require.NoError(tb, err)
	return store
}

// seeded returns the store of a new table with users 1..n, as Seed leaves it.
func seeded(tb testing.TB, cfg pgstore.Config, n int64) (*pgstore.Store, *pgxpool.Pool) {
	tb.Helper()
	store, pool := open(tb, cfg, nil)
	require.NoError(tb, store.Seed(tb.Context(), n))
	return store, pool
}

func TestStore(t *testing.T) {
	t.Parallel()
	for name, setup := range setups() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(tb testing.TB, ids []int64) points.Store {
				store := openOn(tb, setup.open(tb), pgstore.Config{BatchSize: 3000}, ids)
				pgstore.TolerateBusyMachine(store)
				return store
			})
		})
	}
}

func BenchmarkStore(b *testing.B) {
	storetest.Benchmark(b, func(tb testing.TB, ids []int64) points.Store {
		store, _ := open(tb, pgstore.Config{}, ids)
		return store
	})
}

func TestNew(t *testing.T) {
	pool := lazyPool(t, "pool_max_conns=4")
	for name, test := range map[string]struct {
		pool *pgxpool.Pool
		cfg  pgstore.Config
		want string
	}{
		"no pool":    {nil, pgstore.Config{}, "pgstore: New needs a pool, got nil"},
		"batch size": {pool, pgstore.Config{BatchSize: -1}, "pgstore: Config.BatchSize must be at least 1, got -1"},
		"workers":    {pool, pgstore.Config{Workers: -1}, "pgstore: Config.Workers must be at least 1, got -1"},
		"pause":      {pool, pgstore.Config{BatchDelay: -1}, "pgstore: Config.BatchDelay must not be negative, got -1ns"},
		"retry":      {pool, pgstore.Config{RetryTimeout: -1}, "pgstore: Config.RetryTimeout must not be negative, got -1ns"},
		"long table": {
			pool, pgstore.Config{Table: strings.Repeat("x", 52)},
			"pgstore: Config.Table must be at most 51 bytes, got 52",
		},
		"long table, not in runes": {
			pool, pgstore.Config{Table: strings.Repeat("ü", 26)},
			"pgstore: Config.Table must be at most 51 bytes, got 52",
		},
		"long schema": {
			pool, pgstore.Config{Schema: strings.Repeat("x", 64)},
			"pgstore: Config.Schema must be at most 63 bytes, got 64",
		},
		"zero byte": {
			pool, pgstore.Config{Table: "us\x00ers"},
			`pgstore: Config.Table must not contain a zero byte, got "us\x00ers"`,
		},
		"small a pool": {pool, pgstore.Config{Workers: 3}, "pgstore: the pool must allow at least Config.Workers + 2 = 5 connections, got 4: set pool_max_conns=5 or fewer Workers"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pgstore.New(test.pool, test.cfg)
			require.EqualError(t, err, test.want)
		})
	}
}

// lazyPool returns a pool that connects to nothing.
func lazyPool(t *testing.T, params string) *pgxpool.Pool {
	pool, err := pgxpool.New(t.Context(), "postgres://127.0.0.1:1/none?connect_timeout=2&"+params)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func TestDatabaseAway(t *testing.T) {
	store, err := pgstore.New(lazyPool(t, "pool_max_conns=4"), pgstore.Config{})
	require.NoError(t, err)
	for name, call := range map[string]func(context.Context) error{
		"Migrate":    store.Migrate,
		"Check":      store.Check,
		"Ping":       store.Ping,
		"Count":      func(ctx context.Context) error { _, err := store.Count(ctx); return err },
		"Seed":       func(ctx context.Context) error { return store.Seed(ctx, 1) },
		"UsersAbove": func(ctx context.Context) error { _, err := store.UsersAbove(ctx, 1, 2); return err },
		"UpdateAll":  func(ctx context.Context) error { _, err := store.UpdateAll(ctx, 1); return err },
	} {
		t.Run(name, func(t *testing.T) {
			err := call(t.Context())
			require.ErrorContains(t, err, "pgstore: ")
			assert.ErrorContains(t, err, "127.0.0.1:1")
		})
	}
}
