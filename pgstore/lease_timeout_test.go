package pgstore

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
)

// leaseStore returns the store of a new table with 1,000 users and a short leaseTimeout.
func leaseStore(t *testing.T) (*Store, *table) {
	t.Helper()
	store, err := New(pgtest.Pool(t), Config{BatchSize: 100})
	require.NoError(t, err)
	store.leaseTimeout = time.Second
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Seed(t.Context(), 1_000))
	users, err := store.table(t.Context())
	require.NoError(t, err)
	return store, users
}

// A process that is stopped, by SIGSTOP or with its machine, sends nothing and closes nothing. The next update begins
// soon all the same, whether the stopped process holds the lease or is in the middle of a batch, and what the process
// does when it goes on has no effect.
func TestLeaseOfStoppedProcessEnds(t *testing.T) {
	store, users := leaseStore(t)
	holder, err := store.pool.Begin(t.Context())
	require.NoError(t, err)
	defer holder.Rollback(context.Background()) //nolint:errcheck // its connection is gone
	lost, err := store.acquireLease(t.Context(), holder, users)
	require.NoError(t, err)
	batch, err := store.pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	require.NoError(t, err)
	defer batch.Rollback(context.Background()) //nolint:errcheck // its connection is gone
	_, err = batch.Exec(t.Context(), beginQuery, lost.batchLock, store.leaseTimeout.Milliseconds())
	require.NoError(t, err)

	require.Eventually(t, func() bool {
		n, err := store.UpdateAll(t.Context(), 1)
		return err == nil && n == 1_000
	}, time.Minute, 10*time.Millisecond)
	_, err = batch.Exec(t.Context(), "UPDATE users SET points = 0")
	require.Error(t, err)
	require.Error(t, holder.Commit(t.Context()))
	_, err = (&update{lease: lost, key: 2}).updateRange(t.Context(), 1, 1_000)
	require.ErrorIs(t, err, errLeaseLost)
}

// An update that takes longer than the timeout keeps its lease, also while none of its batches runs.
func TestLeaseOfLongUpdateIsKept(t *testing.T) {
	store, users := leaseStore(t)
	err := store.withLease(t.Context(), users, func(ctx context.Context, l *lease) error {
		select {
		case <-ctx.Done():
		case <-time.After(3 * store.leaseTimeout):
		}
		_, err := (&update{lease: l, key: 2}).updateRange(ctx, 1, 1_000)
		return err
	})
	require.NoError(t, err)
}

// An update that waits longer than the timeout for a batch of an earlier one keeps its lease.
func TestLeaseIsKeptWhileBatchesRun(t *testing.T) {
	store, users := leaseStore(t)
	batch, err := store.pool.Begin(t.Context())
	require.NoError(t, err)
	defer batch.Rollback(context.Background()) //nolint:errcheck // does nothing after Commit
	_, err = batch.Exec(t.Context(), "SELECT pg_advisory_xact_lock_shared(hashtextextended($1::oid::text, $2))",
		users.oid, -updateLock)
	require.NoError(t, err)
	updated := make(chan error, 1)
	go func() {
		_, err := store.UpdateAll(t.Context(), 1)
		updated <- err
	}()
	require.Eventually(t, func() bool {
		var waited bool
		err := store.pool.QueryRow(t.Context(), "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database()"+
			" AND wait_event = 'advisory' AND clock_timestamp() - query_start > interval '3s'").Scan(&waited)
		return err == nil && waited
	}, time.Minute, 10*time.Millisecond)
	require.NoError(t, batch.Commit(t.Context()))
	require.NoError(t, <-updated)
}

// An update whose lease is lost ends, even if it is between two batches.
func TestLeaseLostEndsUpdate(t *testing.T) {
	store, users := leaseStore(t)
	err := store.withLease(t.Context(), users, func(ctx context.Context, _ *lease) error {
		_, err := store.pool.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"+
			" WHERE pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted)")
		if assert.NoError(t, err) {
			<-ctx.Done()
		}
		return ctx.Err()
	})
	require.ErrorIs(t, err, errLeaseLost)
	n, err := store.UpdateAll(t.Context(), 3)
	require.NoError(t, err)
	assert.EqualValues(t, 1_000, n)
}
