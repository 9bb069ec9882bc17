package connlimit

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Rejections take about a tenth of the time, no matter how many connections arrive.
func TestRejectionsTakeATenthOfTheTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const each, connections = 40 * time.Microsecond, 1000
		l := &busyListener{left: connections, each: each}
		began := time.Now()
		_, err := New(l, 0, func(bool) {}).Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		busy, all := connections*each, time.Since(began)
		assert.InEpsilon(t, 0.1, busy.Seconds()/all.Seconds(), 0.1, "busy for %v of %v", busy, all)
		assert.Zero(t, l.open, "connections are left open")
	})
}

// A busyListener has so many connections, each of which takes that long to write to.
type busyListener struct {
	net.Listener

	left, open int
	each       time.Duration
}

func (l *busyListener) Accept() (net.Conn, error) {
	if l.left == 0 {
		return nil, net.ErrClosed
	}
	l.left--
	l.open++
	return busyConn{l: l}, nil
}

type busyConn struct {
	net.Conn

	l *busyListener
}

func (c busyConn) Write(p []byte) (int, error) {
	<-time.After(c.l.each)
	return len(p), nil
}

func (c busyConn) Close() error {
	c.l.open--
	return nil
}
