package server

import (
	"context"
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
				logger := slog.New(slog.DiscardHandler)
				began, answer := make(chan struct{}), make(chan struct{})
				queries := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(began); <-answer })
				s := &Server{
					cfg: cfg, logger: logger, ready: make(chan struct{}), served: make(chan struct{}),
					queries: pointshttp.NewHandler(nil, pointshttp.Config{Logger: logger}),
					routes:  newRoutes(queries, logger),
				}
				close(s.ready)
				client, listener := pipe()
				s.listener = connlimit.New(listener, 1, func(bool) {})
				s.http = &http.Server{Handler: s.routes, ConnState: s.listener.ConnState}
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
