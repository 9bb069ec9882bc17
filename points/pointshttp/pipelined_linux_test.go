package pointshttp

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A client that sends several requests and then closes its sending side gets all its answers.
func TestPipelinedRequestsOfHalfClosedClients(t *testing.T) {
	t.Parallel()
	const requests = 4
	address := serveHandler(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
			w.WriteHeader(http.StatusServiceUnavailable)
		case <-time.After(checkInterval):
		}
	})
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer c.Close()
	for range requests {
		_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
	}
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	answers := bufio.NewReader(c)
	for i := range requests {
		response, err := http.ReadResponse(answers, nil)
		require.NoError(t, err, "request %d", i)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusOK, response.StatusCode, "request %d", i)
	}
}
