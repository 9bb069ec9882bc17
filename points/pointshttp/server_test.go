package pointshttp

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A query that takes its whole timeout is answered before the connection's own timeouts are over, and no client can hold
// up a connection for good.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	for _, queryTimeout := range []time.Duration{time.Millisecond, 5 * time.Second, time.Hour} {
		server := NewServer(http.NotFoundHandler(), queryTimeout, nil)
		assert.Greater(t, server.ReadTimeout, queryTimeout)
		assert.Greater(t, server.WriteTimeout, queryTimeout)
		assert.Positive(t, server.ReadHeaderTimeout)
		assert.Positive(t, server.IdleTimeout)
		assert.Positive(t, server.MaxHeaderBytes)
	}
}

// A request whose body does not arrive is answered, too: there is time for that after the timeout of the body.
func TestRequestsWithoutTheirBodyAreAnswered(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"body not read": func(w http.ResponseWriter, _ *http.Request) {
			WriteProblem(w, http.StatusNotFound, "There is nothing at this path.")
		},
		"body read": func(w http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			assert.Error(t, err)
			WriteProblem(w, http.StatusNotFound, "There is nothing at this path.")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client, conn := net.Pipe()
				defer client.Close()
				server := NewServer(handler, time.Second, nil)
				defer server.Close()
				listener := make(pipeListener, 1)
				listener <- conn
				go server.Serve(listener) //nolint:errcheck // it ends with the test
				_, err := io.WriteString(client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
				require.NoError(t, err)
				<-time.After(server.ReadTimeout + time.Second) // a busy machine takes a while to write the response
				response, err := http.ReadResponse(bufio.NewReader(client), nil)
				require.NoError(t, err)
				require.NoError(t, response.Body.Close())
				assert.Equal(t, http.StatusNotFound, response.StatusCode)
				assert.True(t, response.Close)
			})
		})
	}
}

// A pipeListener accepts the connections that are sent to it.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l pipeListener) Close() error   { close(l); return nil }
func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{} }
