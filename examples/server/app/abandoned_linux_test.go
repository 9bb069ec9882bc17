package app

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Connections whose clients have gone before their turn came take nobody's place.
func TestAbandonedConnectionsAreNotServed(t *testing.T) {
	t.Parallel()
	listener, err := listen("127.0.0.1:0")
	require.NoError(t, err)
	g := newGate(listener, 1)
	dial := func() net.Conn {
		c, err := net.Dial("tcp", listener.Addr().String())
		require.NoError(t, err)
		_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		return c
	}
	for range 10 {
		require.NoError(t, dial().Close())
		reset := dial()
		require.NoError(t, reset.(*net.TCPConn).SetLinger(0))
		require.NoError(t, reset.Close())
	}
	patient := dial()
	defer patient.Close()
	served, err := g.Accept()
	require.NoError(t, err)
	defer served.Close()
	assert.Equal(t, patient.LocalAddr(), served.RemoteAddr())
	assert.Zero(t, g.refused.Load())
	require.NoError(t, listener.Close())
	_, err = g.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
}
