package e2e_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/internal/pgtest"
)

// When the primary dies and its standby is promoted, a server that knows both goes on by itself.
func TestFailover(t *testing.T) {
	t.Parallel()
	primary := pgtest.NewServer(t)
	standby := primary.Standby()
	u, err := url.Parse(primary.URL)
	require.NoError(t, err)
	other, err := url.Parse(standby.URL)
	require.NoError(t, err)
	u.Host += "," + other.Host
	u.RawQuery += "&target_session_attrs=read-write"
	cfg := configFor(u.String())
	cfg.Users, cfg.Interval, cfg.QueryTimeout = 2000, config.Duration(200*time.Millisecond), config.Duration(faultQueryTimeout)
	s := &testbed{users: 2000, testServer: startReady(t, cfg)}
	s.prober = startProber(t, s.testServer)
	s.prober.until(t, "answers", func() bool { return s.prober.successes() >= 100 })
	follower := connect(t, standby.URL)
	require.Eventually(t, func() bool {
		var updated int
		err := follower.QueryRow(t.Context(), "SELECT count(*) FROM users WHERE points > 0").Scan(&updated)
		return err == nil && updated > 0
	}, patience, pollInterval)

	s.prober.mark()
	primary.Kill()
	s.prober.until(t, "503", func() bool { return s.prober.statuses[http.StatusServiceUnavailable] >= 20 })
	require.Eventually(t, func() bool {
		return s.get(t, "/readyz").status == http.StatusServiceUnavailable
	}, patience, pollInterval)
	s.prober.mark()
	standby.Promote()
	t.Logf("recovery time %v since the promotion began", s.prober.recoveryTime(t).Round(time.Millisecond))
	require.Eventually(t, func() bool { return s.get(t, "/readyz").status == http.StatusOK }, patience, pollInterval)
	require.Eventually(t, func() bool {
		var updated int64
		err := follower.QueryRow(t.Context(), "SELECT count(*) FROM users WHERE updated_at > $1", s.prober.since).Scan(&updated)
		return err == nil && updated == s.users
	}, patience, pollInterval, "no update reaches all users")
	s.prober.stop()
	assert.Empty(t, s.prober.violations)
	assert.Zero(t, s.hungQueries(t))
}
