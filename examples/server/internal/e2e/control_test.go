package e2e_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/internal/pgtest"
)

// token is the control token of servers in tests.
const token = "a token of the tests"

// post posts to a path with an Authorization header, and returns the answer, which conforms to the API's description.
func (r *testServer) post(t *testing.T, path, authorization, body string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+path, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Authorization", authorization)
	response, err := r.client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	a := answer{response.StatusCode, response.Header, read}
	require.NoError(t, conforms(http.MethodPost, r.url+path, a))
	return a
}

func (r *testServer) control(t *testing.T, action, body string) answer {
	t.Helper()
	return r.post(t, "/control/"+action, "Bearer "+token, body)
}

// startUpdate starts an update, once the one before has ended: that is somewhat later than its metrics say.
func (r *testServer) startUpdate(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return r.control(t, "update", "").status == http.StatusAccepted }, patience, pollInterval)
}

// untilScheduled waits until the next tick is scheduled: a server is ready somewhat earlier.
func (r *testServer) untilScheduled(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(string(r.get(t, "/readyz").body), "next_tick") },
		patience, pollInterval)
}

func TestControl(t *testing.T) {
	t.Parallel()
	cfg := config.Defaults()
	cfg.Users, cfg.ControlToken, cfg.UpdateOnStart = 1000, token, false
	r := startReady(t, cfg)
	ready := func() string { return string(r.get(t, "/readyz").body) }

	r.untilScheduled(t)
	assert.Equal(t, http.StatusNoContent, r.control(t, "pause", "").status)
	assert.NotContains(t, ready(), "next_tick")
	assert.Contains(t, ready(), `"paused":true`)
	assert.Equal(t, http.StatusNoContent, r.control(t, "resume", "").status)
	assert.Contains(t, ready(), "next_tick")
	assert.NotContains(t, ready(), "paused")

	assert.NotContains(t, ready(), "last_success")
	assert.Equal(t, http.StatusAccepted, r.control(t, "update", "").status)
	untilUpdated(t, r)

	assert.Equal(t, http.StatusNoContent, r.control(t, "interval", `{"interval":"50ms"}`).status)
	require.Eventually(t, func() bool { return strings.Count(string(r.get(t, "/updates").body), "started_at") > 3 },
		patience, pollInterval, "ticks come faster")
	for _, body := range []string{
		``, `{}`, `null`, `[]`, `{"interval":null}`, `{"interval":"soon"}`, `{"interval":"0"}`, `{"interval":"20"}`, `{"interval":"-1s"}`,
		`{"interval":0}`, `{"interval":-1}`, `{"interval":1.5}`, `{"interval":true}`, `{"interval":"1m","and":1}`, `{"interval":"` + strings.Repeat("1", 2000) + `"}`,
		`{"interval":"1m"} 1m`, `{"interval":"1m"}{"interval":"2m"}`, `{"interval":"1m"}` + strings.Repeat(" ", 2000),
	} {
		assertProblem(t, r.control(t, "interval", body), http.StatusBadRequest, `The body must be {"interval":"1m30s"}, `+
			`a duration with a unit, or {"interval":90000}, whole milliseconds, and at least 1ms.`)
	}
	assert.Equal(t, 1, strings.Count(r.log.String(), "msg=control path=/control/interval"))
	assert.Contains(t, r.log.String(), "interval=50ms")
	assert.Equal(t, http.StatusNoContent, r.control(t, "interval", `{"interval":30000}`).status)
	assert.Contains(t, r.log.String(), "interval=30s")
	assert.Contains(t, r.log.String(), `msg="control request rejected" path=/control/interval`)
	assert.NotContains(t, r.log.String(), token)
}

// Requests without the token have no effect. If no token is set, the paths do not exist.
func TestControlNeedsItsToken(t *testing.T) {
	t.Parallel()
	cfg := config.Defaults()
	cfg.Users, cfg.ControlToken = 1000, token
	r := startReady(t, cfg)
	cfg.ControlToken = ""
	without := startReady(t, cfg)
	for _, action := range []string{"pause", "resume", "update", "interval"} {
		path := "/control/" + action
		for _, authorization := range []string{
			"", "Bearer", "Bearer ", "Bearer " + token[1:], "Bearer " + token + "x", "Basic " + token, token, "bearer" + token, "Bearer\t" + token,
		} {
			a := r.post(t, path, authorization, "")
			assertProblem(t, a, http.StatusUnauthorized, "This needs the control token: Authorization: Bearer TOKEN.")
			assert.Equal(t, "Bearer", a.header.Get("WWW-Authenticate"))
		}
		a, err := r.do(http.MethodGet, path)
		require.NoError(t, err)
		assert.Equal(t, http.StatusMethodNotAllowed, a.status)
		assert.Equal(t, "POST", a.header.Get("Allow"))
		for _, authorization := range []string{"", "Bearer ", "Bearer " + token} {
			assert.Equal(t, http.StatusNotFound, without.post(t, path, authorization, "").status)
		}
	}
	r.untilScheduled(t) // it was not paused
}

// The scheme of the token is case-insensitive, and more than one space may follow it.
func TestControlTokenForms(t *testing.T) {
	t.Parallel()
	cfg := config.Defaults()
	cfg.Users, cfg.ControlToken = 10, token
	r := startReady(t, cfg)
	for _, authorization := range []string{"Bearer " + token, "bearer " + token, "BEARER  " + token} {
		assert.Equal(t, http.StatusNoContent, r.post(t, "/control/pause", authorization, "").status, authorization)
	}
	for _, body := range []string{`{"interval":5000}`, `{"interval":5e3}`, `{"interval":5000.0}`} {
		assert.Equal(t, http.StatusNoContent, r.control(t, "interval", body).status, body)
	}
}

// startWithoutUpdates starts a server that updates only by /control, and returns a connection to its database.
func startWithoutUpdates(t *testing.T) (*testServer, *pgx.Conn) {
	t.Helper()
	connection := pgtest.URL(t)
	cfg := configFor(connection)
	cfg.ControlToken, cfg.UpdateOnStart, cfg.Interval = token, false, config.Duration(time.Hour)
	return startReady(t, cfg), connect(t, connection)
}

// lockUsers makes updates wait until unlock is called.
func lockUsers(t *testing.T, conn *pgx.Conn) (unlock func()) {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	exec(t, conn, "LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
	return func() { require.NoError(t, tx.Rollback(t.Context())) }
}

// Of concurrent requests for an update, one starts it.
func TestOneUpdateOfConcurrentRequests(t *testing.T) {
	t.Parallel()
	r, admin := startWithoutUpdates(t)
	unlock := lockUsers(t, admin)
	var requests sync.WaitGroup
	var accepted, conflicts atomic.Int64
	for range 8 {
		requests.Go(func() {
			switch r.control(t, "update", "").status {
			case http.StatusAccepted:
				accepted.Add(1)
			case http.StatusConflict:
				conflicts.Add(1)
			}
		})
	}
	requests.Wait()
	unlock()
	assert.EqualValues(t, 1, accepted.Load())
	assert.EqualValues(t, 7, conflicts.Load())
}

// POST /control/update says why it starts no update.
func TestUpdateIsRejected(t *testing.T) {
	t.Parallel()
	r, admin := startWithoutUpdates(t)
	exec(t, admin, "ALTER TABLE users ADD CHECK (points = 0)") // which no update keeps
	unlock := lockUsers(t, admin)
	assert.Equal(t, http.StatusAccepted, r.control(t, "update", "").status)
	require.Eventually(t, func() bool { return r.control(t, "update", "").status == http.StatusConflict }, patience, pollInterval)
	unlock()
	for range 2 {
		r.startUpdate(t)
	}
	require.Eventually(t, func() bool { return strings.Contains(string(r.get(t, "/readyz").body), `"breaker":"open"`) },
		patience, pollInterval, "three updates fail")
	assertProblem(t, r.control(t, "update", ""), http.StatusServiceUnavailable,
		"The circuit breaker is open, because too many updates in a row have failed.")
}
