package main

import (
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
)

// A server that was killed repeatedly, while it seeded its table and while it updated it, starts and updates every
// user.
func TestKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	const users, patience = 100_000, 5 * time.Minute
	url := pgtest.URL(t)
	pool, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	defer pool.Close()
	count := func(query string, args ...any) (n int) {
		if err := pool.QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
			return 0 // there is no table yet
		}
		return n
	}
	args := []string{"-addr=127.0.0.1:0", "-users=100000", "-interval=1ms", "-database-url", url}
	kill := func(when func() bool) {
		server, _ := command(t, args)
		require.NoError(t, server.Start())
		require.Eventually(t, when, patience, time.Millisecond)
		require.NoError(t, server.Process.Kill())
		require.Error(t, server.Wait())
	}
	active := func(statement string) func() bool {
		return func() bool {
			return count("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"+
				" AND query LIKE $1 || '%' AND state = 'active'", statement) > 0
		}
	}
	for range 4 {
		kill(active("INSERT"))
		require.Zero(t, count("SELECT count(*) FROM users"), "seeding is all or nothing")
	}
	for range 5 {
		kill(active("UPDATE"))
	}

	began := time.Now()
	server, _ := command(t, args)
	require.NoError(t, server.Start())
	require.Eventually(t, func() bool {
		return count("SELECT count(*) FROM users WHERE points BETWEEN 0 AND 100 AND updated_at > $1", began) == users
	}, patience, 10*time.Millisecond, "no update reaches all users")
	assert.Equal(t, users, count("SELECT count(*) FROM users"))
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	require.NoError(t, server.Wait())
}
