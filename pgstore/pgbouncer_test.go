package pgstore_test

import (
	"context"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/pgstore"
)

// Everything works behind PgBouncer in transaction mode, which gives each transaction of a client any of several
// connections, with the settings that the package documentation names.
func TestBehindPgBouncer(t *testing.T) {
	t.Run("nothing prepared", func(t *testing.T) {
		url := pgtest.PgBouncer(t, pgtest.URL(t), "")
		testBehindPgBouncer(t, url+"?default_query_exec_mode=exec&pool_max_conns=8")
	})
	t.Run("prepared statements", func(t *testing.T) {
		if !pgtest.PgBouncerPrepares(t) {
			t.Skip("this PgBouncer does not track prepared statements: install 1.21 or later")
		}
		url := pgtest.PgBouncer(t, pgtest.URL(t), "max_prepared_statements = 200")
		testBehindPgBouncer(t, url+"?pool_max_conns=8")
	})
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
