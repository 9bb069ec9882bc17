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
	"sync/atomic"
	"time"
)

// HTTP1 is an HTTP/1.1 client without TLS that repeats one request, or a few in turn, with one goroutine and normally
// two system calls per request. It exists because net/http's transport takes over three times ab's CPU per request. It
// is safe for concurrent use.
type HTTP1 struct {
	opts     Options
	requests rotation[*encodedRequest]
	addrs    rotation[string]
	ctx      context.Context //nolint:containedctx // for dialing; ends with Close
	cancel   context.CancelFunc

	dialContext func(ctx context.Context, network, addr string) (net.Conn, error) // replaced by tests

	closed atomic.Bool // written with mu held
	mu     sync.Mutex
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
		return nil, fmt.Errorf("the http1 transport needs an http URL, got %s", opts.URL.Redacted())
	}
	h := &HTTP1{opts: opts, open: map[*conn]struct{}{}}
	h.dialContext = new(net.Dialer).DialContext
	for i := range opts.Requests {
		h.requests.items = append(h.requests.items, encode(&opts, &opts.Requests[i]))
	}
	h.addrs.items = opts.Addrs
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h, nil
}

// An encodedRequest is a request as it is sent.
type encodedRequest struct {
	bytes      []byte
	head       bool // responses to HEAD have no body
	idempotent bool // may be sent again
}

func encode(o *Options, r *Request) *encodedRequest {
	header, host := o.headers(r)
	if !o.KeepAlive {
		header.Set("Connection", "close")
	}
	if (r.expectsBody() || r.Body != nil) && header.Get("Content-Length") == "" {
		header.Set("Content-Length", strconv.Itoa(len(r.Body))) // without it servers may reject even an empty body with 411
	}
	target := r.Target
	if o.Proxy != nil {
		target = "http://" + withoutZone(o.URL.Host) + target
		if o.Proxy.User != nil {
			header.Set("Proxy-Authorization", basicAuth(o.Proxy.User))
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, target, host)
	_ = header.Write(&b) // a bytes.Buffer does not fail
	b.WriteString("\r\n")
	b.Write(r.Body)
	return &encodedRequest{bytes: b.Bytes(), head: r.Method == http.MethodHead, idempotent: isIdempotent(r.Method)}
}

// RoundTrip sends the next request, and returns once the response has been read and observed. The response is valid
// until its body is closed.
func (h *HTTP1) RoundTrip(req *http.Request) (*http.Response, error) {
	seq, _ := strconv.ParseUint(req.Header.Get("X-Vegeta-Seq"), 10, 64) // 0 if the caller is not vegeta
	c := h.getIdle()
	x := new(Exchange)
	for sent := 1; ; sent++ {
		h.opts.begin(x, seq)
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

// exchange makes and observes one exchange, and returns the connection. It uses c, or a new connection if c is nil.
func (h *HTTP1) exchange(c *conn, x *Exchange) (*conn, error) {
	if h.closed.Load() {
		h.drop(c)
		return nil, ErrClosed
	}
	c, sent, err := h.attempt(c, x, h.requests.next())
	if err != nil && h.closed.Load() {
		if !sent {
			h.drop(c)
			return nil, ErrClosed
		}
		x.Failure, x.Err, x.KeptAlive = Aborted, ErrClosed, false
		err = ErrClosed
	}
	h.opts.Observe(x)
	if err != nil {
		h.drop(c)
		return nil, err
	}
	c.keep = x.KeptAlive
	return c, nil
}

// attempt makes one exchange. It moves to a new connection if c is nil or was closed while idle, and, at most once, if
// the server closed c instead of responding and the request is idempotent. sent is false if no server can have received
// the request.
func (h *HTTP1) attempt(c *conn, x *Exchange, r *encodedRequest) (_ *conn, sent bool, err error) {
	deadline := h.opts.Epoch.Add(x.Start + h.opts.Timeout)
	resent := false
	if c != nil {
		err := c.exchange(x, r, deadline)
		resent = err != nil && c.closedUnanswered(err) && r.idempotent && !h.closed.Load()
		if !resent && !errors.Is(err, errIdleClosed) {
			return c, c.written, err
		}
		h.drop(c)
		x.restart()
		x.Resent = resent
	}
	c, err = h.dial(x, deadline)
	if err != nil {
		return nil, true, err // connecting counts as sending
	}
	err = c.exchange(x, r, deadline)
	return c, resent || c.written, err
}

func (h *HTTP1) dial(x *Exchange, deadline time.Time) (*conn, error) {
	ctx, cancel := context.WithDeadline(h.ctx, deadline)
	defer cancel()
	raw, err := h.dialContext(ctx, h.opts.Network, h.addrs.next())
	x.setConnected(h.opts.now())
	if err != nil {
		x.fail(Connect, err)
		return nil, err
	}
	c := newConn(raw, h)
	if !h.add(c) {
		_ = raw.Close() // nothing was sent
		x.fail(Connect, ErrClosed)
		return nil, ErrClosed
	}
	return c, nil
}

// add registers an open connection. It returns false if the transport is closed.
func (h *HTTP1) add(c *conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed.Load() {
		return false
	}
	h.open[c] = struct{}{}
	return true
}

// getIdle returns the most recently used idle connection, or nil.
func (h *HTTP1) getIdle() *conn {
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
	if !h.closed.Load() {
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

// Close closes all connections. Pending requests end as Aborted, later ones fail with ErrClosed and are not observed.
func (h *HTTP1) Close() {
	h.cancel()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed.Store(true)
	for c := range h.open {
		_ = c.Close() // ends its pending request
	}
	h.open, h.idle = nil, nil
}

// An emptyBody is the body returned to vegeta: the response's body has been read already. Close releases the
// connection.
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
