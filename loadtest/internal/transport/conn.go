package transport

import (
	"errors"
	"net"
	"net/http"
	"syscall"
	"time"
)

// errIdleClosed means that the server closed an idle connection before it received the request. Like ab, HTTP1 then
// sends the request on a new connection.
var errIdleClosed = errors.New("transport: idle connection closed by the server")

// A conn is a connection of HTTP1. One goroutine uses it at a time; between putIdle and takeIdle none does.
type conn struct {
	net.Conn
	owner    *HTTP1
	response http.Response // returned to vegeta while the connection is in use
	in       reader
	keep     bool // reusable after the current response
	used     bool // has carried a complete response
	deadline time.Time
	first    writeRead
	sentAt   time.Duration
}

func newConn(raw net.Conn, owner *HTTP1) *conn {
	c := &conn{Conn: raw, owner: owner}
	c.in.src = raw
	c.first.init(raw, func() { c.sentAt = owner.opts.now() })
	return c
}

// exchange sends the request, reads the response, and fills in x.
func (c *conn) exchange(x *Exchange) error {
	opts := &c.owner.opts
	if err := c.extendDeadline(opts.Timeout); err != nil {
		x.fail(Receive, err)
		return err
	}
	err := c.sendAndWait(x)
	if err == nil {
		err = c.in.response(x, c.owner.head)
	}
	x.Done = opts.now()
	x.Received = c.in.received
	if err != nil {
		idle := c.used && x.Received == 0 && isClosed(err)
		x.fail(Receive, err)
		if idle {
			*x = Exchange{Seq: x.Seq, Start: x.Start}
			return errIdleClosed
		}
		return err
	}
	x.KeptAlive = x.KeptAlive && opts.KeepAlive
	c.used = true
	return nil
}

// sendAndWait writes the request and reads the first bytes of the response.
func (c *conn) sendAndWait(x *Exchange) error {
	c.in.reset()
	c.sentAt = x.Connected
	n, err := c.first.exchange(c.owner.request, c.in.buf)
	x.setSent(c.sentAt)
	x.setFirstByte(c.owner.opts.now())
	if err == nil && n == 0 {
		err = errTruncated
	}
	c.in.filled(n)
	return err
}

// extendDeadline sets a deadline at least timeout from now, and at most an eighth later, so that it need not be set for
// each request.
func (c *conn) extendDeadline(timeout time.Duration) error {
	now := time.Now()
	if c.deadline.Sub(now) >= timeout {
		return nil
	}
	c.deadline = now.Add(timeout + timeout/8)
	return c.SetDeadline(c.deadline)
}

// isClosed reports whether err means that the server had closed the connection earlier. A reset does not: an orderly
// close gives EPIPE.
func isClosed(err error) bool {
	return errors.Is(err, errTruncated) || errors.Is(err, syscall.EPIPE)
}
