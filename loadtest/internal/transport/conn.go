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
	// idleThreshold is the idle time from which on a connection is checked, before the next request, for whether the
	// server has closed it. The check is a system call, which would cost 15% of the rate if it were made each time.
	idleThreshold = time.Millisecond

	// pollInterval is how often a pending request looks for the end of the stream, in case the server has closed the
	// connection after the previous response and before this request, but within idleThreshold.
	pollInterval = 100 * time.Millisecond
)

// A conn is a connection of HTTP1. One goroutine uses it at a time; between putIdle and getIdle none does.
type conn struct {
	net.Conn
	owner    *HTTP1
	response http.Response // returned to vegeta while the connection is in use
	in       reader
	keep     bool // reusable after the current response
	reused   bool // has carried a complete response
	first    writeRead

	// deadline is that of the current request. The read deadline of the connection is at most pollInterval in the future,
	// and is extended when it expires before. So it need not be set for each request.
	deadline time.Time

	doneAt time.Duration // end of the previous exchange

	// Of the current request: whether and when it was written.
	written bool
	sentAt  time.Duration
}

func newConn(raw net.Conn, owner *HTTP1) *conn {
	c := &conn{Conn: raw, owner: owner}
	c.in.src, c.in.keepHead = c, owner.opts.KeepHead
	c.first.init(raw, c)
	return c
}

// exchange sends r, reads the response, and fills in x.
func (c *conn) exchange(x *Exchange, r *encodedRequest, deadline time.Time) error {
	c.deadline, c.written = deadline, false
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

// extendExpired extends the read deadline if err means that it expired before the deadline of the request, and reports
// whether reading can continue.
func (c *conn) extendExpired(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && time.Until(c.deadline) > 0 && c.extendDeadline() == nil
}

// extendDeadline sets the read deadline to pollInterval from now, but at most to that of the request.
func (c *conn) extendDeadline() error {
	next := time.Now().Add(pollInterval)
	if c.deadline.Before(next) {
		next = c.deadline
	}
	return c.SetReadDeadline(next)
}

// Read implements net.Conn with the deadline of the request.
func (c *conn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if n > 0 || !c.extendExpired(err) {
			return n, err
		}
	}
}

// Write implements net.Conn with the deadline of the request.
func (c *conn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(c.deadline); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// closedUnanswered reports whether err means that the server closed a reused connection without responding to the
// request. A reset does not: an orderly close gives EPIPE.
func (c *conn) closedUnanswered(err error) bool {
	return c.reused && c.in.received == 0 && (errors.Is(err, errTruncated) || errors.Is(err, syscall.EPIPE))
}
