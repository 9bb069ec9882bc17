package transport

import (
	"errors"
	"net"
	"net/http"
	"syscall"
	"time"
)

// errIdleClosed says that the server had closed a kept connection before it had the request. Nothing is wrong with
// that, and ab too sends the request again on a new one.
var errIdleClosed = errors.New("transport: the server closed an idle connection")

// A conn is a connection that one goroutine uses at a time. From release to take, the idle list owns it.
type conn struct {
	net.Conn
	lean     *Lean
	response http.Response // handed to vegeta, for as long as the connection is in use
	in       reader
	keep     bool // can be used again
	used     bool // has answered before
	deadline time.Time
	first    firstRead
	sentAt   time.Duration
}

func newConn(raw net.Conn, l *Lean) *conn {
	c := &conn{Conn: raw, lean: l}
	c.in.src = raw
	c.first.init(raw, func() { c.sentAt = l.opts.since() })
	return c
}

// exchange sends the request and reads the answer, and fills in x.
func (c *conn) exchange(x *Exchange) error {
	opts := &c.lean.opts
	if err := c.extendDeadline(opts.Timeout); err != nil {
		x.fail(Receive, err)
		return err
	}
	err := c.sendAndWait(x)
	if err == nil {
		err = c.in.answer(x, c.lean.head)
	}
	x.Done = opts.since()
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

// sendAndWait writes the request and reads the first bytes of the answer.
func (c *conn) sendAndWait(x *Exchange) error {
	c.in.reset()
	c.sentAt = x.Connected
	n, err := c.first.exchange(c.lean.request, c.in.buf)
	x.sent(c.sentAt)
	x.began(c.lean.opts.since())
	if err == nil && n == 0 {
		err = errCut
	}
	c.in.filled(n)
	return err
}

// extendDeadline lets the connection wait for at least timeout from now, and at most an eighth longer, so that the
// deadline need not be set for each request.
func (c *conn) extendDeadline(timeout time.Duration) error {
	now := time.Now()
	if c.deadline.Sub(now) >= timeout {
		return nil
	}
	c.deadline = now.Add(timeout + timeout/8)
	return c.SetDeadline(c.deadline)
}

// isClosed tells whether err is what a connection gives that the server had closed before. A reset is not: a server
// that had closed in an orderly way would give EPIPE.
func isClosed(err error) bool {
	return errors.Is(err, errCut) || errors.Is(err, syscall.EPIPE)
}
