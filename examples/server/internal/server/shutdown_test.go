package server

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/examples/server/internal/connlimit"
	"github.com/pointsapp/pointsapp/points/pointshttp"
)

// A request that gets no answer cannot make a shutdown longer than its timeout, which includes the delay.
func TestShutdownTimeout(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		delay, timeout time.Duration
		want           time.Duration // until the server stops waiting for the request
	}{
		{0, 10 * time.Second, 8 * time.Second},
		{2 * time.Second, 10 * time.Second, 8 * time.Second},
		{15 * time.Second, 30 * time.Second, 28 * time.Second},
		{time.Second, 2 * time.Second, 1600 * time.Millisecond},
	} {
		t.Run(test.delay.String()+" of "+test.timeout.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cfg := config.Defaults()
				cfg.ShutdownDelay, cfg.ShutdownTimeout = config.Delay(test.delay), config.Duration(test.timeout)
				began, answer := make(chan struct{}), make(chan struct{})
				client, listener := pipe()
				s := serverOf(cfg, listener, func(http.ResponseWriter, *http.Request) { close(began); <-answer })
				ctx, cancel := context.WithCancel(t.Context())
				go func() { assert.NoError(t, s.serve(ctx)) }()
				_, err := client.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
				require.NoError(t, err)
				<-began

				cancel()
				start := time.Now()
				s.stop(ctx)
				assert.Equal(t, test.want, time.Since(start))
				close(answer)
			})
		})
	}
}

// serverOf returns a server that is ready, and answers queries on the connections of a listener by a handler.
func serverOf(cfg config.Config, listener net.Listener, queries http.HandlerFunc) *Server {
	logger := slog.New(slog.DiscardHandler)
	limited := connlimit.New(listener, 100, func(bool) {})
	s := &Server{
		cfg: cfg, logger: logger, ready: make(chan struct{}), served: make(chan struct{}),
		queries: pointshttp.NewHandler(nil, pointshttp.Config{Logger: logger}),
		routes:  newRoutes(queries, logger), listener: limited,
	}
	s.http = &http.Server{Handler: s.routes, ConnState: limited.ConnState}
	close(s.ready)
	return s
}

// A shutdown without a delay answers requests on connections that are kept: those that the server has read but not begun
// to handle, and those of clients that have just received a response.
func TestShutdownAnswersRequestsOnKeptConnections(t *testing.T) {
	t.Parallel()
	const stall = 20 * time.Millisecond
	for name, test := range map[string]struct{ stop, request time.Duration }{ // after the last response
		"read before the shutdown": {stop: time.Second + stall/2, request: time.Second},
		"soon after the response":  {stop: stall, request: 2 * stall},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cfg := config.Defaults()
				cfg.ShutdownDelay = 0
				client, listener := pipe()
				s := serverOf(cfg, &stallingListener{listener, stall}, func(http.ResponseWriter, *http.Request) {})
				ctx, cancel := context.WithCancel(t.Context())
				go func() { assert.NoError(t, s.serve(ctx)) }()
				responses := bufio.NewReader(client)
				query := func() (closes bool) {
					_, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
					require.NoError(t, err)
					response, err := http.ReadResponse(responses, nil)
					require.NoError(t, err)
					require.NoError(t, response.Body.Close())
					return response.Close
				}

				assert.False(t, query())
				stopped := make(chan struct{})
				time.AfterFunc(test.stop, func() {
					cancel()
					s.stop(ctx)
					close(stopped)
				})
				<-time.After(test.request)
				assert.True(t, query())
				<-stopped
			})
		})
	}
}

// A stallingListener accepts connections whose reads take longer.
type stallingListener struct {
	net.Listener

	stall time.Duration
}

func (l *stallingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &stallingConn{c, l.stall}, err
}

type stallingConn struct {
	net.Conn

	stall time.Duration
}

func (c *stallingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	<-time.After(c.stall)
	return n, err
}

// A server with a socket of systemd that stops before it is ready leaves its clients to the next one.
func TestStopBeforeReady(t *testing.T) {
	t.Parallel()
	_, listener := pipe()
	s := &Server{
		activated: true, ready: make(chan struct{}), served: make(chan struct{}),
		listener: connlimit.New(listener, 1, func(bool) {}), http: new(http.Server),
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, listener.Close())
	require.NoError(t, s.serve(ctx))
	<-s.served
	assert.Len(t, listener.(*pipeListener).conns, 1, "no client was accepted")
}

// pipe returns a connection, and a listener whose only connection is its other end.
func pipe() (net.Conn, net.Listener) {
	client, server := net.Pipe()
	l := &pipeListener{conns: make(chan net.Conn, 1)}
	l.conns <- server
	return client, l
}

type pipeListener struct {
	conns chan net.Conn
	close sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l *pipeListener) Close() error {
	l.close.Do(func() { close(l.conns) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }
