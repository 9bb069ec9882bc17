package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/examples/server/internal/server"
	"github.com/pointsapp/pointsapp/internal/testenv"
)

// patience is how long a test waits for an event: longer than any takes on a busy machine.
const patience = time.Minute

// pollInterval is the time between two looks.
const pollInterval = 10 * time.Millisecond

// A testServer is a running server.
type testServer struct {
	server   *server.Server
	url      string       // without a slash at its end
	log      *testenv.Log // its standard error
	client   *http.Client
	requests atomic.Int64
	ended    <-chan struct{}
	stop     func() error // ends it, as SIGTERM does, and returns what Run did
}

// start starts a server, on a free port unless cfg names one, and without a shutdown delay unless cfg has another than
// the default. It is stopped at the end of the test.
func start(t testing.TB, cfg config.Config, options ...server.Option) *testServer {
	t.Helper()
	if cfg.Addr == config.Defaults().Addr {
		cfg.Addr = "127.0.0.1:0"
	}
	if cfg.ShutdownDelay == config.Defaults().ShutdownDelay {
		cfg.ShutdownDelay = 0
	}
	log := new(testenv.Log)
	server, err := server.Open(cfg, log, options...)
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(context.Background())
	var result error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		result = server.Run(ctx)
	}()
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	r := &testServer{
		server: server,
		url:    "http://" + server.Addr().String(),
		log:    log,
		client: &http.Client{Transport: transport, Timeout: patience},
		ended:  ended,
		stop:   func() error { cancel(); <-ended; return result },
	}
	stop := r.stop // alone, so that a server that has ended is not kept until the test does
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		assert.NoError(t, stop())
		if t.Failed() {
			t.Logf("the server's log:\n%s", log)
		}
	})
	return r
}

// startReady starts a server, and waits until it answers.
func startReady(t testing.TB, cfg config.Config, options ...server.Option) *testServer {
	t.Helper()
	r := start(t, cfg, options...)
	select {
	case <-r.server.Ready():
	case <-r.ended:
		require.FailNow(t, "the server has ended")
	case <-time.After(patience):
		require.FailNow(t, "the server does not get ready")
	}
	return r
}

// An answer is a response, read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (r *testServer) do(method, path string) (answer, error) {
	request, err := http.NewRequestWithContext(context.Background(), method, r.url+path, nil)
	if err != nil {
		return answer{}, err
	}
	response, err := r.client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	a := answer{response.StatusCode, response.Header, body}
	// The first answers, and of a load's every hundredth, are validated against the API's description. That takes more
	// CPU than the answer does.
	if n := r.requests.Add(1); err == nil && (n < 100 || n%100 == 0) {
		err = conforms(method, r.url+path, a)
	}
	return a, err
}

func (r *testServer) get(t testing.TB, path string) answer {
	t.Helper()
	a, err := r.do(http.MethodGet, path)
	require.NoError(t, err)
	return a
}

// A result is the answer to a query.
type result struct {
	Users []struct {
		ID         int64  `json:"id"`
		Points     int    `json:"points"`
		InsertedAt string `json:"inserted_at"`
		UpdatedAt  string `json:"updated_at"`
	} `json:"users"`
	Timestamp *string `json:"timestamp"`
}

// parseResult returns the result in an answer, or says what of the contract it breaks.
func parseResult(a answer) (result, error) {
	var r result
	decoder := json.NewDecoder(bytes.NewReader(a.body))
	decoder.DisallowUnknownFields()
	switch {
	case a.status != http.StatusOK:
		return r, errors.New("status " + http.StatusText(a.status) + ": " + string(a.body))
	case a.header.Get("Content-Type") != "application/json":
		return r, errors.New("type " + a.header.Get("Content-Type"))
	case a.header.Get("Cache-Control") != "no-store":
		return r, errors.New("it may be cached")
	}
	if err := decoder.Decode(&r); err != nil {
		return r, err
	}
	if r.Users == nil || len(r.Users) > 2 {
		return r, errors.New("users are no list of 2 at most: " + string(a.body))
	}
	times := []string{}
	if r.Timestamp != nil {
		times = append(times, *r.Timestamp)
	}
	for _, u := range r.Users {
		if u.Points < 1 || u.Points > 100 {
			return r, errors.New("points are not in 1..100: " + string(a.body))
		}
		times = append(times, u.InsertedAt, u.UpdatedAt)
	}
	for _, at := range times {
		if _, err := time.Parse("2006-01-02T15:04:05.000000Z", at); err != nil {
			return r, err
		}
	}
	return r, nil
}

// assertProblem asserts that an answer is a problem of RFC 9457, with this status and detail.
func assertProblem(t *testing.T, a answer, status int, detail string) {
	t.Helper()
	assert.Equal(t, status, a.status)
	assert.Equal(t, "application/problem+json", a.header.Get("Content-Type"))
	assert.Equal(t, "no-store", a.header.Get("Cache-Control"))
	assert.Equal(t, "nosniff", a.header.Get("X-Content-Type-Options"))
	var problem map[string]any
	require.NoError(t, json.Unmarshal(a.body, &problem), "%s", a.body)
	assert.Equal(t, map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "status": float64(status), "detail": detail,
	}, problem)
	retry := ""
	if status == http.StatusServiceUnavailable {
		retry = "1"
	}
	assert.Equal(t, retry, a.header.Get("Retry-After"))
}

// untilUpdated waits until the server has updated all users.
func untilUpdated(t *testing.T, r *testServer) {
	t.Helper()
	require.Eventually(t, func() bool {
		return bytes.Contains(r.get(t, "/readyz").body, []byte(`"last_success"`))
	}, patience, pollInterval, "no update succeeds")
}

// hungQueries returns the number of queries that took the server more than 10 seconds, by its own histogram. What a
// client measures on a busy machine is for the most part how long the client had to wait for a processor.
func (r *testServer) hungQueries(t testing.TB) (hung int) {
	t.Helper()
	metrics := string(r.get(t, "/metrics").body)
	sum := func(pattern string) (total int) {
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(metrics, -1) {
			n, err := strconv.Atoi(match[1])
			require.NoError(t, err)
			total += n
		}
		return total
	}
	all := sum(`(?m)^http_server_request_duration_seconds_count\{.*http_route="/".*\} (\d+)$`)
	require.Positive(t, all)
	return all - sum(`(?m)^http_server_request_duration_seconds_bucket\{.*http_route="/".*le="10"\} (\d+)$`)
}
