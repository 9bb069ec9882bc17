package connlimit

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// At the limit, and shortly after it, connections whose clients have closed them before they were accepted are dropped.
// At any other time they are served.
func TestConnectionsClosedBeforeAccept(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := New(listener, 1, func(bool) {})
	dial := func() *net.TCPConn {
		c, err := net.Dial("tcp", listener.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		return c.(*net.TCPConn)
	}
	accept := func(client net.Conn) {
		t.Helper()
		c, err := l.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		assert.Equal(t, client.LocalAddr(), c.RemoteAddr())
	}
	closeMany := func() {
		for range 10 {
			require.NoError(t, dial().Close())
			reset := dial()
			require.NoError(t, reset.SetLinger(0))
			require.NoError(t, reset.Close())
		}
	}

	halfClosed := dial()
	require.NoError(t, halfClosed.CloseWrite())
	accept(halfClosed)

	closeMany()
	others := make(chan net.Conn)
	go func() {
		c, err := l.Accept() // drops the closed ones, and rejects the next one
		assert.NoError(t, err)
		others <- c
	}()
	answer, err := io.ReadAll(dial())
	require.NoError(t, err)
	assert.Contains(t, string(answer), "503")
	assert.EqualValues(t, 1, l.rejected.Load())
	l.open.Add(-1)
	dial()
	require.NoError(t, (<-others).Close())
	assert.Zero(t, l.Open())

	l.lastRejection = time.Now().Add(time.Hour) // a busy machine may take longer than a second for what follows
	closeMany()
	accept(dial())
	require.Eventually(t, func() bool { return len(l.closing) == 0 }, time.Minute, time.Millisecond)
	require.NoError(t, listener.Close())
	_, err = l.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
}
