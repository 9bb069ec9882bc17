package connlimit

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pointsapp/pointsapp/internal/tcppeer"
)

// minIdle is how long a connection must be idle before it is closed for another one. A client that has just received a
// response often sends its next request at once.
const minIdle = time.Second

// bodyTimeout is how long a client may take to send the rest of a request that began while its connection was being
// replaced.
const bodyTimeout = 5 * time.Second

// idleConns tracks which connections of an http.Server are idle, and since when.
type idleConns struct {
	start time.Time
	conns sync.Map // *idleConn by net.Conn, of open connections

	noneUntil time.Time // until then closeLongest returns false without a search; only for closeLongest
}

// An idleConn is a connection: since is the time since idleConns.start at which it became idle, 0 while it is not idle,
// or replaced.
type idleConn struct {
	since atomic.Int64
	mu    sync.Mutex // held while closeLongest replaces the connection, and while StateActive is reported
}

// replaced means that closeLongest closes the connection, so that it does not count any more.
const replaced = -1

// changed records the new state of a connection. It returns by how much that changes the number of open connections,
// other than by StateNew, which Accept has counted.
func (i *idleConns) changed(c net.Conn, state http.ConnState) int64 {
	switch state {
	case http.StateNew:
		i.conns.Store(c, new(idleConn))
	case http.StateActive:
		if conn := i.load(c); conn != nil && conn.active(c) {
			return 1
		}
	case http.StateIdle:
		if conn := i.load(c); conn != nil {
			conn.since.CompareAndSwap(0, int64(time.Since(i.start)))
		}
	case http.StateClosed, http.StateHijacked:
		conn, ok := i.conns.LoadAndDelete(c)
		if ok && conn.(*idleConn).since.Load() == replaced { //nolint:forcetypeassert // there are no others
			return 0
		}
		return -1
	}
	return 0
}

// active notes that the connection has a request. It returns true if closeLongest had replaced the connection: the
// server had read the request just before, and serves it.
func (conn *idleConn) active(c net.Conn) bool {
	conn.mu.Lock()
	defer conn.mu.Unlock()
	if conn.since.Swap(0) != replaced {
		return false
	}
	c.SetReadDeadline(time.Now().Add(bodyTimeout)) //nolint:errcheck // it fails if the connection has been closed
	return true
}

// replace makes the server close the connection, unless it has had a request since then.
func (conn *idleConn) replace(c net.Conn, since int64) bool {
	conn.mu.Lock()
	defer conn.mu.Unlock()
	if !conn.since.CompareAndSwap(since, replaced) {
		return false
	}
	c.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // it fails if the connection has been closed
	return true
}

func (i *idleConns) load(c net.Conn) *idleConn {
	if conn, ok := i.conns.Load(c); ok {
		return conn.(*idleConn) //nolint:forcetypeassert // there are no others
	}
	return nil
}

// busy returns how many of the open connections are not idle.
func (i *idleConns) busy() (n int) {
	i.conns.Range(func(_, value any) bool {
		if value.(*idleConn).since.Load() == 0 { //nolint:forcetypeassert // there are no others
			n++
		}
		return true
	})
	return n
}

// closeLongest makes the server close the connection that has been idle for the longest time. It returns false if none
// has been idle for minIdle; then it does not search again for a tenth of that, because a search takes time.
//
// It does so by a read deadline in the past. To close the connection here would lose a request that the server has read
// but not yet reported by StateActive, which takes milliseconds if the processor is busy.
func (i *idleConns) closeLongest() bool {
	now := time.Now()
	if now.Before(i.noneUntil) {
		return false
	}
	for {
		c, conn, since := i.longest()
		if conn == nil || since > int64(now.Sub(i.start)-minIdle) {
			i.noneUntil = now.Add(minIdle / 10)
			return false
		}
		if s, ok := c.(syscall.Conn); ok && tcppeer.HasUnread(s) { // a request that the server has had no time to read
			conn.since.CompareAndSwap(since, int64(now.Sub(i.start)))
			continue
		}
		if conn.replace(c, since) {
			return true
		}
	}
}

// longest returns the connection that has been idle for the longest time, and since when; nil if none is idle.
func (i *idleConns) longest() (c net.Conn, conn *idleConn, since int64) {
	i.conns.Range(func(key, value any) bool {
		candidate := value.(*idleConn) //nolint:forcetypeassert // there are no others
		if s := candidate.since.Load(); s > 0 && (conn == nil || s < since) {
			c, conn, since = key.(net.Conn), candidate, s //nolint:forcetypeassert // the same
		}
		return true
	})
	return c, conn, since
}
