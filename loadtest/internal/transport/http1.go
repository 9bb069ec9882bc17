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

// HTTP1 is an HTTP/1.1 client over plain TCP that repeats one request, with one goroutine and two system calls per
// request. It exists because net/http's transport takes over three times ab's CPU per request. It is safe for concurrent
// use.
type HTTP1 struct {
	opts    Options
	request []byte
	head    bool // responses to HEAD have no body
	dialer  net.Dialer
	ctx     context.Context //nolint:containedctx // for dialing; ends with Close
	cancel  context.CancelFunc

	mu     sync.Mutex
	closed bool
	idle   []*conn            // most recently used last
	open   map[*conn]struct{} // idle or in use
}

// NewHTTP1 returns a transport. The caller must close it.
func NewHTTP1(opts Options) (*HTTP1, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if opts.URL.Scheme != "http" {
		return nil, fmt.Errorf("the http1 transport needs an http URL, got %s", opts.URL)
	}
	h := &HTTP1{opts: opts, head: opts.Method == http.MethodHead, open: map[*conn]struct{}{}}
	h.dialer.Timeout = opts.Timeout
	h.request = encodeRequest(&opts)
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h, nil
}

// encodeRequest returns the bytes of the request.
func encodeRequest(o *Options) []byte {
	header, host := o.headers()
	if !o.KeepAlive {
		header.Set("Connection", "close")
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", o.Method, o.URL.RequestURI(), host)
	_ = header.Write(&b) // a bytes.Buffer does not fail
	b.WriteString("\r\n")
	return b.Bytes()
}

// RoundTrip sends the request, and returns once the response has been read and observed. The response is valid until its
// body is closed.
func (h *HTTP1) RoundTrip(req *http.Request) (*http.Response, error) {
	seq, _ := strconv.ParseUint(req.Header.Get("X-Vegeta-Seq"), 10, 64) // 0 if the caller is not vegeta
	c := h.takeIdle()
	x := new(Exchange)
	for sent := 1; ; sent++ {
		now := h.opts.now()
		*x = Exchange{Seq: seq, Start: now, Connected: now, Sent: now, FirstByte: now, Done: now}
		var err error
		if c, err = h.exchange(c, x); err != nil {
			return nil, err
		}
		if !c.keep || sent >= h.opts.RequestsPerHit || h.opts.Next == nil || !h.opts.Next() {
			c.response = http.Response{Status: http.StatusText(x.Status), StatusCode: x.Status, Body: (*emptyBody)(c)}
			return &c.response, nil
		}
	}
}

// exchange makes and observes one exchange, and returns the connection. It uses c, or a new connection if c is nil or
// was closed by the server while idle.
func (h *HTTP1) exchange(c *conn, x *Exchange) (*conn, error) {
	var err error
	reused := c != nil
	if reused {
		err = c.exchange(x)
	}
	if reused && errors.Is(err, errIdleClosed) {
		h.drop(c)
		reused = false
	}
	if !reused {
		if c, err = h.dial(x); err == nil {
			err = c.exchange(x)
		}
	}
	if h.isClosed() {
		err = ErrClosed // even if the response is complete: it ended after Close
	} else {
		h.opts.Observe(x)
	}
	if err != nil {
		h.drop(c)
		return nil, err
	}
	c.keep = x.KeptAlive
	return c, nil
}

func (h *HTTP1) dial(x *Exchange) (*conn, error) {
	raw, err := h.dialer.DialContext(h.ctx, "tcp", h.opts.Addr)
	x.setConnected(h.opts.now())
	if err != nil {
		x.fail(Connect, err)
		return nil, err
	}
	c := newConn(raw, h)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		_ = raw.Close() // nothing was sent
		return nil, ErrClosed
	}
	h.open[c] = struct{}{}
	return c, nil
}

// takeIdle returns the most recently used idle connection, or nil.
func (h *HTTP1) takeIdle() *conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	last := len(h.idle) - 1
	if last < 0 {
		return nil
	}
	c := h.idle[last]
	h.idle = h.idle[:last]
	return c
}

func (h *HTTP1) putIdle(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.idle = append(h.idle, c)
	}
}

// drop closes c, unless it is nil.
func (h *HTTP1) drop(c *conn) {
	if c == nil {
		return
	}
	h.mu.Lock()
	delete(h.open, c)
	h.mu.Unlock()
	_ = c.Close() // everything needed has been read
}

func (h *HTTP1) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// Close closes all connections. Pending and later requests fail with ErrClosed and are not observed.
func (h *HTTP1) Close() {
	h.cancel()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for c := range h.open {
		_ = c.Close() // ends its pending request
	}
	h.open, h.idle = nil, nil
}

// An emptyBody is the body returned to vegeta: the response's body has been read already. Close releases the connection.
type emptyBody conn

func (b *emptyBody) Read([]byte) (int, error)         { return 0, io.EOF }
func (b *emptyBody) WriteTo(io.Writer) (int64, error) { return 0, nil } // spares io.Copy a buffer

func (b *emptyBody) Close() error {
	c := (*conn)(b)
	if c.keep {
		c.owner.putIdle(c)
	} else {
		c.owner.drop(c)
	}
	return nil
}
