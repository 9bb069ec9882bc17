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

// idleConns returns connections that have been idle for an hour, and their clients.
func idleConns(t *testing.T, n int) (*Listener, []*conn, []net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	l := New(listener, n, func(bool) {})
	conns, clients := make([]*conn, n), make([]net.Conn, n)
	for i := range n {
		clients[i], err = net.Dial("tcp", listener.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { clients[i].Close() })
		accepted, err := l.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { accepted.Close() })
		l.ConnState(accepted, http.StateIdle)
		conns[i] = accepted.(*conn)
	}
	l.start = l.start.Add(-time.Hour)
	return l, conns, clients
}

func idleConn(t *testing.T) (*Listener, *conn, net.Conn) {
	t.Helper()
	l, conns, clients := idleConns(t, 1)
	return l, conns[0], clients[0]
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

// If many requests have arrived that the server has had no time to read, Accept does not check them all.
func TestSearchesAreLimited(t *testing.T) {
	t.Parallel()
	l, conns, clients := idleConns(t, 20)
	for i, c := range conns {
		send(t, clients[i], c)
	}
	assert.False(t, l.endLongest())
	unchecked := 0
	for _, c := range conns {
		if c.state.Load() < int64(time.Minute) {
			unchecked++
		}
	}
	assert.Equal(t, 10, unchecked)
	assert.True(t, l.noneUntil.After(time.Now().Add(-time.Minute)))
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
