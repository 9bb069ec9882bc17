package pgstore_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
)

// A batch whose client is gone may still run in the database. The next update waits for it, as it would overwrite points
// of that update.
func TestUpdateWaitsForRunningBatches(t *testing.T) {
	const users = 1_000
	store, pool := seeded(t, pgstore.Config{BatchSize: 100, Workers: 2}, users)
	leaving, cutOff := cutOffStore(t, pool, pgstore.Config{BatchSize: users, Workers: 1})

	row, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer row.Rollback(context.Background()) //nolint:errcheck // does nothing after Commit
	_, err = row.Exec(t.Context(), "SELECT FROM users WHERE id = 1 FOR UPDATE")
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := leaving.UpdateAll(ctx, 3)
		left <- err
	}()
	requireWaiting(t, pool, "transactionid") // the batch waits for the row
	cutOff()
	cancel()
	require.ErrorIs(t, <-left, context.Canceled)

	next := make(chan error, 1)
	go func() {
		n, err := store.UpdateAll(t.Context(), 4)
		assert.EqualValues(t, users, n)
		next <- err
	}()
	requireWaiting(t, pool, "advisory") // the update waits for the batch
	assert.EqualValues(t, users, missed(t, pool, 4)+zeroDraws(t, pool, 4), "it has not begun")
	require.NoError(t, row.Commit(t.Context()))
	require.NoError(t, <-next)
	assert.Zero(t, missed(t, pool, 4))
}

// Otherwise vacuum could not remove rows that were deleted during an update, from any table of the database.
func TestLeaseHasNoSnapshot(t *testing.T) {
	store, pool := seeded(t, pgstore.Config{Workers: 1}, 1_000)
	var holders, snapshots int
	ctx := points.WithProgress(t.Context(), func(int64, int64) {
		err := pool.QueryRow(t.Context(), "SELECT count(*), count(backend_xmin) FROM pg_stat_activity"+
			" WHERE datname = current_database() AND state = 'idle in transaction'").Scan(&holders, &snapshots)
		assert.NoError(t, err)
	})
	_, err := store.UpdateAll(ctx, 1)
	require.NoError(t, err)
	assert.Equal(t, 1, holders)
	assert.Zero(t, snapshots)
}

// cutOffStore returns a store of the same table on a pool of its own. Once cutOff has been called, it cannot connect, so
// it cannot ask the database to cancel a statement either.
func cutOffStore(t *testing.T, pool *pgxpool.Pool, cfg pgstore.Config) (store *pgstore.Store, cutOff func()) {
	t.Helper()
	config := pool.Config()
	var refused atomic.Bool
	dial := config.ConnConfig.DialFunc
	config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if refused.Load() {
			return nil, errors.New("cut off")
		}
		return dial(ctx, network, address)
	}
	own, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(own.Close)
	store, err = pgstore.New(own, cfg)
	require.NoError(t, err)
	return store, func() { refused.Store(true) }
}

// requireWaiting waits until a session of the pool's database waits for a lock of this type.
func requireWaiting(t *testing.T, pool *pgxpool.Pool, event string) {
	t.Helper()
	require.Eventually(t, func() bool {
		var waiting int
		err := pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"+
			" AND wait_event_type = 'Lock' AND wait_event = $1", event).Scan(&waiting)
		return err == nil && waiting > 0
	}, 10*time.Second, 5*time.Millisecond, "no session waits for a lock of type %s", event)
}

// zeroDraws returns how many users get 0 points, which they had before.
func zeroDraws(t *testing.T, pool *pgxpool.Pool, key uint64) (n int64) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM users"+
		" WHERE (hashint8extended(id, $1) & 9223372036854775807) % 101 = 0", int64(key)).Scan(&n))
	return n
}
