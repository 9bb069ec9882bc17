package app

import (
	"io"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// However many connections there are to refuse, that takes about a tenth of the time.
func TestRefusingLeavesTimeForTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const each, knocks = 40 * time.Microsecond, 1000
		l := &knocking{left: knocks, each: each}
		began := time.Now()
		_, err := newGate(l, 0).Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		busy, all := knocks*each, time.Since(began)
		assert.InEpsilon(t, 10, all/busy, 0.1, "busy for %v of %v", busy, all)
		assert.Zero(t, l.open, "connections are left open")
	})
}

// knocking is a listener with so many connections, each of which takes that long to be written to.
type knocking struct {
	net.Listener

	left, open int
	each       time.Duration
}

func (l *knocking) Accept() (net.Conn, error) {
	if l.left == 0 {
		return nil, net.ErrClosed
	}
	l.left--
	l.open++
	return knock{l: l}, nil
}

type knock struct {
	net.Conn

	l *knocking
}

func (k knock) Write(p []byte) (int, error) {
	<-time.After(k.l.each)
	return len(p), nil
}

func (k knock) Close() error {
	k.l.open--
	return nil
}

// Connections whose clients have gone before their turn came take nobody's place.
func TestAbandonedConnectionsAreNotServed(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("on other systems than Linux they are served, in vain")
	}
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
