package e2e_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/internal/pgtest"
)

// readyState is the part of /readyz that the tests below need.
type readyState struct {
	Paused bool `json:"paused"`
	Shared struct {
		Instance  string `json:"instance"`
		Instances []struct {
			Instance string `json:"instance"`
		} `json:"instances"`
		Ticks   int `json:"ticks"`
		Running struct {
			Instance string `json:"instance"`
		} `json:"running"`
		LastSuccess struct {
			Instance string `json:"instance"`
		} `json:"last_success"`
	} `json:"shared"`
}

func (r *testServer) ready(t *testing.T) (state readyState) {
	t.Helper()
	require.NoError(t, json.Unmarshal(r.get(t, "/readyz").body, &state))
	return state
}

// instances returns the names of the servers that a server sees.
func (r *testServer) instances(t *testing.T) string {
	t.Helper()
	instances := r.ready(t).Shared.Instances
	names := make([]string, len(instances))
	for i := range instances {
		names[i] = instances[i].Instance
	}
	return strings.Join(names, " ")
}

// sharedConfig returns a configuration of a server with a shared state and this name, whose ticks are an hour apart.
func sharedConfig(connection, instance string) config.Config {
	cfg := configFor(connection)
	cfg.Shared, cfg.Instance, cfg.ControlToken = true, config.Instance(instance), token
	cfg.Interval = config.Duration(time.Hour)
	return cfg
}

// previous returns the timestamp in the answer to a query.
func (r *testServer) previous(t *testing.T) *string {
	t.Helper()
	result, err := parseResult(r.get(t, "/"))
	require.NoError(t, err)
	return result.Timestamp
}

// Two servers act as one: one order of queries, one update at the start, the same updates and servers in their answers.
// Controls act on both, whichever gets them. A restart keeps the order and adds no update.
func TestTwoServers(t *testing.T) {
	t.Parallel()
	connection := pgtest.URL(t)
	one := startReady(t, sharedConfig(connection, "one"))
	untilUpdated(t, one)
	two := startReady(t, sharedConfig(connection, "two"))
	for _, r := range []*testServer{one, two} {
		require.Eventually(t, func() bool { return r.instances(t) == "one two" }, patience, pollInterval)
	}
	assert.Equal(t, "two", two.ready(t).Shared.Instance)
	require.Eventually(t, func() bool { return two.ready(t).Shared.LastSuccess.Instance == "one" }, patience, pollInterval)
	assert.Equal(t, 1, two.ready(t).Shared.Ticks)

	assert.Nil(t, one.previous(t), "there was no query before the first")
	first, second := *two.previous(t), *one.previous(t)
	assert.Less(t, first, second)

	require.Equal(t, http.StatusAccepted, two.control(t, "update", "").status)
	updates := func(r *testServer) string { return string(r.get(t, "/updates").body) }
	require.Eventually(t, func() bool {
		return strings.Count(updates(one), `"failed":false}`) == 2 && updates(one) == updates(two)
	},
		patience, pollInterval)
	assert.Regexp(t, `^{"updates":\[{"instance":"one",.*},{"instance":"two",.*}\]}$`, updates(one))
	require.Eventually(t, func() bool { return one.ready(t).Shared.LastSuccess.Instance == "two" }, patience, pollInterval)

	// The ticks of both, then of none.
	require.Equal(t, http.StatusNoContent, one.control(t, "interval", `{"interval":"50ms"}`).status)
	require.Eventually(t, func() bool { return two.ready(t).Shared.Ticks > 10 }, patience, pollInterval)
	for _, r := range []*testServer{one, two} {
		require.Eventually(t, func() bool {
			return strings.Contains(r.log.String(), `msg="the interval has changed" interval=50ms before=`)
		}, patience, pollInterval)
	}
	require.Equal(t, http.StatusNoContent, one.control(t, "pause", "").status)
	require.Eventually(t, func() bool { return two.ready(t).Paused }, patience, pollInterval)
	ticks := one.ready(t).Shared.Ticks
	require.Equal(t, http.StatusNoContent, two.control(t, "interval", `{"interval":"1h"}`).status)
	assert.Equal(t, ticks, two.ready(t).Shared.Ticks)
	require.Eventually(t, func() bool { return claimed(t, one)+claimed(t, two) == ticks }, patience, pollInterval,
		"each tick is of one server")
	require.Equal(t, http.StatusNoContent, two.control(t, "resume", "").status)
	require.Eventually(t, func() bool { return !one.ready(t).Paused }, patience, pollInterval)

	require.NoError(t, one.stop())
	require.Eventually(t, func() bool { return two.instances(t) == "two" }, patience, pollInterval)
	third := *two.previous(t)
	one = startReady(t, sharedConfig(connection, "one"))
	fourth := one.previous(t)
	require.NotNil(t, fourth, "it survives the restart")
	assert.Less(t, third, *fourth)
	require.Eventually(t, func() bool { return one.instances(t) == "one two" }, patience, pollInterval)
	assert.Equal(t, ticks, one.ready(t).Shared.Ticks)
	assert.Zero(t, claimed(t, one))
}

// claimed returns the number of ticks that a server has claimed.
func claimed(t *testing.T, r *testServer) (ticks int) {
	t.Helper()
	for line := range strings.Lines(string(r.get(t, "/metrics").body)) {
		if value, ok := strings.CutPrefix(line, "points_ticks_total"); ok {
			_, value, _ = strings.Cut(strings.TrimSpace(value), " ")
			n, err := strconv.Atoi(value)
			require.NoError(t, err)
			ticks += n
		}
	}
	return ticks
}

// Without a shared state each server has its own order, its own ticks and its own updates.
func TestServersWithTheirOwnState(t *testing.T) {
	t.Parallel()
	connection := pgtest.URL(t)
	own := func(name string) config.Config {
		cfg := sharedConfig(connection, name)
		cfg.Shared = false
		return cfg
	}
	one := startReady(t, own("one"))
	untilUpdated(t, one)
	two := startReady(t, own("two"))
	untilUpdated(t, two)
	for _, r := range []*testServer{one, two} {
		assert.NotContains(t, string(r.get(t, "/readyz").body), "shared")
		assert.Nil(t, r.previous(t))
		assert.NotNil(t, r.previous(t))
		assert.Equal(t, 1, strings.Count(string(r.get(t, "/updates").body), `"failed":false}`))
	}
	assert.NotContains(t, string(one.get(t, "/updates").body), "instance")
	require.Equal(t, http.StatusNoContent, one.control(t, "pause", "").status)
	assert.True(t, one.ready(t).Paused)
	assert.False(t, two.ready(t).Paused)
}

// An update of one server is seen at the other one, which rejects another update meanwhile.
func TestUpdateOfAnotherServer(t *testing.T) {
	t.Parallel()
	connection := pgtest.URL(t)
	one := startReady(t, sharedConfig(connection, "one"))
	untilUpdated(t, one)
	two := startReady(t, sharedConfig(connection, "two"))
	tx, err := connect(t, connection).Begin(t.Context())
	require.NoError(t, err)
	exec(t, tx.Conn(), "SELECT FROM users FOR UPDATE")
	require.Equal(t, http.StatusAccepted, one.control(t, "update", "").status)
	require.Eventually(t, func() bool { return two.ready(t).Shared.Running.Instance == "one" }, patience, pollInterval)
	assertProblem(t, two.control(t, "update", ""), http.StatusConflict, "An update is already running, on another server.")
	require.NoError(t, tx.Rollback(t.Context()))
	require.Eventually(t, func() bool { return two.ready(t).Shared.Running.Instance == "" }, patience, pollInterval)
}
