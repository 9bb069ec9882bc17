package tcppeer_test

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/tcppeer"
)

// connect returns the two ends of a TCP connection.
func connect(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer listener.Close()
	c, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	server, err = listener.AcceptTCP()
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	return c.(*net.TCPConn), server
}

func TestOf(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		client func(*net.TCPConn) error
		want   tcppeer.State
	}{
		"open":     {func(*net.TCPConn) error { return nil }, tcppeer.Open},
		"shutdown": {(*net.TCPConn).CloseWrite, tcppeer.HalfClosed},
		"close":    {(*net.TCPConn).Close, tcppeer.HalfClosed},
		"reset":    {reset, tcppeer.Reset},
	} {
		for _, unread := range []string{"", "unread data"} {
			t.Run(name+" "+unread, func(t *testing.T) {
				t.Parallel()
				client, server := connect(t)
				_, err := client.Write([]byte(unread))
				require.NoError(t, err)
				require.NoError(t, server.SetReadDeadline(time.Unix(1, 0))) // net/http does so when a handler has ended
				require.NoError(t, test.client(client))
				require.Eventually(t, func() bool { return tcppeer.Of(server) == test.want }, time.Minute, time.Millisecond)
				require.NoError(t, server.Close())
				assert.Equal(t, tcppeer.Reset, tcppeer.Of(server))
			})
		}
	}
}

// A client that has closed the connection resets it once something is sent to it.
func TestOfAfterAnswer(t *testing.T) {
	t.Parallel()
	client, server := connect(t)
	require.NoError(t, client.Close())
	require.Eventually(t, func() bool { return tcppeer.Of(server) == tcppeer.HalfClosed }, time.Minute, time.Millisecond)
	_, err := server.Write([]byte("x"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return tcppeer.Of(server) == tcppeer.Reset }, time.Minute, time.Millisecond)
}

func TestOfOther(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	require.NoError(t, a.Close())
	assert.Equal(t, tcppeer.Open, tcppeer.Of(b))
}

func reset(c *net.TCPConn) error {
	if err := c.SetLinger(0); err != nil {
		return err
	}
	return c.Close()
}
