package e2e_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
)

// dial opens a connection to the server, which is closed at the end of the test.
func (r *testServer) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// queryOn sends a query on a connection, and returns the answer.
func queryOn(t *testing.T, c net.Conn) answer {
	t.Helper()
	_, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{response.StatusCode, response.Header, body}
}

// Connections beyond the limit get 503, and are accepted again once another one has been closed.
func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	const most = 5
	cfg := config.Defaults()
	cfg.Users, cfg.MaxConnections = 1000, most
	r := startReady(t, cfg)
	open, streams := make([]net.Conn, most), make([]*bufio.Reader, most) // of events: they are not idle
	nextEvent := func(i int) {
		for line := ""; !strings.HasPrefix(line, "data: "); {
			var err error
			line, err = streams[i].ReadString('\n')
			require.NoError(t, err)
		}
	}
	for i := range open {
		open[i] = r.dial(t)
		_, err := open[i].Write([]byte("GET /dashboard/events HTTP/1.1\r\nHost: x\r\n\r\n"))
		require.NoError(t, err)
		streams[i] = bufio.NewReader(open[i])
		nextEvent(i)
	}
	var others sync.WaitGroup
	for range 50 {
		others.Go(func() {
			c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
			if !assert.NoError(t, err) {
				return
			}
			defer c.Close()
			response, err := http.ReadResponse(bufio.NewReader(c), nil)
			if assert.NoError(t, err) {
				defer response.Body.Close()
				assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
				assert.True(t, response.Close)
			}
		})
	}
	others.Wait()
	assertProblem(t, queryOn(t, r.dial(t)), http.StatusServiceUnavailable, "Too many connections are open. Try again later.")
	for i := range open {
		nextEvent(i) // those that are open are served
	}
	metrics := func() string { // by the one connection that is left
		open[0].Close()
		var a answer
		require.Eventually(t, func() bool {
			var err error
			a, err = r.do(http.MethodGet, "/metrics")
			return err == nil && a.status == http.StatusOK
		}, patience, pollInterval)
		return string(a.body)
	}()
	assert.Contains(t, metrics, "\npoints_connections_open 5\n")
	assert.Contains(t, metrics, "\npoints_connections_limit 5\n")
	const rejections = ` (5[1-9]|[6-9]\d|\d{3,})\n`
	assert.Regexp(t, `\npoints_connections_rejected_total`+rejections, metrics)
	assert.Regexp(t, `\nhttp_server_request_duration_seconds_count\{http_request_method="_OTHER",`+
		`http_response_status_code="503",http_route="",url_scheme="http"\}`+rejections, metrics)
	assert.Equal(t, 1, strings.Count(r.log.String(), "too many connections"))
}

// Idle connections do not block new clients: at the limit, the one that has been idle for the longest time is closed.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	t.Parallel()
	const most = 3
	cfg := config.Defaults()
	cfg.Users, cfg.MaxConnections = 10, most
	r := startReady(t, cfg)
	for range most {
		require.Equal(t, http.StatusOK, queryOn(t, r.dial(t)).status)
	}
	require.Eventually(t, func() bool {
		a, err := r.do(http.MethodGet, "/readyz")
		return err == nil && a.status == http.StatusOK
	}, patience, pollInterval)
	assert.Equal(t, 1, strings.Count(r.log.String(), "too many connections"))
}
