package transport

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestResponses sends two requests with each transport to servers with all kinds of framing and faults.
func TestResponses(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 1<<16) // 1 MB
	tests := map[string]struct {
		respond   func(net.Conn, int) bool
		method    string
		status    int
		body      string // truncated to maxBody
		length    int64
		kept      bool
		failure   Failure
		onlyHTTP1 bool // net/http behaves differently
	}{
		"length":          {respond: always("HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 5\r\n\r\nhello"), status: 200, body: "hello", length: 5, kept: true},
		"no reason":       {respond: always("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"), status: 200, body: "ok", length: 2, kept: true},
		"bare newlines":   {respond: always("HTTP/1.1 200 OK\nContent-Length: 2\n\nok"), status: 200, body: "ok", length: 2, kept: true},
		"empty":           {respond: always("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), status: 200, kept: true},
		"no content":      {respond: always("HTTP/1.1 204 No Content\r\n\r\n"), status: 204, kept: true},
		"not modified":    {respond: always("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"), status: 304, kept: true},
		"HEAD":            {method: "HEAD", respond: always("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), status: 200, kept: true},
		"error":           {respond: always("HTTP/1.1 500 Oh no\r\nContent-Length: 2\r\n\r\nno"), status: 500, body: "no", length: 2, kept: true},
		"early hints":     {respond: always("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), status: 200, body: "ok", length: 2, kept: true},
		"chunked":         {respond: always("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n"), status: 200, body: "hello", length: 5, kept: true},
		"one chunk":       {respond: always("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n005\r\nhello\r\n0\r\n\r\n"), status: 200, body: "hello", length: 5, kept: true},
		"trailer":         {respond: always("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n2\r\nok\r\n0\r\nSum: 1\r\n\r\n"), status: 200, body: "ok", length: 2, kept: true},
		"until close":     {respond: once("HTTP/1.1 200 OK\r\n\r\nhello"), status: 200, body: "hello", length: 5},
		"close":           {respond: once("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"), status: 200, body: "ok", length: 2},
		"HTTP/1.0":        {respond: once("HTTP/1.0 200 OK\r\n\r\nhello"), status: 200, body: "hello", length: 5},
		"HTTP/1.0 length": {respond: once("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"), status: 200, body: "hello", length: 5},
		"HTTP/1.0 kept":   {respond: always("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\nhello"), status: 200, body: "hello", length: 5, kept: true},
		"1 MB":            {respond: always(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(big), big)), status: 200, body: big[:maxBody], length: 1 << 20, kept: true},
		"1 MB chunk":      {respond: always(fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(big), big)), status: 200, body: big[:maxBody], length: 1 << 20, kept: true},
		"1 MB to close":   {respond: once("HTTP/1.1 200 OK\r\n\r\n" + big), status: 200, body: big[:maxBody], length: 1 << 20},
		"byte by byte":    {respond: bytewise("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), status: 200, body: "hello", length: 5, kept: true},
		"chunks by byte":  {respond: bytewise("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"), status: 200, body: "hello", length: 5, kept: true},

		"closes at once":  {respond: once(""), failure: Receive},
		"cut head":        {respond: once("HTTP/1.1 200 OK\r\nContent-Le"), failure: Receive},
		"length too long": {respond: once("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"), status: 200, body: "hello", length: 5, failure: Receive},
		"cut chunk":       {respond: once("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello"), status: 200, body: "hello", length: 5, failure: Receive},
		"no last chunk":   {respond: once("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), status: 200, body: "hello", length: 5, failure: Receive},
		"bad chunk":       {respond: always("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n"), status: 200, failure: Receive},
		"long chunk":      {respond: always("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n"), status: 200, failure: Receive, onlyHTTP1: true, body: "he", length: 2},
		"length too short": {respond: always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhello"), status: 200, body: "he", length: 2,
			failure: Receive, onlyHTTP1: true},
		"two lengths":      {respond: always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"), failure: Receive},
		"negative length":  {respond: always("HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"), failure: Receive},
		"unknown encoding": {respond: always("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok"), failure: Receive},
		"not HTTP":         {respond: always("SSH-2.0-OpenSSH_9.2\r\n\r\n"), failure: Receive},
		"bad header line":  {respond: always("HTTP/1.1 200 OK\r\nnonsense\r\n\r\n"), failure: Receive},
		"endless header":   {respond: once("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2<<20) + "\r\n\r\n"), failure: Receive, onlyHTTP1: true},
		"upgrade":          {respond: always("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), failure: Receive},
		"largest chunk":    {respond: once("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\nhello"), status: 200, body: "hello", length: 5, failure: Receive},
		"reset":            {respond: reset, failure: Receive},
	}
	for name, tt := range tests {
		for transport, newTransport := range transports {
			if tt.onlyHTTP1 && transport != "http1" {
				continue
			}
			t.Run(name+"/"+transport, func(t *testing.T) {
				u := serve(t, tt.respond)
				opts := Options{Method: tt.method, URL: u, KeepAlive: true, Timeout: 10 * time.Second}
				for _, x := range send(t, newTransport, opts, 2) {
					requireOrder(t, &x)
					assert.Equal(t, tt.failure, x.Failure, "%v", x.Err)
					assert.Equal(t, tt.failure != None, x.Err != nil)
					if tt.failure != None && transport != "http1" {
						continue // net/http does not return partial responses
					}
					assert.Equal(t, tt.status, x.Status)
					assert.Equal(t, tt.length, x.BodyBytes)
					assert.Equal(t, tt.body, string(x.Body))
					assert.Equal(t, tt.kept, x.KeptAlive)
				}
			})
		}
	}
}

// TestHead checks the status line and header of the final response, also if it arrives in many pieces.
func TestHead(t *testing.T) {
	const response = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\nRetry-After: 3\r\n\r\nno"
	const want = "HTTP/1.1 503 Service Unavailable\nContent-Length: 2\nRetry-After: 3\n"
	for name, respond := range map[string]func(net.Conn, int) bool{
		"one piece":   always(response),
		"bytewise":    bytewise(response),
		"early hints": always("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + response),
	} {
		for transport, newTransport := range transports {
			t.Run(name+"/"+transport, func(t *testing.T) {
				u := serve(t, respond)
				for _, keep := range []bool{true, false} {
					for _, x := range send(t, newTransport, Options{URL: u, KeepAlive: true, KeepHead: keep}, 2) {
						assert.Equal(t, map[bool]string{true: want}[keep], string(x.Head))
					}
				}
			})
		}
	}
}

// bytewise writes a response one byte at a time.
func bytewise(response string) func(net.Conn, int) bool {
	return func(c net.Conn, _ int) bool {
		for i := range len(response) {
			if _, err := c.Write([]byte{response[i]}); err != nil {
				return false
			}
		}
		return true
	}
}

// reset closes the connection with a TCP reset.
func reset(c net.Conn, _ int) bool {
	return c.(*net.TCPConn).SetLinger(0) != nil
}

// stalls are responses that end before they are complete.
var stalls = map[string]string{
	"nothing": "", "half a head": "HTTP/1.1 200 OK\r\n", "half a body": "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel",
}

// TestStall checks that a response that does not end times out, exactly, with each transport.
func TestStall(t *testing.T) {
	for name, begin := range stalls {
		for transport, newTransport := range transportsOn {
			t.Run(name+"/"+transport, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					client, server := net.Pipe()
					defer server.Close()
					go func() {
						if _, err := http.ReadRequest(bufio.NewReader(server)); err == nil {
							_, _ = io.Copy(server, strings.NewReader(begin))
						}
					}()
					onPipe := func(o Options) (closableTransport, error) { return newTransport(o, client) }
					u := &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
					epoch := time.Now().Add(-time.Second) // a time of 0 means that a step was not reached
					x := send(t, onPipe, Options{URL: u, Timeout: 8 * time.Second, Epoch: epoch}, 1)[0]
					assert.Equal(t, Exception, x.Failure, "%v", x.Err)
					requireOrder(t, &x)
					assert.Equal(t, 8*time.Second, x.Done-x.Start)
				})
			})
		}
	}
}

// transportsOn holds the constructors of both transports, for one request on a given connection.
var transportsOn = map[string]func(Options, net.Conn) (closableTransport, error){
	"http1": func(o Options, c net.Conn) (closableTransport, error) {
		h, err := NewHTTP1(o)
		h.dialContext = func(context.Context, string, string) (net.Conn, error) { return c, nil }
		return h, err
	},
	"net/http": func(o Options, c net.Conn) (closableTransport, error) {
		n, err := NewNetHTTP(o)
		n.base.DialContext = func(context.Context, string, string) (net.Conn, error) { return c, nil }
		return n, err
	},
}

// TestStallOnSocket is TestStall with a socket, on which HTTP1 waits in another way than on a pipe. It is connected
// beforehand: on a busy machine connecting may take longer than the timeout.
func TestStallOnSocket(t *testing.T) {
	for name, begin := range stalls {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			u := serve(t, func(c net.Conn, _ int) bool {
				_, err := c.Write([]byte(begin))
				<-release
				return err != nil
			})
			defer close(release)
			socket, err := net.Dial("tcp", u.Host)
			require.NoError(t, err)
			connected := func(o Options) (closableTransport, error) { return transportsOn["http1"](o, socket) }
			x := send(t, connected, Options{URL: u, Timeout: 50 * time.Millisecond}, 1)[0]
			assert.Equal(t, Exception, x.Failure, "%v", x.Err)
			requireOrder(t, &x)
		})
	}
}

func TestRefused(t *testing.T) {
	for transport, newTransport := range transports {
		t.Run(transport, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			u := serve(t, always("")) // only for the URL
			opts := Options{URL: u, Addrs: []string{listener.Addr().String()}}
			require.NoError(t, listener.Close())
			x := send(t, newTransport, opts, 1)[0]
			assert.Equal(t, Connect, x.Failure)
			assert.ErrorContains(t, x.Err, "refused")
		})
	}
}

// TestIdleClosed checks requests on connections that the server has closed after the first response without announcing
// it, as servers close connections at the end of their idle timeout.
func TestIdleClosed(t *testing.T) {
	for transport, newTransport := range transports {
		t.Run(transport, func(t *testing.T) {
			closed := make(chan struct{}, 5)
			respond := once("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			u := serve(t, func(c net.Conn, request int) bool {
				respond(c, request)
				assert.NoError(t, c.Close())
				closed <- struct{}{}
				return false
			})
			patient := func(o Options) (closableTransport, error) {
				s, err := newTransport(o)
				return patientTransport{s, closed}, err
			}
			for i, x := range send(t, patient, Options{URL: u, KeepAlive: true}, 5) {
				require.NoError(t, x.Err, "request %d", i)
				assert.EqualValues(t, 2, x.BodyBytes)
			}
		})
	}
}

// A patientTransport returns a response only once the server has closed the connection: closing it while a request is on
// its way would cause a reset.
type patientTransport struct {
	closableTransport

	closed <-chan struct{}
}

func (s patientTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := s.closableTransport.RoundTrip(r)
	<-s.closed
	return response, err
}

// TestResetAfterResponse checks that a reset after the server has received the request counts as a failure: the server
// did not close an idle connection. net/http sends the request again nevertheless.
func TestResetAfterResponse(t *testing.T) {
	u := serve(t, func(c net.Conn, request int) bool {
		if request == 1 {
			return reset(c, request)
		}
		return always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")(c, request)
	})
	exchanges := send(t, transports["http1"], Options{URL: u, KeepAlive: true}, 3)
	require.NoError(t, exchanges[0].Err)
	assert.Equal(t, Receive, exchanges[1].Failure)
	require.ErrorIs(t, exchanges[1].Err, syscall.ECONNRESET)
	require.NoError(t, exchanges[2].Err)
}

func TestNoKeepAlive(t *testing.T) {
	for transport, newTransport := range transports {
		t.Run(transport, func(t *testing.T) {
			seen := map[string]bool{}
			u := serve(t, func(c net.Conn, _ int) bool {
				seen[c.RemoteAddr().String()] = true
				return always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")(c, 0)
			})
			for _, x := range send(t, newTransport, Options{URL: u}, 3) {
				require.NoError(t, x.Err)
				assert.False(t, x.KeptAlive)
				assert.Greater(t, x.Connected, x.Start)
			}
			assert.Len(t, seen, 3)
		})
	}
}

func TestReceivedCountsEveryByte(t *testing.T) {
	const response = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
	for transport, newTransport := range transports {
		t.Run(transport, func(t *testing.T) {
			u := serve(t, always(response))
			total := int64(0)
			for _, x := range send(t, newTransport, Options{URL: u, KeepAlive: true}, 4) {
				total += x.Received
			}
			assert.EqualValues(t, 4*len(response), total)
		})
	}
}

func TestRequest(t *testing.T) {
	for transport, newTransport := range transports {
		t.Run(transport, func(t *testing.T) {
			got := make(chan *http.Request, 1)
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r })}
			done := make(chan error)
			go func() { done <- server.Serve(listener) }()
			defer func() {
				assert.NoError(t, server.Close())
				assert.ErrorIs(t, <-done, http.ErrServerClosed)
			}()

			u := serve(t, always(""))
			u.Host, u.Path, u.RawQuery = "example.test:99", "/a b", "x=1&y"
			long := strings.Repeat("v", 600_000) // more than a socket buffer holds
			x := send(t, newTransport, Options{
				Method: "PURGE", URL: u, Addrs: []string{listener.Addr().String()}, KeepAlive: true,
				Header: http.Header{"x-thing": {"1", "2"}, "User-Agent": {"me"}, "Long": {long}},
			}, 1)[0]
			require.NoError(t, x.Err)
			r := <-got
			assert.Equal(t, "PURGE", r.Method)
			assert.Equal(t, "/a%20b?x=1&y", r.RequestURI)
			assert.Equal(t, "example.test:99", r.Host)
			assert.Equal(t, []string{"1", "2"}, r.Header["X-Thing"])
			assert.Equal(t, "me", r.UserAgent())
			assert.Equal(t, long, r.Header.Get("Long"))
			assert.Empty(t, r.Header.Get("X-Vegeta-Seq"))
		})
	}
}

// TestRequestHeaderNames tests requests whose header names differ from those of Options only in case.
func TestRequestHeaderNames(t *testing.T) {
	opts := Options{
		Method: http.MethodGet, Target: "/", Header: http.Header{"X-Thing": {"all"}, "x-thing": {"all, too"}, "User-Agent": {"all"}},
		Requests: []Request{
			{Header: http.Header{"x-thing": {"own"}, "user-agent": {"own"}, "host": {"own.test"}, "X-OTHER": {"0"}}}, {},
		},
	}
	opts, err := opts.withRequests()
	require.NoError(t, err)
	assert.Equal(t, http.Header{
		"X-Thing": {"own"}, "User-Agent": {"own"}, "Host": {"own.test"}, "X-Other": {"0"},
	}, opts.Requests[0].Header)
	assert.Equal(t, http.Header{"X-Thing": {"all", "all, too"}, "User-Agent": {"all"}}, opts.Requests[1].Header)
}

// TestClose checks that Close ends a pending request, which is observed as aborted, and that later ones are not observed.
func TestClose(t *testing.T) {
	for transport, newTransport := range transports {
		t.Run(transport, func(t *testing.T) {
			received, release := make(chan struct{}), make(chan struct{})
			defer close(release)
			u := serve(t, func(net.Conn, int) bool {
				close(received)
				<-release
				return false
			})
			var observed []Exchange
			s, err := newTransport(Options{URL: u, Observe: func(x *Exchange) { observed = append(observed, *x) }})
			require.NoError(t, err)
			ended := make(chan error)
			req, err := http.NewRequest(http.MethodGet, "http://ignored/", nil)
			require.NoError(t, err)
			go func() {
				_, err := s.RoundTrip(req) //nolint:bodyclose // no body on an error
				ended <- err
			}()
			<-received
			s.Close()
			require.ErrorIs(t, <-ended, ErrClosed)
			_, err = s.RoundTrip(req) //nolint:bodyclose // no body on an error
			require.ErrorIs(t, err, ErrClosed)
			require.Len(t, observed, 1)
			assert.Equal(t, Aborted, observed[0].Failure)
			requireOrder(t, &observed[0])
			assert.Positive(t, observed[0].Done-observed[0].Sent, "the age of the request")
		})
	}
}

func TestRequestsPerHit(t *testing.T) {
	u := serve(t, always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	remaining, observed := 10, 0
	next := func() bool { remaining--; return remaining >= 0 }
	h, err := NewHTTP1(Options{URL: u, KeepAlive: true, RequestsPerHit: 4, Observe: func(*Exchange) { observed++ }, Next: next})
	require.NoError(t, err)
	defer h.Close()
	for _, want := range []int{4, 8, 10} {
		next()
		resp, err := h.RoundTrip(&http.Request{Header: http.Header{}})
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, want, observed)
	}
}

func TestOptionsErrors(t *testing.T) {
	u := serve(t, always(""))
	secure := *u
	secure.Scheme = "https"
	tests := map[string]struct {
		opts Options
		want string
	}{
		"no URL":       {Options{}, "the URL must have a host"},
		"timeout":      {Options{URL: u, Timeout: -1}, "the timeout must not be negative"},
		"method":       {Options{URL: u, Method: "GE T"}, "the method must be an HTTP token"},
		"header name":  {Options{URL: u, Header: http.Header{"a b": {""}}}, "a header name must be an HTTP token"},
		"header value": {Options{URL: u, Header: http.Header{"a": {"x\r\ny"}}}, "the value of header A must not have control characters"},
		"TLS":          {Options{URL: &secure}, "needs an http URL"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := NewHTTP1(tt.opts)
			assert.ErrorContains(t, err, tt.want)
		})
	}
}
