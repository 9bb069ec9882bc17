package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/pgstore"
)

// A server whose updates are skipped because another process is updating the table is healthy: in its log, at /readyz
// and /updates, and in its metrics.
func TestSkippedUpdatesAreNoFailures(t *testing.T) {
	t.Parallel()
	connection := pgtest.URL(t)
	cfg := configFor(connection)
	cfg.UpdateOnStart, cfg.Interval, cfg.ControlToken = false, config.Duration(time.Hour), token
	r := startReady(t, cfg)
	tx, err := connect(t, connection).Begin(t.Context())
	require.NoError(t, err)
	exec(t, tx.Conn(), "SELECT FROM users FOR UPDATE") // updates wait, reads do not
	pool, err := pgxpool.New(t.Context(), connection)
	require.NoError(t, err)
	t.Cleanup(pool.Close) // after the end of t.Context, which ends the update
	other, err := pgstore.New(pool, pgstore.Config{RetryTimeout: time.Hour})
	require.NoError(t, err)
	updated := make(chan error, 1)
	go func() {
		_, err := other.UpdateAll(t.Context(), 1)
		updated <- err
	}()
	requireUpdateWaits(t, connect(t, connection))
	metrics := func() string { return string(r.get(t, "/metrics").body) }
	const skips = 5 // more than the failures that open the circuit breaker
	for i := range skips {
		r.startUpdate(t)
		line := fmt.Sprintf("\npoints_update_duration_seconds_count{outcome=\"skipped\"} %d\n", i+1)
		require.Eventually(t, func() bool { return strings.Contains(metrics(), line) }, patience, pollInterval, line)
	}
	ready := string(r.get(t, "/readyz").body)
	assert.Contains(t, ready, `"breaker":"closed"`)
	assert.NotContains(t, ready, "last_failure")
	require.Eventually(t, func() bool { return string(r.get(t, "/updates").body) == `{"updates":[]}` }, patience, pollInterval)
	assert.Contains(t, metrics(), "\npoints_update_failures 0\n")
	assert.NotContains(t, r.log.String(), "level=ERROR")

	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, <-updated)
	r.startUpdate(t)
	untilUpdated(t, r)
}

// requireUpdateWaits waits until an update waits for a lock.
func requireUpdateWaits(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	require.Eventually(t, func() (waits bool) {
		return assert.NoError(t, conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity"+
			" WHERE datname = current_database() AND query LIKE 'UPDATE%' AND wait_event_type = 'Lock')").Scan(&waits)) && waits
	}, patience, pollInterval)
}

// The cooldown of the circuit breaker is a number of ticks, not a time: a shorter interval, set by /control, shortens it.
func TestCooldownFollowsTheInterval(t *testing.T) {
	t.Parallel()
	connection := pgtest.URL(t)
	cfg := configFor(connection)
	cfg.UpdateOnStart, cfg.Interval, cfg.ControlToken = false, config.Duration(24*time.Hour), token
	r := startReady(t, cfg)
	admin := connect(t, connection)
	exec(t, admin, "ALTER TABLE users ADD CONSTRAINT zero CHECK (points = 0)") // no update keeps to it
	breakerOpen := func() bool { return strings.Contains(string(r.get(t, "/readyz").body), `"breaker":"open"`) }
	require.Eventually(t, func() bool {
		r.control(t, "update", "")
		return breakerOpen()
	}, patience, pollInterval, "three updates fail")
	exec(t, admin, "ALTER TABLE users DROP CONSTRAINT zero")
	require.Equal(t, http.StatusNoContent, r.control(t, "interval", `{"interval":"100ms"}`).status)
	untilUpdated(t, r)
	assert.False(t, breakerOpen())
}
