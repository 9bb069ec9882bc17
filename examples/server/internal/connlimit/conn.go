package connlimit

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pointsapp/pointsapp/internal/tcppeer"
)

// A conn is an open connection.
//
// To end an idle one, the listener interrupts its Read by a read deadline in the past, and Read returns EOF, so that
// the server closes it. To close it at once would lose a request that the server has read but not begun to handle,
// which takes milliseconds if the processor is busy.
type conn struct {
	net.Conn

	l *Listener

	// state is busy, ended, closed, or, while the connection is idle, the time since Listener.start at which it became
	// so, which is positive. From busy to idle it changes without mu.
	state atomic.Int64

	mu           sync.Mutex
	readDeadline time.Time // as set by the server
}

const (
	busy   = 0  // it is new, or a part of a request has been read that is not answered yet
	ended  = -1 // Read returns EOF; it does not count as open
	closed = -2
)

// idle notes that the server waits for the next request.
func (c *conn) idle() { c.state.CompareAndSwap(busy, c.l.now()) }

// active notes that the server has read a request. Read has noted it already, unless the request arrived together with
// the one before. If only a part of it did, it goes unnoticed until more arrives: a client that pipelines requests and
// stalls within one for minIdle may lose it.
func (c *conn) active() {
	if c.state.Load() != busy {
		c.resume()
	}
}

// end ends a connection that has been idle since that time. It returns false if it is not idle any more.
func (c *conn) end(since int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.state.CompareAndSwap(since, ended) {
		return false
	}
	c.l.open.Add(-1)
	c.Conn.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // it fails if the connection has been closed
	return true
}

// Read implements net.Conn. A request that has arrived is read, even if the connection has been ended since.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	switch {
	case c.state.Load() == busy:
		return n, err
	case n > 0:
		c.resume()
		return n, err
	case c.state.Load() != ended:
		return n, err
	case !c.hasUnread():
		return 0, io.EOF
	}
	c.resume()
	return c.Conn.Read(p)
}

// resume notes that a request has begun.
func (c *conn) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.state.Load() {
	case closed:
		return
	case ended:
		c.Conn.SetReadDeadline(c.readDeadline) //nolint:errcheck // it fails if the connection has been closed
		c.l.open.Add(1)
	}
	c.state.Store(busy)
}

// hasUnread reports whether data has arrived that has not been read.
func (c *conn) hasUnread() bool {
	s, ok := c.Conn.(syscall.Conn)
	return ok && tcppeer.HasUnread(s)
}

// SetReadDeadline implements net.Conn. The deadline of a connection that has been ended stays in the past.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readDeadline = t
	if c.state.Load() == ended {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if before := c.state.Swap(closed); before >= busy {
		c.l.open.Add(-1)
	}
	c.l.conns.Delete(c)
	return c.Conn.Close()
}

// CloseWrite closes the sending side.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SyscallConn implements syscall.Conn.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	if s, ok := c.Conn.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
