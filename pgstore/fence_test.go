package pgstore

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/points"
)

// After a crash of PostgreSQL the next lease's transaction may have the virtual id that an earlier lease's had. A batch of
// the earlier one fails all the same.
func TestFenceHoldsAfterCrash(t *testing.T) {
	server := pgtest.NewServer(t)
	pool, err := pgxpool.New(t.Context(), server.URL)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	store, err := New(pool, Config{})
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Seed(t.Context(), 1_000))
	users, err := store.table(t.Context())
	require.NoError(t, err)

	first, _ := connect(t, server.URL)
	skipTransactions(t, first, 200) // so that the id can be reached again
	tx, err := first.Begin(t.Context())
	require.NoError(t, err)
	lost, err := store.acquireLease(t.Context(), tx, users)
	require.NoError(t, err)
	proc, number := virtualID(t, tx)

	server.Kill()
	server.Start()
	pool.Reset()
	tx = transactionWithVirtualID(t, server.URL, proc, number)
	held, err := store.acquireLease(t.Context(), tx, users)
	require.NoError(t, err)

	updateWith := func(l *lease, key int64) error {
		u := &update{lease: l, key: key}
		_, err := u.updateRange(t.Context(), 1, 1_000)
		return err
	}
	require.NoError(t, updateWith(held, 2))
	require.ErrorIs(t, updateWith(lost, 1), errLeaseLost)
	read, err := store.UsersAbove(t.Context(), -1, 1_001)
	require.NoError(t, err)
	require.Len(t, read, 1_000)
	for _, u := range read {
		require.Equal(t, points.Draw(u.ID, 2), u.Points)
	}
}

func connect(t *testing.T, url string) (conn *pgx.Conn, proc int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	proc, _ = virtualID(t, conn)
	return conn, proc
}

// virtualID returns the virtual id of the running transaction: its process's number and its own.
func virtualID(t *testing.T, q querier) (proc, number int) {
	t.Helper()
	var id string
	require.NoError(t, q.QueryRow(t.Context(), "SELECT virtualxid FROM pg_locks WHERE locktype = 'virtualxid'"+
		" AND pid = pg_backend_pid()", pgx.QueryExecModeSimpleProtocol).Scan(&id))
	_, err := fmt.Sscanf(id, "%d/%d", &proc, &number)
	require.NoError(t, err)
	return proc, number
}

func skipTransactions(t *testing.T, conn *pgx.Conn, n int) {
	t.Helper()
	for range n {
		_, err := conn.Exec(t.Context(), "SELECT", pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
	}
}

// transactionWithVirtualID begins a transaction with this virtual id.
func transactionWithVirtualID(t *testing.T, url string, proc, number int) pgx.Tx {
	t.Helper()
	for range 50 {
		conn, got := connect(t, url)
		if got != proc {
			continue
		}
		_, last := virtualID(t, conn)
		require.Less(t, last, number)
		skipTransactions(t, conn, number-last-1)
		tx, err := conn.Begin(t.Context())
		require.NoError(t, err)
		t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
		gotProc, gotNumber := virtualID(t, tx)
		require.Equal(t, []int{proc, number}, []int{gotProc, gotNumber})
		return tx
	}
	assert.FailNow(t, "no connection got the process number", "%d", proc)
	return nil
}
