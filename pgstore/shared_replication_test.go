package pgstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
)

// A commit whose wait for a synchronous standby is cancelled stays, and others see it. So a bound that a server has only
// read may be one that the standby does not have.
func TestSharedBoundIsOnStandby(t *testing.T) {
	t.Parallel()
	primary := pgtest.NewServer(t)
	pool, err := pgxpool.New(t.Context(), primary.URL)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	first := openShared(t, pool, pgstore.Config{})
	execSQL(t, pool, "INSERT INTO users (id, points) SELECT i, 100 FROM generate_series(1, 1000) AS i")
	start(t, first, "a")
	standby := primary.Standby()
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"} {
		execSQL(t, pool, statement)
	}
	require.Eventually(t, func() bool {
		return queryOne[bool](t, pool, "SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state = 'sync'")
	}, time.Minute, 10*time.Millisecond)
	_, err = first.AnswerBatch(t.Context(), 1, 2)
	require.NoError(t, err)
	execSQL(t, pool, "UPDATE users_bound SET reserved = 1")
	standby.Kill()

	for range 3 {
		state := sharedStore(t, pool, pgstore.Config{}).Capabilities().SharedState // knows no bound
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err := state.AnswerBatch(ctx, 1, 2)
		cancel()
		assert.Error(t, err, "the standby does not have the bound of this timestamp")
		ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err = state.Sync(ctx, points.SyncRequest{Instance: "a", InstanceID: instanceID("a"), Interval: time.Hour})
		cancel()
		assert.Error(t, err, "the standby does not have the bound that Sync returns")
	}
	for _, statement := range []string{"ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"} {
		execSQL(t, pool, statement)
	}
	_, err = first.AnswerBatch(t.Context(), 1, 2)
	require.NoError(t, err)
}
