package connlimit

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// idleConn returns a connection that has been idle for an hour, and its client.
func idleConn(t *testing.T) (*Listener, *conn, net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	client, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	l := New(listener, 1, func(bool) {})
	accepted, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { accepted.Close() })
	l.ConnState(accepted, http.StateIdle)
	l.start = l.start.Add(-time.Hour)
	return l, accepted.(*conn), client
}

func send(t *testing.T, client net.Conn, c *conn) {
	t.Helper()
	_, err := io.WriteString(client, "GET")
	require.NoError(t, err)
	require.Eventually(t, c.hasUnread, time.Minute, time.Millisecond)
}

// A connection whose next request has arrived is not idle, even if the server has had no time to read it.
func TestConnectionsWithUnreadRequestsAreKept(t *testing.T) {
	t.Parallel()
	l, c, client := idleConn(t)
	send(t, client, c)
	assert.False(t, l.endLongest())
	_, err := c.Conn.Read(make([]byte, 10))
	require.NoError(t, err)
	c.state.Store(1)
	l.noneUntil = time.Time{}
	assert.True(t, l.endLongest())
}

// A request that arrives after its connection has been ended, and before the server has noticed, is read.
func TestEndedConnectionsReadWhatHasArrived(t *testing.T) {
	t.Parallel()
	l, c, client := idleConn(t)
	require.True(t, l.endLongest())
	assert.Zero(t, l.Open())
	send(t, client, c)
	require.NoError(t, c.SetReadDeadline(time.Time{}), "as net/http does when it begins to wait for a request")
	request := make([]byte, 10)
	n, err := c.Read(request)
	require.NoError(t, err)
	assert.Equal(t, "GET", string(request[:n]))
	assert.EqualValues(t, 1, l.Open())
	assert.False(t, l.endLongest())
}
