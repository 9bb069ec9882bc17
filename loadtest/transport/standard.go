package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Standard is net/http's own transport, with TLS, HTTP/2 and proxies. It is safe for concurrent use.
type Standard struct {
	opts     Options
	base     *http.Transport
	request  *http.Request   // what each request is a copy of
	received atomic.Int64    // bytes that no exchange has been charged with yet
	bodies   sync.Pool       // of *[]byte
	ctx      context.Context //nolint:containedctx // ends with Close
	cancel   context.CancelFunc
}

// NewStandard returns a transport for one request. Close it once no request is under way or wanted any more.
func NewStandard(opts Options) (*Standard, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Standard{opts: opts}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.request, err = http.NewRequestWithContext(s.ctx, opts.Method, opts.URL.String(), nil)
	if err != nil {
		s.cancel()
		return nil, err
	}
	s.request.Header, s.request.Host = opts.headers()
	s.base = &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         s.dial,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		DisableKeepAlives:   !opts.KeepAlive,
		DisableCompression:  true, // count what is sent
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 1 << 20, // all of them
	}
	s.bodies.New = func() any { b := make([]byte, bigReadSize); return &b }
	return s, nil
}

// dial connects to Options.Addr for what the URL names, and to where it is told for anything else: a proxy.
func (s *Standard) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if addr == hostPort(s.opts.URL) {
		addr = s.opts.Addr
	}
	dialer := net.Dialer{Timeout: s.opts.Timeout}
	c, err := dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &countedConn{Conn: c, received: &s.received}, nil
}

// RoundTrip sends the request, and returns when its answer has been read and observed.
func (s *Standard) RoundTrip(req *http.Request) (*http.Response, error) {
	var x Exchange
	x.Seq, _ = strconv.ParseUint(req.Header.Get("X-Vegeta-Seq"), 10, 64) // 0 if somebody else than vegeta calls
	x.connected(s.opts.since())
	x.Start = x.Connected
	buf := s.bodies.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
	defer s.bodies.Put(buf)

	status, err := s.exchange(&x, *buf)
	if s.ctx.Err() != nil {
		return nil, ErrClosed
	}
	s.opts.Observe(&x)
	if err != nil {
		return nil, err
	}
	return &http.Response{Status: status, StatusCode: x.Status, Body: http.NoBody}, nil
}

func (s *Standard) exchange(x *Exchange, buf []byte) (status string, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.opts.Timeout)
	defer cancel()
	var steps steps
	ctx = httptrace.WithClientTrace(ctx, steps.trace(&s.opts))
	resp, err := s.base.RoundTrip(s.request.WithContext(ctx))
	if err == nil {
		x.Status = resp.StatusCode
		x.Server = []byte(resp.Header.Get("Server"))
		x.KeptAlive = s.opts.KeepAlive && !resp.Close
		err = errors.Join(readBody(x, resp.Body, buf), resp.Body.Close())
		status = resp.Status
	}
	steps.fill(x)
	x.Done = s.opts.since()
	x.Received = s.received.Swap(0) // perhaps another's: the sum is what counts
	switch {
	case err != nil && steps.gotConn.Load() == 0:
		x.fail(Connect, err)
	case err != nil:
		x.fail(Receive, err)
	}
	return status, err
}

// readBody reads all of body, and keeps the first bytes in x.
func readBody(x *Exchange, body io.Reader, buf []byte) error {
	for {
		to := buf[len(x.Body):maxKept]
		if len(to) == 0 {
			to = buf[maxKept:]
		}
		n, err := body.Read(to)
		if len(x.Body) < maxKept {
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

// Close ends requests under way with ErrClosed, and later ones; none is observed.
func (s *Standard) Close() {
	s.cancel()
	s.base.CloseIdleConnections()
}

// steps are when net/http took them, since Options.Began; 0 if it did not. net/http calls the hooks from goroutines of
// its own.
type steps struct {
	gotConn, wrote, firstByte atomic.Int64
	reused                    atomic.Bool
}

func (s *steps) trace(o *Options) *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			s.gotConn.Store(int64(o.since()))
			s.reused.Store(info.Reused)
		},
		WroteRequest:         func(httptrace.WroteRequestInfo) { s.wrote.Store(int64(o.since())) },
		GotFirstResponseByte: func() { s.firstByte.Store(int64(o.since())) },
	}
}

func (s *steps) fill(x *Exchange) {
	if at := time.Duration(s.gotConn.Load()); at > x.Start && !s.reused.Load() {
		x.connected(at)
	}
	if at := time.Duration(s.wrote.Load()); at > x.Connected {
		x.sent(at)
	}
	if at := time.Duration(s.firstByte.Load()); at > x.Sent {
		x.began(at)
	}
}

// A countedConn adds what it receives to a sum.
type countedConn struct {
	net.Conn
	received *atomic.Int64
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.received.Add(int64(n))
	return n, err
}
