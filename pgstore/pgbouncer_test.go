package pgstore_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
)

// Everything works behind PgBouncer in transaction mode, which gives each transaction of a client any of several
// connections, with the settings that the package documentation names.
func TestBehindPgBouncer(t *testing.T) {
	t.Run("nothing prepared", func(t *testing.T) {
		url := pgtest.PgBouncer(t, pgtest.URL(t), "")
		testBehindPgBouncer(t, url+"?default_query_exec_mode=exec&pool_max_conns=8")
	})
	t.Run("prepared statements", func(t *testing.T) {
		pgtest.SkipWithoutPreparedStatements(t)
		url := pgtest.PgBouncer(t, pgtest.URL(t), "max_prepared_statements = 200")
		testBehindPgBouncer(t, url+"?pool_max_conns=8")
	})
}

// Transactions do not work in statement mode: the error names the setting.
func TestPgBouncerInStatementMode(t *testing.T) {
	pool, err := pgxpool.New(t.Context(), pgtest.PgBouncer(t, pgtest.URL(t), "pool_mode = statement")+
		"?default_query_exec_mode=exec")
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	store, err := pgstore.New(pool, pgstore.Config{})
	require.NoError(t, err)
	require.ErrorContains(t, store.Migrate(t.Context()), "set pool_mode = transaction in PgBouncer")
}

// An update holds one connection to the database and needs others: with a single one, its error names the setting.
func TestPgBouncerWithOneConnection(t *testing.T) {
	pool, err := pgxpool.New(t.Context(), pgtest.PgBouncer(t, pgtest.URL(t), "default_pool_size = 1")+
		"?default_query_exec_mode=exec&pool_max_conns=8")
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	store, err := pgstore.New(pool, pgstore.Config{RetryTimeout: 2 * time.Second})
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Seed(t.Context(), 100))
	_, err = store.UpdateAll(t.Context(), 1)
	require.ErrorContains(t, err, "a pooler must allow Config.Workers + 2 = 4 connections to it (default_pool_size of PgBouncer)")
	users, err := store.UsersAbove(t.Context(), -1, 2)
	require.NoError(t, err)
	assert.Len(t, users, 2)
}

// PgBouncer ends transactions that are idle for longer than idle_transaction_timeout. The lease of an update is never
// idle for a second.
func TestPgBouncerWithIdleTransactionTimeout(t *testing.T) {
	direct := pgtest.Pool(t)
	pool, err := pgxpool.New(t.Context(), pgtest.PgBouncer(t, direct.Config().ConnString(), "idle_transaction_timeout = 2")+
		"?default_query_exec_mode=exec&pool_max_conns=8")
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	store, err := pgstore.New(pool, pgstore.Config{Workers: 1})
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Seed(t.Context(), 3_000))
	slept := false
	n, err := store.UpdateAll(points.WithProgress(t.Context(), func(_, _ int64) {
		if !slept {
			slept = true
			execSQL(t, direct, "SELECT pg_sleep(5)")
		}
	}), 1)
	require.NoError(t, err)
	assert.EqualValues(t, 3_000, n)
}

func testBehindPgBouncer(t *testing.T, url string) {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(pool.Close)

	store, err := pgstore.New(pool, pgstore.Config{BatchSize: 1000})
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			assert.NoError(t, store.Migrate(t.Context()))
			assert.NoError(t, store.Seed(t.Context(), 20_000))
		})
	}
	wg.Wait()
	require.NoError(t, store.Migrate(t.Context()))
	assertUsers(t, store, 20_000)

	ctx, stop := context.WithCancel(t.Context())
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				for _, above := range []int{0, 50, 99, 100} {
					users, err := store.UsersAbove(t.Context(), above, 2) //nolint:contextcheck // ctx stops the loop alone
					assert.NoError(t, err)
					assert.NotNil(t, users)
				}
			}
		})
	}
	for key := range uint64(3) {
		n, err := store.UpdateAll(t.Context(), key)
		require.NoError(t, err)
		assert.EqualValues(t, 20_000, n)
		assert.Zero(t, missed(t, pool, key))
	}
	stop()
	wg.Wait()
}
