package connlimit

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/tcppeer"
)

// A connection whose next request has arrived is not idle, even if the server has had no time to read it.
func TestConnectionsWithUnreadRequestsAreKept(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	l := New(listener, 1, func(bool) {})
	c, err := l.Accept()
	require.NoError(t, err)
	defer c.Close()
	l.idle.start = time.Now().Add(-time.Hour)
	l.ConnState(c, http.StateNew)
	conn := l.idle.load(c)
	conn.since.Store(1)

	_, err = io.WriteString(client, "GET")
	require.NoError(t, err)
	tcp := c.(*net.TCPConn)
	require.Eventually(t, func() bool { return tcppeer.HasUnread(tcp) }, time.Minute, time.Millisecond)
	assert.False(t, l.idle.closeLongest())
	_, err = c.Read(make([]byte, 10))
	require.NoError(t, err)
	conn.since.Store(1)
	l.idle.noneUntil = time.Time{}
	assert.False(t, tcppeer.HasUnread(tcp))
	assert.True(t, l.idle.closeLongest())
}
