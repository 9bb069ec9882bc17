package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
)

// Lean is an HTTP/1.1 client over plain TCP that sends one request and reads the answers, with one goroutine and two
// system calls a request. It is safe for concurrent use.
type Lean struct {
	opts    Options
	request []byte
	head    bool // the answers to HEAD have no body
	dialer  net.Dialer
	ctx     context.Context //nolint:containedctx // ends with Close: for dialing
	cancel  context.CancelFunc

	mu     sync.Mutex
	closed bool
	idle   []*conn            // the one used last is at the end
	open   map[*conn]struct{} // idle or in use
}

// NewLean returns a transport for one request. Close it once no request is under way or wanted any more.
func NewLean(opts Options) (*Lean, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if opts.URL.Scheme != "http" {
		return nil, fmt.Errorf("transport: the lean transport speaks http alone, and the URL is %s: "+
			"use net/http's for it", opts.URL)
	}
	l := &Lean{opts: opts, head: opts.Method == http.MethodHead, open: map[*conn]struct{}{}}
	l.dialer.Timeout = opts.Timeout
	l.request = render(&opts)
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l, nil
}

// render returns the bytes to send, the same for each request.
func render(o *Options) []byte {
	header, host := o.headers()
	if !o.KeepAlive {
		header.Set("Connection", "close")
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", o.Method, o.URL.RequestURI(), host)
	_ = header.Write(&b) // a bytes.Buffer takes everything
	b.WriteString("\r\n")
	return b.Bytes()
}

// RoundTrip sends the request, and returns when its answer has been read and observed. The answer is valid until its
// body is closed.
func (l *Lean) RoundTrip(req *http.Request) (*http.Response, error) {
	seq, _ := strconv.ParseUint(req.Header.Get("X-Vegeta-Seq"), 10, 64) // 0 if somebody else than vegeta calls
	c := l.takeIdle()
	x := new(Exchange)
	for sent := 1; ; sent++ {
		now := l.opts.since()
		*x = Exchange{Seq: seq, Start: now, Connected: now, Sent: now, FirstByte: now, Done: now}
		var err error
		if c, err = l.exchange(c, x); err != nil {
			return nil, err
		}
		if !c.keep || sent >= l.opts.Visit || l.opts.Again == nil || !l.opts.Again() {
			c.response = http.Response{Status: http.StatusText(x.Status), StatusCode: x.Status, Body: (*answer)(c)}
			return &c.response, nil
		}
	}
}

// exchange makes and observes one exchange, on c or on a new connection if c is nil or turns out to be closed by the
// server, and returns the connection.
func (l *Lean) exchange(c *conn, x *Exchange) (*conn, error) {
	var err error
	kept := c != nil
	if kept {
		err = c.exchange(x)
	}
	if kept && errors.Is(err, errIdleClosed) {
		l.drop(c)
		kept = false
	}
	if !kept {
		if c, err = l.dial(x); err == nil {
			err = c.exchange(x)
		}
	}
	if l.isClosed() {
		err = ErrClosed // or a complete answer, but from after the end
	} else {
		l.opts.Observe(x)
	}
	if err != nil {
		l.drop(c)
		return nil, err
	}
	c.keep = x.KeptAlive
	return c, nil
}

func (l *Lean) dial(x *Exchange) (*conn, error) {
	raw, err := l.dialer.DialContext(l.ctx, "tcp", l.opts.Addr)
	x.connected(l.opts.since())
	if err != nil {
		x.fail(Connect, err)
		return nil, err
	}
	c := newConn(raw, l)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = raw.Close() // nothing was sent on it
		return nil, ErrClosed
	}
	l.open[c] = struct{}{}
	return c, nil
}

// takeIdle returns the kept connection that was used last, or nil.
func (l *Lean) takeIdle() *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := len(l.idle) - 1
	if last < 0 {
		return nil
	}
	c := l.idle[last]
	l.idle = l.idle[:last]
	return c
}

func (l *Lean) putIdle(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.idle = append(l.idle, c)
	}
}

// drop closes c, which may be nil.
func (l *Lean) drop(c *conn) {
	if c == nil {
		return
	}
	l.mu.Lock()
	delete(l.open, c)
	l.mu.Unlock()
	_ = c.Close() // whatever was to be read from it has been
}

func (l *Lean) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// Close closes all connections. Requests under way end with ErrClosed, and so do later ones; none is observed.
func (l *Lean) Close() {
	l.cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for c := range l.open {
		_ = c.Close() // that is all it is for
	}
	l.open, l.idle = nil, nil
}

// An answer is the body that vegeta reads: empty, for it has been read. Its Close gives the connection back.
type answer conn

func (a *answer) Read([]byte) (int, error)         { return 0, io.EOF }
func (a *answer) WriteTo(io.Writer) (int64, error) { return 0, nil } // spares io.Copy a buffer

func (a *answer) Close() error {
	c := (*conn)(a)
	if c.keep {
		c.lean.putIdle(c)
	} else {
		c.lean.drop(c)
	}
	return nil
}
