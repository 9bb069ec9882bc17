//go:build unix

package app

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A read deadline that is over says nothing of the client: net/http sets one beside a handler that ends.
func TestClosed(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	accepted, err := listener.Accept()
	require.NoError(t, err)
	defer accepted.Close()
	c, ok := accepted.(*net.TCPConn)
	require.True(t, ok)

	assert.False(t, closed(c))
	require.NoError(t, c.SetReadDeadline(time.Unix(1, 0)))
	assert.False(t, closed(c))
	require.NoError(t, c.SetReadDeadline(time.Time{}))
	_, err = client.Write([]byte("x"))
	require.NoError(t, err)
	assert.False(t, closed(c), "it may have sent its next request")
	_, err = c.Read(make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, client.Close())
	require.Eventually(t, func() bool { return closed(c) }, time.Minute, time.Millisecond)
	require.NoError(t, c.Close())
	assert.True(t, closed(c))
}
