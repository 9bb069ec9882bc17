package connlimit

import (
	"net"
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
		_, err := New(l, 0).Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		busy, all := knocks*each, time.Since(began)
		assert.InEpsilon(t, 0.1, busy.Seconds()/all.Seconds(), 0.1, "busy for %v of %v", busy, all)
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
