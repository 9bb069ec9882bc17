package transport

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// NetHTTP is net/http's transport, with TLS, HTTP/2 and proxies. It is safe for concurrent use. Like HTTP1, it has one
// connection for each concurrent request. The requests of a single http.Transport would share one of HTTP/2.
type NetHTTP struct {
	opts     Options
	base     *http.Transport // cloned for each connection
	requests rotation[netRequest]
	addrs    rotation[string]
	received atomic.Int64    // bytes not yet attributed to an exchange
	bodies   sync.Pool       // of *[]byte
	ctx      context.Context //nolint:containedctx // ends with Close
	cancel   context.CancelFunc

	mu   sync.Mutex
	idle []*http.Transport // have no request; the last one has had one most recently
}

// NewNetHTTP returns a transport. The caller must close it.
func NewNetHTTP(opts Options) (*NetHTTP, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	n := &NetHTTP{opts: opts}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	for i := range opts.Requests {
		n.requests.items = append(n.requests.items, n.newRequest(&opts.Requests[i]))
	}
	n.addrs.items = opts.Addrs
	proxy := http.ProxyFromEnvironment
	switch {
	case opts.Proxy != nil:
		proxy = http.ProxyURL(opts.Proxy)
	case opts.Network == "unix":
		proxy = nil
	}
	n.base = &http.Transport{
		Proxy:              proxy,
		DialContext:        n.dial,
		TLSClientConfig:    cmp.Or(opts.TLS, &tls.Config{MinVersion: tls.VersionTLS12}),
		DisableKeepAlives:  !opts.KeepAlive,
		DisableCompression: true, // count the bytes on the wire
		ForceAttemptHTTP2:  !opts.DisableHTTP2,
	}
	n.bodies.New = func() any { b := make([]byte, bigReadSize); return &b }
	return n, nil
}

// acquire returns an http.Transport that has no request.
func (n *NetHTTP) acquire() *http.Transport {
	n.mu.Lock()
	defer n.mu.Unlock()
	last := len(n.idle) - 1
	if last < 0 {
		return n.base.Clone()
	}
	t := n.idle[last]
	n.idle = n.idle[:last]
	return t
}

// release makes t available to the next request.
func (n *NetHTTP) release(t *http.Transport) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.idle = append(n.idle, t)
	if n.ctx.Err() != nil { // Close may have come before
		t.CloseIdleConnections()
	}
}

// A netRequest is the template of the requests sent, which are copies of it.
type netRequest struct {
	*http.Request

	body []byte // nil means none
}

func (n *NetHTTP) newRequest(r *Request) netRequest {
	header, host := n.opts.headers(r)
	return netRequest{body: r.Body, Request: &http.Request{
		Method: r.Method, URL: requestURL(&n.opts, r.Target), Header: header, Host: host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}}
}

// copy returns a copy of the request, with a body that has not been read.
func (r netRequest) copy(ctx context.Context) *http.Request {
	req := r.WithContext(ctx)
	if r.body == nil {
		return req
	}
	req.ContentLength = int64(len(r.body))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(r.body)), nil }
	req.Body, _ = req.GetBody() // does not fail
	return req
}

// requestURL returns a URL for which net/http sends the request target exactly as given.
func requestURL(o *Options, target string) *url.URL {
	u, err := url.Parse(o.URL.Scheme + "://" + o.URL.Host + target)
	if err == nil && u.RequestURI() == target {
		return u
	}
	path, query, hasQuery := strings.Cut(target, "?")
	return &url.URL{
		Scheme: o.URL.Scheme, Host: o.URL.Host, Opaque: path, RawQuery: query, ForceQuery: hasQuery,
	}
}

// dial connects to one of Options.Addrs instead of the URL's host, and to addr otherwise, which is a proxy then.
func (n *NetHTTP) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if n.opts.Proxy == nil && addr == hostPort(n.opts.URL) {
		network, addr = n.opts.Network, n.addrs.next()
	}
	dialer := net.Dialer{Timeout: n.opts.Timeout}
	c, err := dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &countedConn{Conn: c, received: &n.received}, nil
}

// RoundTrip sends the next request, and returns once the response has been read and observed.
func (n *NetHTTP) RoundTrip(req *http.Request) (*http.Response, error) {
	if n.ctx.Err() != nil {
		return nil, ErrClosed
	}
	var x Exchange
	seq, _ := strconv.ParseUint(req.Header.Get("X-Vegeta-Seq"), 10, 64) // 0 if the caller is not vegeta
	n.opts.begin(&x, seq)
	buf := n.bodies.Get().(*[]byte) //nolint:forcetypeassert // the type of all entries
	defer n.bodies.Put(buf)

	status, err := n.exchange(&x, *buf)
	if err != nil && n.ctx.Err() != nil {
		x.Failure, x.Err, x.KeptAlive = Aborted, ErrClosed, false
		err = ErrClosed
	}
	n.opts.Observe(&x)
	if err != nil {
		return nil, err
	}
	return &http.Response{Status: status, StatusCode: x.Status, Body: http.NoBody}, nil
}

func (n *NetHTTP) exchange(x *Exchange, buf []byte) (status string, err error) {
	ctx, cancel := context.WithTimeout(n.ctx, n.opts.Timeout)
	defer cancel()
	steps := steps{stop: cancel}
	ctx = httptrace.WithClientTrace(ctx, steps.trace(&n.opts))
	base := n.acquire()
	defer n.release(base)
	resp, err := base.RoundTrip(n.requests.next().copy(ctx))
	if err == nil {
		x.Status = resp.StatusCode
		x.Server = []byte(resp.Header.Get("Server"))
		if n.opts.KeepHead {
			x.Head = headOf(resp)
		}
		x.KeptAlive = n.opts.KeepAlive && !resp.Close
		err = errors.Join(readResponse(x, resp, buf), resp.Body.Close())
		status = resp.Status
	}
	steps.fill(x)
	x.Done = n.opts.now()
	x.Received = n.received.Swap(0) // may belong to another exchange; only the sum is used
	switch {
	case err != nil && steps.gotConn.Load() == 0:
		x.fail(Connect, err)
	case err != nil && steps.stopped.Load():
		x.fail(Receive, errIdleClosed)
	case err != nil:
		x.fail(Receive, err)
	}
	return status, err
}

// headOf returns the status line and the header.
func headOf(resp *http.Response) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s\n", resp.Proto, resp.Status)
	_ = resp.Header.Write(&b) // a bytes.Buffer does not fail
	return bytes.ReplaceAll(b.Bytes(), []byte("\r\n"), []byte("\n"))
}

func readResponse(x *Exchange, resp *http.Response, buf []byte) error {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return errUpgrade // the body is the connection, whose end no context bounds
	}
	return readBody(x, resp.Body, buf)
}

// readBody reads all of body, and keeps its first bytes in x.
func readBody(x *Exchange, body io.Reader, buf []byte) error {
	for {
		to := buf[len(x.Body):maxBody]
		if len(to) == 0 {
			to = buf[maxBody:]
		}
		n, err := body.Read(to)
		if len(x.Body) < maxBody {
			x.Body = buf[:len(x.Body)+n]
		}
		x.BodyBytes += int64(n)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Close closes all connections. Pending requests end as Aborted, later ones fail with ErrClosed and are not observed.
func (n *NetHTTP) Close() {
	n.cancel()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range n.idle {
		t.CloseIdleConnections()
	}
}

// steps holds the times of the steps of a request, relative to Options.Epoch; 0 if a step was not reached. net/http
// calls the hooks from other goroutines.
type steps struct {
	gotConn, wrote, firstByte atomic.Int64
	reused                    atomic.Bool

	written atomic.Int64 // number of times the request was sent
	stop    func()       // ends the request; called instead of sending it a third time
	stopped atomic.Bool
}

func (s *steps) trace(o *Options) *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			s.gotConn.Store(int64(o.now()))
			s.reused.Store(info.Reused)
			if s.written.Load() > 1 {
				s.stopped.Store(true)
				s.stop()
			}
		},
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			s.wrote.Store(int64(o.now()))
			if info.Err == nil {
				s.written.Add(1)
			}
		},
		GotFirstResponseByte: func() { s.firstByte.Store(int64(o.now())) },
	}
}

func (s *steps) fill(x *Exchange) {
	x.Resent = s.written.Load() > 1
	if at := time.Duration(s.gotConn.Load()); at > x.Start && !s.reused.Load() {
		x.setConnected(at)
	}
	if at := time.Duration(s.wrote.Load()); at > x.Connected {
		x.setSent(at)
	}
	if at := time.Duration(s.firstByte.Load()); at > x.Sent {
		x.setFirstByte(at)
	}
}

// A countedConn counts the bytes it receives.
type countedConn struct {
	net.Conn
	received *atomic.Int64
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.received.Add(int64(n))
	return n, err
}
