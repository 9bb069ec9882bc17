package app

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Serve accepts connections on listener and serves them with server until one of them is closed, as server.Serve does,
// but at less cost for each request whose handler waits.
//
// While a handler runs, net/http reads one byte from its connection, to learn that the client has gone away. If the
// handler waits at all, be it for microseconds, that is a system call, two waits on the poller and four switches of
// goroutines: a fifth of what a request of ours costs the processor in all (BenchmarkHTTP in ../../../bench). Here
// such a read returns at once without having read, and a connection whose handler has run for watchAfter is looked at
// by a timer.
func Serve(server *http.Server, listener net.Listener) error {
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if c, ok := c.(*watchedConn); ok {
			ctx, c.gone = context.WithCancel(ctx)
		}
		return ctx
	}
	return server.Serve(watchedListener{listener})
}

// watchAfter is when a client that waits for its answer is first looked after, and how often from then on.
const watchAfter = 100 * time.Millisecond

type watchedListener struct{ net.Listener }

func (l watchedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok || !canPeek {
		return c, nil
	}
	watched := &watchedConn{TCPConn: tcp, gone: func() {}}
	watched.timer = time.AfterFunc(watchAfter, watched.look)
	watched.timer.Stop()
	return watched, nil
}

// A watchedConn is a connection that net/http need not read from to learn that its client has gone away.
type watchedConn struct {
	*net.TCPConn
	gone    context.CancelFunc // ends the context of the connection's requests
	timer   *time.Timer        // calls look
	waiting atomic.Bool        // a handler runs
}

// Read reads from the connection, but for net/http's read of one byte beside a handler: that reads nothing. The one
// after it reads, whatever its size, so that nothing can wait for its byte for good.
func (c *watchedConn) Read(p []byte) (int, error) {
	if len(p) == 1 && c.waiting.CompareAndSwap(false, true) {
		c.timer.Reset(watchAfter)
		return 0, nil
	}
	if c.waiting.CompareAndSwap(true, false) {
		c.timer.Stop()
	}
	return c.TCPConn.Read(p)
}

// look ends the requests of a client that has gone away, or looks again later.
func (c *watchedConn) look() {
	if !c.waiting.Load() {
		return
	}
	if closed(c.TCPConn) {
		c.gone()
		return
	}
	c.timer.Reset(watchAfter)
}

// Close closes the connection.
func (c *watchedConn) Close() error {
	c.waiting.Store(false)
	c.timer.Stop()
	c.gone()
	return c.TCPConn.Close()
}
