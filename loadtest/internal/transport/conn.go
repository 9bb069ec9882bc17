package transport

import (
	"errors"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// errIdleClosed means that a reused connection turned out to be closed before the request was sent.
var errIdleClosed = errors.New("idle connection closed by the server")

const (
	// idleThreshold is how long a connection must have been idle for a check, before the next request, whether the server
	// has closed it. The check takes a system call, which would cost 15% of the rate if it were made each time.
	idleThreshold = time.Millisecond

	// pollInterval is how often a pending request looks for the end of the stream, in case the server has closed the
	// connection after the previous response and before this request, but within idleThreshold.
	pollInterval = 100 * time.Millisecond
)

// A conn is a connection of HTTP1. One goroutine uses it at a time; between putIdle and takeIdle none does.
type conn struct {
	net.Conn
	owner    *HTTP1
	response http.Response // returned to vegeta while the connection is in use
	in       reader
	keep     bool // reusable after the current response
	reused   bool // has carried a complete response
	first    writeRead

	// limit is when the current request times out. The read deadline of the connection is at most pollInterval in the
	// future, and is extended when it expires before limit. So it need not be set for each request.
	limit time.Time

	doneAt time.Duration // end of the previous exchange

	// Of the current request: whether and when it was written.
	written bool
	sentAt  time.Duration
}

func newConn(raw net.Conn, owner *HTTP1) *conn {
	c := &conn{Conn: raw, owner: owner}
	c.in.src = c
	c.first.init(raw, c)
	return c
}

// exchange sends r, reads the response, and fills in x. The request times out at limit.
func (c *conn) exchange(x *Exchange, r *encodedRequest, limit time.Time) error {
	c.limit, c.written = limit, false
	if !c.reused {
		if err := c.extendDeadline(); err != nil {
			x.fail(Receive, err)
			return err
		}
	}
	err := c.sendAndWait(x, r)
	if err == nil {
		err = c.in.response(x, r.head)
	}
	x.Done = c.owner.opts.now()
	c.doneAt = x.Done
	x.Received = c.in.received
	if err != nil {
		x.fail(Receive, err)
		return err
	}
	x.KeptAlive = x.KeptAlive && c.owner.opts.KeepAlive
	c.reused = true
	return nil
}

// sendAndWait writes the request and reads the first bytes of the response.
func (c *conn) sendAndWait(x *Exchange, r *encodedRequest) error {
	c.in.reset()
	c.sentAt = x.Connected
	n, err := c.first.exchange(r.bytes, c.in.buf, c.reused && x.Start-c.doneAt >= idleThreshold)
	x.setSent(c.sentAt)
	x.setFirstByte(c.owner.opts.now())
	if err == nil && n == 0 {
		err = errTruncated
	}
	c.in.filled(n)
	return err
}

// wrote records that the request has been written.
func (c *conn) wrote() {
	c.written = true
	c.sentAt = c.owner.opts.now()
}

// mayContinue reports whether err is a read deadline that expired before the limit of the request. If so, it extends
// the deadline.
func (c *conn) mayContinue(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && time.Until(c.limit) > 0 && c.extendDeadline() == nil
}

// extendDeadline sets the read deadline to pollInterval from now, but not later than limit.
func (c *conn) extendDeadline() error {
	next := time.Now().Add(pollInterval)
	if c.limit.Before(next) {
		next = c.limit
	}
	return c.SetReadDeadline(next)
}

// Read reads until the limit of the request.
func (c *conn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if n > 0 || !c.mayContinue(err) {
			return n, err
		}
	}
}

// Write writes until the limit of the request.
func (c *conn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(c.limit); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// diedUnused reports whether err means that the server closed a reused connection without responding to the request. A
// reset does not: an orderly close gives EPIPE.
func (c *conn) diedUnused(err error) bool {
	return c.reused && c.in.received == 0 && (errors.Is(err, errTruncated) || errors.Is(err, syscall.EPIPE))
}
